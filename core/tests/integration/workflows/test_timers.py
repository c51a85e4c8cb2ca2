"""Timers on real workers: durable, on time, at no cost in slots or memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from apps import timers as app
from currant import RustBridge, Worker, registry, send_signal
from support import WorkerProcess, eventually, eventually_async

LocalWorker = Callable[..., Worker]
StartWorker = Callable[..., WorkerProcess]
Db = psycopg.Connection[dict[str, Any]]
LIMIT = 30.0
# Nothing but the due time itself would make such a worker look within this test's life.
LAZY = {
    "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "50",
    "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "100",
    "WORKFLOWS_WORKER_POLL_INTERVAL": "50",
}


def functions() -> list[Any]:
    return [function for name, function in registry.items() if name.startswith("apps.timers.")]


def timers(db: Db) -> int:
    row = db.execute("select count(*) as n from currant.steps where kind = 'timer' and seq is null").fetchone()
    return int(row["n"]) if row else 0


async def test_timers_fire_in_the_order_they_are_due(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions()):
        assert await (await app.in_order.queue()).result(LIMIT) == ["first", "second", "third"]


async def test_a_timer_in_memory_fires_when_it_is_due_without_any_poll(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **LAZY):
        slept = await (await app.sleeper.queue(0.5)).result(LIMIT)
    assert slept >= 0.5


async def test_a_timer_of_a_suspended_run_fires_when_it_is_due_without_any_poll(
    local_worker: LocalWorker, db: Db
) -> None:
    async with local_worker("q", *functions()):
        handle = await app.sleeper.queue(2)
        await eventually_async(lambda: timers(db) == 1)
    assert RustBridge.get_execution(str(handle))["state"] == "suspended"
    async with local_worker("q", *functions(), **LAZY):
        assert await handle.result(LIMIT) >= 2


async def test_a_timer_that_came_due_while_no_worker_was_there_fires_at_once(local_worker: LocalWorker, db: Db) -> None:
    async with local_worker("q", *functions()):
        handle = await app.sleeper.queue(0.4)
        await eventually_async(lambda: timers(db) == 1)
    await eventually_async(lambda: db.execute("select from currant.steps where due_at < now()").fetchone() is not None)
    async with local_worker("q", *functions(), **LAZY):
        assert await handle.result(LIMIT) >= 0.4


def test_a_timer_survives_the_death_of_its_worker(worker_process: StartWorker, db: Db) -> None:
    quick = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.3", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "1.5"}
    handle = app.sleeper.queue_sync(1.5)
    first = worker_process("q", "apps.timers", **quick)
    eventually(lambda: timers(db) == 1)
    due = db.execute("select due_at from currant.steps").fetchone()
    first.kill()
    worker_process("q", "apps.timers", **quick)
    assert handle.result_sync(LIMIT) >= 1.5
    assert db.execute("select due_at from currant.steps").fetchone() == due


async def test_runs_that_wait_hold_no_slot(local_worker: LocalWorker, db: Db) -> None:
    async with local_worker(["q", "default"], *functions(), concurrency=1):
        await app.sleeper.queue_many([(3600.0,)] * 60)
        await eventually_async(lambda: timers(db) == 60)
        assert await (await app.ping.queue()).result(LIMIT) == "pong"


async def test_an_evicted_run_holds_nothing_but_rows(local_worker: LocalWorker, db: Db) -> None:
    worker = local_worker("q", *functions(), WORKFLOWS_WORKER_LONG_WAIT="0.2")
    async with worker:
        handle = await app.long_then_short.queue()
        await eventually_async(lambda: RustBridge.get_execution(str(handle))["state"] == "suspended")
        stats = worker._engine.stats()
        assert (stats["hot"], stats["running"]) == (0, 0)
        row = db.execute("select run_at from currant.executions").fetchone()
        assert row == {"run_at": None}, "the timer that was given up wakes nobody"
        await send_signal(handle, "go")
        assert await handle.result(LIMIT) == "done"
