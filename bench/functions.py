"""What Currant's workers run in the benchmark: functions that do nothing but mark their index on the board."""

from __future__ import annotations

from bench.board import join
from currant import task, workflow

STEPS = 5
QUEUE = "bench"

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
