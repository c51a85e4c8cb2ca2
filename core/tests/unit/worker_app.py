"""The tasks and workflows that the tests of the worker run."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import currant
from currant import current, sleep, task, workflow
from currant.decorators import Function

caller: ContextVar[str] = ContextVar("caller", default="nobody")
seen: list[str] = []
left: list[AsyncIterator[str]] = []  # async generators that are gone on with by nobody
started = threading.Event()
finish = threading.Event()


class Declined(Exception):
    pass


class VeryDeclined(Declined):
    pass


@task
async def double(n: int) -> int:
    return n * 2


@task
def triple(n: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return n * 3


@task
async def who() -> list[Any]:
    me = current()
    return [me.id, me.attempt, me.workflow_id, me.queue, me.cancelled]


@task
def who_sync() -> list[Any]:
    me = current()
    return [me.id, me.attempt, me.workflow_id, me.queue, me.cancelled]


@task
async def boom(kind: str) -> None:
    raise {
        "value": ValueError("bad\nvalue"),
        "declined": VeryDeclined("no"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "cancelled": asyncio.CancelledError(),
    }[kind]


@task
def boom_sync() -> None:
    raise SystemExit("out")


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as people write them: a `def` around whatever it decorates."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@task
@logged
async def wrapped_async(n: int) -> int:
    await asyncio.sleep(0)
    assert threading.current_thread() is threading.main_thread()
    return n + current().attempt


@task
@logged
async def wrapped_forever() -> None:
    started.set()
    await asyncio.Event().wait()


@task
def gives_a_coroutine() -> Any:
    return double(4)


@task
async def forgot_await() -> Any:
    return double(1)


@task
async def step_in_a_task() -> int:
    return await double.run(1)


@task
async def sleeps_for_a_signal() -> None:
    await currant.wait_for_signal("go")


@task
def enqueues_wrongly() -> None:
    double.queue_sync(1, 2)  # type: ignore[call-arg]


class Shop:
    @task
    @staticmethod
    async def close(n: int) -> int:
        return n - 1


@task
async def wrong_result() -> int:
    return "five"  # type: ignore[return-value]


@task
async def forever() -> None:
    started.set()
    await asyncio.Event().wait()


@task
async def stubborn() -> str:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass
    return f"cancelled: {current().cancelled}"


@task
def blocking() -> str:
    started.set()
    finish.wait(20)
    return f"cancelled: {current().cancelled}"


@task
async def clinging() -> None:
    started.set()
    while not finish.is_set():
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            continue


@workflow
async def quadruple(n: int) -> int:
    return await double.run(await double.run(n))


@workflow
async def gives_a_set() -> Any:
    return {1}


@workflow
async def fails() -> None:
    raise ValueError("no")


@workflow
async def naps() -> str:
    await sleep(3600)
    return "awake"


@workflow
async def clings() -> None:
    while True:
        try:
            await sleep(3600)
        except BaseException:
            continue


MANY: list[int] = []
BY_NAME: dict[str, list[int]] = {"n": []}
SEEN: set[int] = set()


@workflow
async def adds_to_its_defaults(
    a: int = 0, many: list[int] = MANY, *, by_name: dict[str, list[int]] = BY_NAME, seen: set[int] = SEEN
) -> list[int]:
    many.append(1)
    by_name["n"].append(1)
    seen.add(len(seen))
    return [len(many), len(by_name["n"]), len(seen)]


OWN = [
    double,
    triple,
    who,
    who_sync,
    boom,
    boom_sync,
    wrapped_async,
    wrapped_forever,
    gives_a_coroutine,
    forgot_await,
    step_in_a_task,
    sleeps_for_a_signal,
    enqueues_wrongly,
    Shop.close,
    wrong_result,
    forever,
    stubborn,
    blocking,
    clinging,
]
FLOWS: list[Function[..., Any]] = [quadruple, gives_a_set, fails, naps, clings, adds_to_its_defaults]
