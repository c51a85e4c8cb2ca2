# mypy: disable-error-code="import-not-found"
"""Absurd's worker. A task is an Absurd task without steps; a workflow is one with steps, each a checkpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from absurd_sdk import AsyncAbsurd

from bench.board import STEPS, join
from bench.peers.base import WORKER

QUEUE, CHILDREN = "bench", "children"  # whoever waits for a task must not be in that task's queue
POLL_INTERVAL = "BENCH_POLL_INTERVAL"  # variable: seconds between two looks at an empty queue
CONCURRENCY = 100

_board = join()


def marking(index: int) -> Callable[[], Awaitable[None]]:
    """A step that marks its index."""

    async def step() -> None:
        _board.mark(index)  # type: ignore[union-attr]

    return step


def marking_time(index: int) -> Callable[[], Awaitable[None]]:
    """A step that notes when it started."""

    async def step() -> None:
        _board.mark_time(index)  # type: ignore[union-attr]

    return step


async def noop(params: Any, context: Any) -> None:
    """A task that does nothing."""
    _board.mark(params)  # type: ignore[union-attr]


async def pickup(params: Any, context: Any) -> None:
    """A task that notes when it started."""
    _board.mark_time(params)  # type: ignore[union-attr]


async def chain(params: Any, context: Any) -> int:
    """Five steps, one after the other."""
    for number in range(STEPS):
        await context.step(f"step-{number}", marking(params * STEPS + number))
    return int(params)


async def long_chain(params: Any, context: Any) -> int:
    """Run a number of steps, one after the other."""
    for number in range(params):
        await context.step(f"step-{number}", marking_time(number))
    return int(params)


def app_of(url: str, queue: str) -> Any:
    """An app for one queue, with what runs there."""
    app = AsyncAbsurd(url, queue_name=queue)
    for function in (noop, pickup, chain, long_chain) if queue == QUEUE else (noop,):
        app.register_task(function.__name__)(function)
    return app


async def main() -> None:
    """Work until the process is ended: a worker for each queue, each with a connection."""
    url, interval = os.environ[WORKER], float(os.environ[POLL_INTERVAL])
    app, children = app_of(url, QUEUE), app_of(url, CHILDREN)

    @app.register_task("fan_out")  # type: ignore[untyped-decorator]
    async def fan_out(params: Any, context: Any) -> int:
        """Start a number of children, and await them all."""

        async def start() -> list[str]:
            return [str((await children.spawn("noop", child))["task_id"]) for child in range(params)]

        for child in await context.step("start", start):
            await context.await_task_result(child, CHILDREN)
        return int(params)

    await asyncio.gather(
        app.start_worker(concurrency=CONCURRENCY, poll_interval=interval),
        children.start_worker(concurrency=CONCURRENCY, poll_interval=interval),
    )


if __name__ == "__main__":
    asyncio.run(main())
