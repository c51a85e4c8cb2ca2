"""The functions that Currant's workers run in the benchmark: they only mark their index on the board."""

from __future__ import annotations

import asyncio

from bench.board import STEPS, first_ever, join
from currant import sleep, task, workflow

QUEUE = "bench"
WAIT = 240.0  # seconds: less than the long wait for which a worker puts a workflow out of its memory

_board = join()  # None in a process that only enqueues


@task(queue=QUEUE)
async def noop(index: int) -> None:
    """A task that does nothing."""
    _board.mark(index)  # type: ignore[union-attr]  # every worker has one; otherwise the item fails and the run is void


@task(queue=QUEUE)
async def pickup(index: int) -> None:
    """A task that notes when it started."""
    _board.mark_time(index)  # type: ignore[union-attr]


@workflow(queue=QUEUE)
async def chain(index: int) -> int:
    """Five awaited steps, one after the other. Only the steps mark: a workflow may be replayed, a step may not."""
    for step in range(STEPS):
        await noop.run(index * STEPS + step)
    return index


@task(queue=QUEUE)
async def killed(index: int) -> None:
    """The step during whose first run its worker is killed; the second run marks the next index."""
    if first_ever():
        _board.mark_time(index)  # type: ignore[union-attr]
        await asyncio.Event().wait()
    _board.mark_time(index + 1)  # type: ignore[union-attr]


@workflow(queue=QUEUE)
async def long_chain(steps: int, held: bool) -> int:
    """Await a number of steps, one after the other; `held`: a worker is killed during the last one."""
    for step in range(steps - 1):
        await pickup.run(step)
    await (killed if held else pickup).run(steps - 1)
    return steps


@workflow(queue=QUEUE)
async def fan_out(children: int) -> int:
    """Start a number of children at once, and await them all."""
    await asyncio.gather(*(noop.run(child) for child in range(children)))
    return children


@workflow(queue=QUEUE)
async def waiting(index: int) -> int:
    """One step, then a wait that outlasts the turn."""
    await noop.run(index)
    await sleep(WAIT)
    return index
