"""W11: a fleet of workers that all serve many queues, at rest and with a backlog. Run when it is asked for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

import psutil

from bench.board import repeats
from bench.meters import calls, connections, cpu_seconds, postmaster, server_cpu_seconds, statements
from bench.parts import Turn, Void, finish, wait_for
from bench.processes import Workers
from bench.sql import connect

SETTLE = 10.0  # seconds until all are at rest: more than a worker's poll interval
ENQUEUE_INTERVAL = 0.25


@dataclass(frozen=True)
class Plan:
    """The sizes: of the fleet, and of what it finds in the database."""

    workers: int
    queues: int
    suspended: int
    ready: int
    watched: float  # seconds of watching it at rest
    enqueued: int  # tasks that are enqueued then, one by one, each into another queue
    drained: int  # of what is ready, by one worker
    drained_by_all: int  # of what is left, by the fleet

    @property
    def names(self) -> list[str]:
        """The names of its queues."""
        return [f"bench-{number}" for number in range(self.queues)]


PLANS = {
    plan.workers: plan
    for plan in (
        Plan(50, 1_000, 100_000, 1_000_000, 60.0, 100, 40_000, 200_000),
        Plan(5, 50, 1_000, 10_000, 10.0, 20, 4_000, 4_000),
    )
}


@dataclass(frozen=True)
class Reading:
    """The counts of what a fleet has caused up to a moment."""

    at: float  # seconds
    counts: dict[str, float]

    @classmethod
    async def now(cls, turn: Turn, admin: Any, fleet: list[psutil.Process]) -> Reading:
        """The reading of this moment."""
        texts = turn.candidate.statements
        counts = {
            "statements": float(await statements(admin, turn.url)),
            **{name: float((await calls(admin, turn.url, texts[name]))[0]) for name in ("claim", "heartbeat")},
            "cpu": sum(cpu_seconds(process) for process in fleet),
            "server_cpu": server_cpu_seconds(await postmaster(admin)),
        }
        return cls(time.monotonic(), counts)

    def each_minute(self, later: Reading, name: str) -> float:
        """How much a count grows in a minute."""
        return (later.counts[name] - self.counts[name]) / (later.at - self.at) * 60

    def beyond(self, later: Reading, name: str, each_minute: float) -> float:
        """How much a count has grown more than it does at rest."""
        return (self.each_minute(later, name) - each_minute) * (later.at - self.at) / 60


async def fleet(turn: Turn) -> dict[str, float]:
    """W11: `items` are the workers."""
    plan = PLANS[turn.items]
    async with connect(turn.admin_url) as admin:
        async with connect(turn.url) as connection:
            await turn.candidate.fill_suspended(connection, plan.names, plan.suspended)
            await connection.execute("vacuum (analyze)")
        rest = await at_rest(turn, plan, admin)
        async with connect(turn.url) as connection:
            await turn.candidate.fill_queues(connection, plan.names, plan.ready)
            await connection.execute("vacuum (analyze)")
        return {**rest, **await backlog(turn, plan, admin)}


async def at_rest(turn: Turn, plan: Plan, admin: Any) -> dict[str, float]:
    """Watch the fleet at rest; then enqueue one task after the other, while nearly all workers sleep."""
    with turn.fleet(plan.workers, plan.enqueued, plan.names) as workers:
        processes = [psutil.Process(pid) for pid in workers.pids]
        await wait_for(lambda: workers.started, workers, turn.patience, "the workers' start")
        await wait_for_connections(turn, workers, admin, processes)
        await asyncio.sleep(SETTLE)
        begin = await Reading.now(turn, admin, processes)
        await asyncio.sleep(plan.watched)
        end = await Reading.now(turn, admin, processes)
        asleep = max(await connections(admin, turn.url, processes))
        async with turn.candidate.client(turn.url) as client:
            for index in range(plan.enqueued):
                await client.enqueue_into(plan.names[index % plan.queues], index)
                await asyncio.sleep(ENQUEUE_INTERVAL)
            await finish(turn, workers, plan.enqueued)
            await asyncio.sleep(SETTLE)
            last = await Reading.now(turn, admin, processes)
            (own,) = await connections(admin, turn.url, [psutil.Process()])
        workers.check()
    idle = {name: begin.each_minute(end, name) for name in begin.counts}
    followed = {name: end.beyond(last, name, idle[name]) / plan.enqueued for name in ("claim", "heartbeat")}
    return {
        "statements": idle["statements"] / plan.workers,
        "cpu": idle["cpu"] * 1e3 / plan.workers,
        "server_cpu": idle["server_cpu"] * 1e3,
        "asleep": asleep,
        "client": own,
        "claims": followed["claim"],
        "heartbeats": followed["heartbeat"],
    }


async def wait_for_connections(turn: Turn, workers: Workers, admin: Any, processes: list[psutil.Process]) -> None:
    """Wait until each of these workers has a connection. Raises `Void` when it takes too long."""
    limit = time.monotonic() + turn.patience
    while not all(await connections(admin, turn.url, processes)):
        workers.check()
        if time.monotonic() > limit:
            raise Void(f"not every worker has connected within {turn.patience:g} s")
        await asyncio.sleep(1.0)


@dataclass(frozen=True)
class Part:
    """A part of the backlog that was drained."""

    rate: float
    working: int  # the most connections that a worker had
    milliseconds: dict[str, float]  # that a claim took, and a commit, in the mean
    marks: list[bytes]


async def backlog(turn: Turn, plan: Plan, admin: Any) -> dict[str, float]:
    """Drain a part of what is ready by one worker, and another by the fleet; what has run must have run once."""
    one = await drain_part(turn, plan, admin, 1, plan.drained)
    every = await drain_part(turn, plan, admin, plan.workers, plan.drained_by_all)
    marks = one.marks + every.marks
    if found := repeats(marks, plan.ready):
        raise Void("; ".join(found))
    ran = sum(sum(mark) for mark in marks)
    await turn.check_states(plan.enqueued + ran, pending=plan.ready - ran, suspended=plan.suspended)
    return {
        "rate": one.rate,
        "fleet_rate": every.rate,
        "working": max(one.working, every.working),
        **one.milliseconds,
    }


async def drain_part(turn: Turn, plan: Plan, admin: Any, count: int, items: int) -> Part:
    """Start workers, and end them when they have run so many; they are timed from the end of their imports."""
    directory = turn.directory / f"backlog-{count}"
    directory.mkdir()
    own = replace(turn, directory=directory)
    texts = turn.candidate.statements
    working = 0
    await own.checkpoint()
    with own.fleet(count, plan.ready, plan.names) as workers:
        processes = [psutil.Process(pid) for pid in workers.pids]
        await wait_for(lambda: workers.started, workers, turn.patience, "the workers' start")
        before = {name: await calls(admin, turn.url, texts[name]) for name in ("claim", "commit")}
        for part in (1, 2, 3):
            await reach(own, workers, items * part // 4)
            working = max(working, *await connections(admin, turn.url, processes))
        await reach(own, workers, items)
        rate = workers.count / (time.monotonic_ns() - workers.first_start) * 1e9
        after = {name: await calls(admin, turn.url, texts[name]) for name in before}
    marks = [board.marks for board in workers.boards()]
    return Part(rate, working, {name: mean(before[name], after[name]) for name in before}, marks)


async def reach(turn: Turn, workers: Workers, bound: int) -> None:
    """Wait until so many tasks have run."""
    await wait_for(lambda: workers.count >= bound, workers, turn.patience, f"{bound} runs")


def mean(before: tuple[int, float], after: tuple[int, float]) -> float:
    """The milliseconds of a statement, from two readings of `calls`; 0 when there was none between them."""
    number, milliseconds = after[0] - before[0], after[1] - before[1]
    return milliseconds / number if number else 0.0
