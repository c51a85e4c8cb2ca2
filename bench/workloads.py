"""The workloads, the same for every candidate. Each runs in a process of its own (bench.turn) and gives its figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil

from bench.board import STEPS
from bench.fleet import fleet
from bench.meters import Cost, cpu_seconds, memory, postmaster, statements, wal_bytes
from bench.parts import FILL, Turn, batches, fill, finish, finish_first, wait_for
from bench.runs import chain, fan_out, killed_chain
from bench.soak import memory_of_a_drain, memory_of_waiting, soak, soak_kept
from bench.sql import connect
from bench.stats import percentile

IN_FLIGHT = 16
BULK = 1_000
PICKUP_INTERVAL = 0.050
PICKUP_WARM_UP = 20  # the first ones plan statements and fill caches; they are checked, not timed
DRAINED, BACKLOG = 40_000, 200_000  # W7: tasks that are drained, and pending ones of another queue
IDLE_SETTLE = 3.0  # seconds after the last item, before an idle worker is watched


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
    """W2 with so many workers, and what it costs (W9)."""

    async def run(turn: Turn) -> dict[str, float]:
        await turn.checkpoint()
        async with connect(turn.admin_url) as admin:
            before = await wal_bytes(admin)
            await fill(turn)
            enqueue_wal = (await wal_bytes(admin) - before) / turn.items
        await turn.checkpoint()
        seconds, cost = await work_off(turn, count, turn.items, turn.items)
        return {"rate": turn.items / seconds, "enqueue_wal": enqueue_wal, **cost}

    return run


def drain_beside(completed: int) -> Callable[[Turn], Awaitable[dict[str, float]]]:
    """W7: W2 with one worker, beside so many completed tasks and `BACKLOG` pending ones of another queue.

    With --quick there are as many fewer of them as there are fewer to drain.
    """

    async def run(turn: Turn) -> dict[str, float]:
        share = turn.items / DRAINED
        history, backlog = int(completed * share), int(BACKLOG * share)
        async with connect(turn.url) as connection:
            await turn.candidate.fill_history(connection, history, backlog)
            await connection.execute("vacuum (analyze)")
        await fill(turn)
        await turn.checkpoint()
        seconds, _ = await work_off(turn, 1, turn.items, turn.items + history, pending=backlog)
        return {"rate": turn.items / seconds}

    return run


async def workflows(turn: Turn) -> dict[str, float]:
    """W4, and its statements (W9)."""
    async with turn.candidate.client(turn.url) as client:
        for batch in batches(turn.items, FILL):
            await client.enqueue_workflows(batch)
    await turn.checkpoint()
    steps = turn.items * STEPS
    async with connect(turn.admin_url) as admin:
        before = await statements(admin, turn.url)
        seconds, _ = await work_off(turn, 1, steps, turn.items + steps)
        sent = await statements(admin, turn.url) - before
    return {"rate": turn.items / seconds, "statements": sent / steps}


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
            await finish_first(turn, workers)
            await asyncio.sleep(IDLE_SETTLE)
            process = psutil.Process(workers.pids[0])
            before = await statements(admin, turn.url), cpu_seconds(process)
            await asyncio.sleep(turn.items)
            after = await statements(admin, turn.url), cpu_seconds(process)
            resident = memory(process)
        workers.check()
    per_minute = 60 / turn.items
    return {
        "statements": (after[0] - before[0]) * per_minute,
        "cpu": (after[1] - before[1]) * 1000 * per_minute,
        "rss": resident,
    }


async def work_off(
    turn: Turn, count: int, items: int, executions: int, pending: int = 0
) -> tuple[float, dict[str, float]]:
    """Start workers and wait until all is done; gives the seconds since they had done their imports, and the cost."""
    async with connect(turn.admin_url) as admin:
        server = await postmaster(admin)
        with turn.workers(count, items) as workers:
            await wait_for(lambda: workers.started, workers, turn.patience, "the workers' start")
            before = await Cost.now(admin, server, workers.pids)
            end = await finish(turn, workers, items)
            after = await Cost.now(admin, server, workers.pids)
            seconds = (end - workers.first_start) / 1e9
    await turn.check_states(executions, pending)
    return seconds, before.until(after, items)


WORKLOADS: dict[str, Callable[[Turn], Awaitable[dict[str, float]]]] = {
    "W1-seq": enqueue_sequential,
    "W1-conc": enqueue_concurrent,
    "W1-bulk": enqueue_bulk,
    "W2-1": drain(1),
    "W2-2": drain(2),
    "W3": pickup,
    "W4": workflows,
    "W5-200": chain,
    "W5-1000": killed_chain,
    "W5-10000": killed_chain,
    "W6": fan_out,
    "W6-single": fan_out,
    "W7": drain_beside(500_000),
    "W7-10M": drain_beside(10_000_000),
    "W8": idle,
    "W10": soak,
    "W11": fleet,
    "soak": soak_kept,
    "memory-drain": memory_of_a_drain,
    "memory-waiting": memory_of_waiting,
}
