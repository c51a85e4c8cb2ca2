"""Workflows for test_versions.py. `CODE` is the version of the code that a worker runs: the body of `changing`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from currant import get_version, task, wait_for_signal, workflow

CODE = "old"


@task
async def mail(text: str) -> str:
    return f"mail {text}"


@task
async def sms(text: str) -> str:
    return f"sms {text}"


async def old() -> list[Any]:
    """Before the change."""
    sent = [await mail.run("a")]
    await wait_for_signal("go")
    sent.append(await mail.run("b"))
    await wait_for_signal("end")
    return sent


async def new() -> list[Any]:
    """An SMS instead of each mail; both changes are guarded."""
    first = get_version("first", 1, 2)
    sent = [await (sms if first >= 2 else mail).run("a")]
    await wait_for_signal("go")
    second = get_version("second", 1, 2)
    sent.append(await (sms if second >= 2 else mail).run("b"))
    await wait_for_signal("end")
    return [first, second, *sent, get_version("first", 1, 2)]


async def newer() -> list[Any]:
    """A third version of the first change, and a side effect before it: a version takes no position."""
    first = get_version("first", 1, 3)
    sent = [await {1: mail, 2: sms}.get(first, mail).run("a")]
    await wait_for_signal("go")
    second = get_version("second", 1, 2)
    sent.append(await (sms if second >= 2 else mail).run("b"))
    await wait_for_signal("end")
    return [first, second, *sent, get_version("first", 1, 3)]


async def without_the_old() -> list[Any]:
    """The code of version 2 is gone: runs that need it cannot go on."""
    first = get_version("first", 3, 3)
    sent = [await sms.run("a")]
    await wait_for_signal("go")
    return [first, *sent]


async def looping_old() -> list[Any]:
    for _ in range(2):
        await mail.run("x")
        await wait_for_signal("go")
    return ["old"]


async def looping_new() -> list[Any]:
    seen = []
    for _ in range(2):
        seen.append(get_version("loop", 1, 2))
        await (sms if seen[-1] >= 2 else mail).run("x")
        await wait_for_signal("go")
    return seen


BODIES: dict[str, Callable[[], Coroutine[Any, Any, list[Any]]]] = {
    body.__name__: body for body in (old, new, newer, without_the_old, looping_old, looping_new)
}


@workflow(queue="q")
async def changing() -> list[Any]:
    return await BODIES[CODE]()
