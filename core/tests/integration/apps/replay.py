"""Workflows for test_replay.py. `CODE` says which version of the code a worker of this process runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import currant
from currant import (
    ExecutionFailed,
    Retry,
    get_version,
    is_replaying,
    side_effect,
    sleep,
    task,
    wait_for_signal,
    workflow,
)
from support import note

CODE = os.environ.get("CODE", "first")


@task(retries=100)  # enough for every death: it is not for killing its workers that it shall fail
async def work(name: str, seconds: float = 0.0) -> str:
    """Notes the execution and its attempt before and after it works."""
    attempt = currant.current()
    note(f"{attempt.id} {attempt.attempt}")
    await asyncio.sleep(seconds)
    return name


@task(retry=Retry(max_attempts=100, non_retryable=(ValueError,)))
async def fails(name: str) -> None:
    attempt = currant.current()
    note(f"{attempt.id} {attempt.attempt}")
    raise ValueError(name)


@workflow(queue="q")
async def part(number: int) -> list[str]:
    return await asyncio.gather(*(work.run(f"{number}.{leaf}", 0.02 * leaf) for leaf in range(3)))


@workflow(queue="q")
async def mix(number: int) -> list[Any]:
    """A bit of everything."""
    seen: list[Any] = [await work.run(f"begin {number}", 0.02)]
    seen.append(await asyncio.gather(part.run(number), part.run(number + 1)))
    try:
        await fails.run("expected")
    except ExecutionFailed as error:
        seen.append(error.message)
    await sleep(0.05)
    pending = {asyncio.create_task(work.run(name, 0.03)) for name in ("x", "y", "z")}
    names = set()
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            names.add(await one)
            await work.run(f"after {len(names)}")
    seen.append(sorted(names))
    try:
        await asyncio.wait_for(wait_for_signal("never"), 0.05)
    except TimeoutError:
        seen.append("timeout")
    seen.append(get_version("change", 1, 2))
    seen.append(side_effect(lambda: 42))
    seen.append(await wait_for_signal("go"))
    seen.append(await work.run("end"))
    return seen


@task
async def hangs_at_first() -> str:
    attempt = currant.current()
    note(f"{attempt.id} {attempt.attempt}")
    if CODE == "first":
        await asyncio.Event().wait()
    return "two"


@workflow(queue="q")
async def two_steps() -> list[str]:
    return [await work.run("one"), await hangs_at_first.run()]


@workflow(queue="q")
async def called_first_started_last() -> list[str]:
    """Positions are those of the calls, whatever is awaited first; each branch has positions of its own."""

    async def branch(name: str) -> str:
        return await work.run(name)

    first, second = work.run("first"), work.run("second")
    async with asyncio.TaskGroup() as group:
        branches = [group.create_task(branch(name)) for name in ("left", "right")]
    seen = [await second, await first, *(one.result() for one in branches)]
    await wait_for_signal("go")
    return seen


@workflow(queue="q")
async def winners() -> list[list[str]]:
    """The order in which steps were first, as it was told a task before the wait, and as it is known after it."""
    order = []
    pending = {asyncio.create_task(work.run(str(number), 0.01), name=str(number)) for number in range(8)}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        order += [one.get_name() for one in done]
        order.append("|")
    told = (await work.run(" ".join(order))).split()
    await wait_for_signal("go")
    return [told, order]


CALLS: list[int] = []


def chance() -> dict[str, Any]:
    CALLS.append(1)
    return {"pid": os.getpid(), "calls": len(CALLS)}


def broken() -> None:
    CALLS.append(1)
    raise OSError(f"call {len(CALLS)}")


@workflow(queue="q")
async def recorded() -> list[list[str]]:
    """What must be the same in every replay, as it was before the wait and as it is after it."""

    def one() -> list[str]:
        try:
            side_effect(broken)
        except ExecutionFailed as error:
            failure = error.message
        return [str(currant.now()), str(currant.uuid4()), str(currant.random()), str(side_effect(chance)), failure]

    seen = one()
    await sleep(0.01)
    seen += one()
    told = (await work.run("\n".join(seen))).split("\n")
    await wait_for_signal("go")
    assert is_replaying() is False
    return [told, seen, [str(currant.uuid4())]]


REPLAYED: list[bool] = []


@workflow(queue="q")
async def notices() -> str:
    REPLAYED.append(is_replaying())
    await work.run("one")
    REPLAYED.append(is_replaying())
    await wait_for_signal("go")
    REPLAYED.append(is_replaying())
    return "done"


# Changed code. Each is a body of `changing`; `first` is what the history was made by.


async def first() -> str:
    await work.run("a")
    await sleep(0.01)
    return str(await wait_for_signal("go"))


async def other_function() -> str:
    await part.run(1)
    return await first()


async def other_kind() -> str:
    await sleep(0.01)
    return await first()


async def other_signal() -> str:
    await work.run("a")
    await sleep(0.01)
    return str(await wait_for_signal("begin"))


async def a_step_more() -> str:
    await work.run("a")
    await work.run("b")
    await sleep(0.01)
    return str(await wait_for_signal("go"))


async def a_step_less() -> str:
    await work.run("a")
    return str(await wait_for_signal("go"))


async def ends_early() -> str:
    await work.run("a")
    return "early"


async def catches_everything() -> str:
    """Changed code that would hide it."""
    try:
        return await other_function()
    except BaseException:
        return "hidden"


async def side_effect_first() -> str:
    side_effect(chance)
    return await first()


# The arguments. `asks` is what the history of these was made by, each other one differs in one thing.


@dataclass
class Order:
    id: str
    cents: int = 0


@task
async def pay(order: Order, currency: str = "EUR") -> str:
    return f"{order.id} {order.cents} {currency}"


TARGET = "01900000-0000-7000-8000-000000000009"  # nobody has this id


async def asks(
    first: str = "a",
    second: str = "b",
    child: int = 1,
    detached: str = "d",
    keyed: str = "k",
    key: str = "one",
    target: str = TARGET,
    payload: int = 1,
    force: bool = False,
    length: float = 0.01,
    waits: float | None = None,
) -> str:
    said = [await work.run(first), await work.run(second), *await part.run(child)]
    said.append(await pay.run(Order("o")))
    await work.queue(detached)
    await work.options(idempotency_key=f"{currant.uuid4()}-{key}").queue(keyed)
    with contextlib.suppress(currant.NotFound):
        await currant.send_signal(target, "go", {"n": payload})
    with contextlib.suppress(currant.NotFound):
        await currant.get_handle(TARGET).cancel(force=force)
    await sleep(length)
    said.append(str(await wait_for_signal("go", timeout=waits)))
    return " ".join(said)


def with_other(**other: Any) -> Callable[[], Coroutine[Any, Any, str]]:
    return lambda: asks(**other)


async def written_otherwise() -> str:
    """What `asks` asks for, in other words and with other options."""
    said = [await work.options(queue="q", retries=1).run(name="a"), await work.run("b", seconds=0), *await part.run(1)]
    said.append(await pay.run(order=Order("o", cents=0), currency="EUR"))
    await work.options(priority=1).queue(name="d", seconds=0.0)
    await work.options(idempotency_key=f"{currant.uuid4()}-one", priority=1).queue("k")
    with contextlib.suppress(currant.NotFound):
        await currant.send_signal(TARGET, "go", {"n": 1})
    with contextlib.suppress(currant.NotFound):
        await currant.get_handle(TARGET).cancel()
    await sleep(0.01)
    return " ".join([*said, str(await wait_for_signal("go"))])


@task(retries=0)
async def picky(name: str) -> str:
    note(name)
    if name == "bad":
        raise ValueError(f"{name} will not do")
    return name


def asks_picky(name: str) -> Callable[[], Coroutine[Any, Any, str]]:
    async def body() -> str:
        return " ".join(await asyncio.gather(work.run("a"), picky.run(name)))

    return body


ASKS: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
    "asks": asks,
    "swapped": with_other(first="b", second="a"),
    "other_child": with_other(child=2),
    "other_detached": with_other(detached="x"),
    "other_keyed": with_other(keyed="x"),
    "other_key": with_other(key="two"),
    "other_target": with_other(target=TARGET.replace("9", "8")),
    "other_payload": with_other(payload=2),
    "other_force": with_other(force=True),
    "other_length": with_other(length=60.0),
    "other_time_out": with_other(waits=3600.0),
    "written_otherwise": written_otherwise,
    "mistaken": asks_picky("bad"),
    "fixed": asks_picky("good"),
}

BODIES: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
    body.__name__: body
    for body in (
        first, other_function, other_kind, other_signal, a_step_more, a_step_less, ends_early, catches_everything,
        side_effect_first,
    )
}  # fmt: skip


@workflow(queue="q")
async def changing() -> str:
    return await (BODIES | ASKS)[CODE]()


@workflow(queue="q")
async def takes(number: int) -> int:
    await wait_for_signal("go")
    return number


@workflow(queue="q", replay_check="names")
async def careless() -> str:
    return await ASKS[CODE]()
