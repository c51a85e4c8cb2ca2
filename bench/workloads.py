"""The workloads, the same for every candidate. Each runs in a process of its own (bench.turn) and gives its figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import functions
from bench.board import Boards, faults
from bench.candidates.base import Candidate
from bench.processes import Workers
from bench.sql import connect
from bench.stats import percentile

IN_FLIGHT = 16
BULK = 1_000
FILL = 5_000
PICKUP_INTERVAL = 0.050
PICKUP_WARM_UP = 20  # the first ones plan statements and fill caches; they are checked, not timed
IDLE_SETTLE = 3.0  # seconds after the last item, before an idle worker is watched
POLL = 0.002


class Void(Exception):
    """The turn does not count; the message says why."""


@dataclass
class Turn:
    """One candidate at one workload, in a fresh database."""

    workload: str
    items: int
    candidate: Candidate
    url: str
    admin_url: str  # the server's own database: what is asked there does not count as the candidate's
    directory: Path
    patience: float

    async def checkpoint(self) -> None:
        """So that no turn pays for the writes of another."""
        async with connect(self.admin_url) as admin:
            await admin.execute("checkpoint")

    def workers(self, count: int, items: int) -> Workers:
        """So many worker processes with a board."""
        command, variables = self.candidate.worker(self.url, self.workload)
        return Workers(command, variables, Boards(self.directory, items, count), count, self.directory)

    async def check_states(self, completed: int, pending: int = 0) -> None:
        """Raise `Void` unless the tables hold exactly this."""
        async with connect(self.url) as connection:
            found = await self.candidate.tally(connection)
        wanted = {state: number for state, number in (("completed", completed), ("pending", pending)) if number}
        if found != wanted:
            raise Void(f"the database holds {found}, not {wanted}")


async def enqueue_sequential(turn: Turn) -> dict[str, float]:
    """W1 seq."""
    await turn.checkpoint()
    done, seconds = await turn.candidate.enqueue_one_by_one(turn.url, turn.items, turn.directory)
    await turn.check_states(0, pending=done)
    return {"rate": done / seconds}


async def enqueue_concurrent(turn: Turn) -> dict[str, float]:
    """W1 conc."""
    await turn.checkpoint()
    done, seconds = await turn.candidate.enqueue_concurrently(turn.url, turn.items, IN_FLIGHT, turn.directory)
    await turn.check_states(0, pending=done)
    return {"rate": done / seconds}


async def enqueue_bulk(turn: Turn) -> dict[str, float]:
    """W1 bulk."""
    async with turn.candidate.client(turn.url) as client:
        await client.enqueue_many(range(1))  # connects
        await turn.checkpoint()
        start = time.perf_counter()
        for batch in batches(turn.items, BULK):
            await client.enqueue_many(batch)
        seconds = time.perf_counter() - start
    await turn.check_states(0, pending=turn.items + 1)
    return {"rate": turn.items / seconds}


def drain(count: int) -> Callable[[Turn], Awaitable[dict[str, float]]]:
    """W2 with so many workers."""

    async def run(turn: Turn) -> dict[str, float]:
        async with turn.candidate.client(turn.url) as client:
            for batch in batches(turn.items, FILL):
                await client.enqueue_many(batch)
        await turn.checkpoint()
        seconds = await work_off(turn, count, turn.items, turn.items)
        return {"rate": turn.items / seconds}

    return run


async def workflows(turn: Turn) -> dict[str, float]:
    """W4."""
    async with turn.candidate.client(turn.url) as client:
        for batch in batches(turn.items, FILL):
            await client.enqueue_workflows(batch)
    await turn.checkpoint()
    steps = turn.items * functions.STEPS
    seconds = await work_off(turn, 1, steps, turn.items + steps)
    return {"rate": turn.items / seconds}


async def pickup(turn: Turn) -> dict[str, float]:
    """W3."""
    total = turn.items + PICKUP_WARM_UP
    asked = []
    with turn.workers(1, total) as workers:
        await wait_for(lambda: workers.started, workers, turn.patience, "the worker's start")
        async with turn.candidate.client(turn.url) as client:
            await client.enqueue_timed(0)  # connects, and shows that the worker listens
            await wait_for(lambda: workers.count == 1, workers, turn.patience, "the first pick-up")
            await turn.checkpoint()
            asked.append(0)
            tick = time.monotonic()
            for index in range(1, total):
                tick += PICKUP_INTERVAL
                await asyncio.sleep(tick - time.monotonic())
                asked.append(time.monotonic_ns())
                await client.enqueue_timed(index)
        await finish(turn, workers, total)
        times = workers.boards()[0].times
    await turn.check_states(total)
    waits = [(times[index] - asked[index]) / 1e6 for index in range(PICKUP_WARM_UP, total)]
    return {f"p{percent}": percentile(waits, percent) for percent in (50, 95, 99)}


async def idle(turn: Turn) -> dict[str, float]:
    """W8: `items` are the seconds of watching. One task shows that the worker works; then it is left alone."""
    with turn.workers(1, 1) as workers:
        async with turn.candidate.client(turn.url) as client, connect(turn.admin_url) as admin:
            await client.enqueue_timed(0)
            await finish(turn, workers, 1)
            await asyncio.sleep(IDLE_SETTLE)
            process = psutil.Process(workers.pids[0])
            before = await statements(admin, turn.url), cpu_seconds(process)
            await asyncio.sleep(turn.items)
            after = await statements(admin, turn.url), cpu_seconds(process)
            memory = process.memory_info().rss / 1e6
        workers.check()
    per_minute = 60 / turn.items
    return {
        "statements": (after[0] - before[0]) * per_minute,
        "cpu": (after[1] - before[1]) * 1000 * per_minute,
        "rss": memory,
    }


WORKLOADS: dict[str, Callable[[Turn], Awaitable[dict[str, float]]]] = {
    "W1-seq": enqueue_sequential,
    "W1-conc": enqueue_concurrent,
    "W1-bulk": enqueue_bulk,
    "W2-1": drain(1),
    "W2-2": drain(2),
    "W3": pickup,
    "W4": workflows,
    "W8": idle,
}


# Parts


def batches(items: int, size: int) -> Iterable[range]:
    """The indices from 0 on, so many at a time."""
    return (range(start, min(start + size, items)) for start in range(0, items, size))


async def work_off(turn: Turn, count: int, items: int, executions: int) -> float:
    """Start workers and wait until all is done; gives the seconds since they had done their imports."""
    with turn.workers(count, items) as workers:
        end = await finish(turn, workers, items)
        seconds = (end - workers.first_start) / 1e9
    await turn.check_states(executions)
    return seconds


async def finish(turn: Turn, workers: Workers, items: int) -> int:
    """Wait until every function has run and nothing in the database is unfinished; gives that time.

    Raises `Void` when items ran not exactly once, or when it takes too long.
    """
    async with connect(turn.url) as connection:
        await connection.execute("set enable_seqscan = off")  # the question is asked often: by index
        await wait_for(lambda: workers.count >= items, workers, turn.patience, f"{items} runs")

        limit = time.monotonic() + turn.patience
        while await turn.candidate.unfinished(connection):
            workers.check()
            if time.monotonic() > limit:
                states = await turn.candidate.tally(connection)
                raise Void(f"all {items} functions have run, but the database still holds {states}")
            await asyncio.sleep(POLL)
    end = time.monotonic_ns()
    found = faults([board.marks for board in workers.boards()], items)
    if found:
        raise Void("; ".join(found))
    return end


async def wait_for(condition: Callable[[], bool], workers: Workers, patience: float, what: str) -> None:
    """Poll a condition that costs nothing. Raises `Void` when it takes too long or a worker has ended."""
    limit = time.monotonic() + patience
    while not condition():
        workers.check()
        if time.monotonic() > limit:
            raise Void(f"{what}: not within {patience:g} s; {workers.count} runs were marked")
        await asyncio.sleep(POLL)


async def statements(admin: Any, url: str) -> int:
    """The statements that clients sent to the database of this URL so far."""
    name = url.rpartition("/")[2]
    return int(
        await admin.fetchval(
            "select coalesce(sum(s.calls), 0)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid"
            " where d.datname = $1 and s.toplevel",
            name,
        )
    )


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU time of a process so far; where the kernel tells by thread in nanoseconds, from there."""
    files = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    nanoseconds = sum(int(file.read_text().split()[0]) for file in files)
    if nanoseconds:
        return nanoseconds / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)
