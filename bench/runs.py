"""W5, W5r and W6: one long run, one whose worker is killed, one that fans out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.meters import JUDGE
from bench.parts import POLL, Turn, check_board, finish, idle_worker, wait_for, wait_until_finished
from bench.processes import Workers
from bench.sql import connect


async def chain(turn: Turn) -> dict[str, float]:
    """W5: `items` steps. A step's time is that from the first one's start to the last one's, shared out."""
    async with idle_worker(turn, turn.items + 1) as (workers, client):
        await client.enqueue_chain(turn.items)
        await finish(turn, workers, turn.items + 1)
        figures = {"step": step_time(turn, workers)}
    await turn.check_states(turn.items + 2)
    return figures


async def killed_chain(turn: Turn) -> dict[str, float]:
    """W5, then W5r: the worker dies in the last step of the run; another, which was there before, goes on."""
    if not turn.candidate.does("W5r"):
        return await chain(turn)
    items = turn.items + 2  # the last step runs twice, and there is the task that shows that the worker works
    async with idle_worker(turn, items) as (workers, client):
        await client.enqueue_chain(turn.items, held=True)
        await wait_for(lambda: workers.count == items - 1, workers, turn.patience, f"{turn.items} steps")
        figures = {"step": step_time(turn, workers)}
        workers.start_one()
        await wait_for(lambda: workers.started, workers, turn.patience, "the second worker's start")
        await asyncio.sleep(2 * turn.candidate.death_timeout)  # until then it may not judge others
        await turn.checkpoint()
        async with connect(turn.url) as connection:
            await connection.execute(f"set role {JUDGE}")
            figures |= await take_over(turn, workers, connection)
        check_board(workers, items)
    await turn.check_states(turn.items + 2)
    return figures


def step_time(turn: Turn, workers: Workers) -> float:
    """Milliseconds per step, while there is one worker."""
    times = workers.boards()[0].times
    return (times[turn.items - 1] - times[0]) / (turn.items - 1) / 1e6


async def take_over(turn: Turn, workers: Workers, connection: Any) -> dict[str, float]:
    """Kill the first worker; gives the seconds until its run has ended, and those after its death was noticed."""
    done = workers.count
    start = time.perf_counter()
    workers.kill(0)
    limit = start + turn.patience
    noticed = None
    while workers.count == done and time.perf_counter() < limit:
        workers.check()
        noticed = noticed or await when_taken_over(turn, connection)
        await asyncio.sleep(POLL)
    noticed = noticed or await when_taken_over(turn, connection)
    await wait_until_finished(turn, workers, connection)
    end = time.perf_counter()
    total = {"total": end - start}
    return total if noticed is None else {"rest": end - noticed, **total}


async def when_taken_over(turn: Turn, connection: Any) -> float | None:
    """Now, if the worker's death has been noticed."""
    return time.perf_counter() if await turn.candidate.taken_over(connection) else None


async def fan_out(turn: Turn) -> dict[str, float]:
    """W6: from just before the enqueue until the run has ended."""
    children = turn.items
    async with idle_worker(turn, children + 1) as (workers, client):
        start = time.monotonic_ns()
        await client.enqueue_fan_out(children)
        end = await finish(turn, workers, children + 1)
    await turn.check_states(children + 2)
    return {"seconds": (end - start) / 1e9}
