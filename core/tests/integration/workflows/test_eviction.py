"""Workflows evicted from memory and brought back: what they see of it, and what they do not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from apps import eviction as app
from currant import Handle, RustBridge, Worker, registry, send_signal
from currant._worker.workflows import _endless as endless
from support import eventually_async

LocalWorker = Callable[..., Worker]
Db = psycopg.Connection[dict[str, Any]]
LIMIT = 30.0
SOON = {"WORKFLOWS_WORKER_LONG_WAIT": "0.2"}  # seconds of waiting after which a run is evicted


@pytest.fixture(autouse=True)
def no_events() -> None:
    app.EVENTS.clear()


def functions() -> list[Any]:
    return [function for name, function in registry.items() if name.startswith("apps.eviction.")]


def state_of(handle: Handle[Any]) -> str:
    return str(RustBridge.get_execution(str(handle))["state"])


def is_out(handle: Handle[Any]) -> Callable[[], bool]:
    return lambda: state_of(handle) == "suspended"


def suspended(db: Db) -> int:
    row = db.execute("select count(*) as n from currant.executions where state = 'suspended'").fetchone()
    return int(row["n"]) if row else 0


async def test_beyond_max_hot_those_that_waited_longest_are_evicted(local_worker: LocalWorker, db: Db) -> None:
    # None of them waits for long by this setting: it is for their number that they go.
    worker = local_worker("q", *functions(), WORKFLOWS_WORKER_MAX_HOT="3", WORKFLOWS_WORKER_LONG_WAIT="86400")
    async with worker:
        handles = await app.waiter.queue_many([(number,) for number in range(12)])
        await eventually_async(lambda: suspended(db) >= 9)
        assert worker._engine.stats()["hot"] <= 3
        await asyncio.gather(*(send_signal(handle, "go") for handle in handles))
        assert await asyncio.gather(*(handle.result(LIMIT) for handle in handles)) == [n * 4 for n in range(12)]
        assert worker._engine.stats()["replays"] >= 9
    steps = db.execute(
        "select count(*) as n, max(attempt) as most from currant.executions where kind = 'task'"
    ).fetchone()
    assert steps == {"n": 24, "most": 1}, "a replay runs no recorded step again"


async def test_a_run_that_was_evicted_comes_back_for_a_signal(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **SOON):
        handle = await app.waiter.queue(1)
        await eventually_async(is_out(handle))
        await send_signal(handle, "go")
        assert await handle.result(LIMIT) == 4


async def test_a_run_that_was_evicted_comes_back_for_its_timer(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **SOON):
        handle = await app.woken_by_timer.queue()
        await eventually_async(is_out(handle))
        assert await handle.result(LIMIT) == 4


async def test_a_run_that_was_evicted_comes_back_for_a_child_s_outcome(local_worker: LocalWorker, db: Db) -> None:
    async with local_worker("q", *functions()):
        handle = await app.woken_by_child.queue()
        await eventually_async(lambda: len(RustBridge.show(str(handle))["executions"]) == 2)
    assert state_of(handle) == "suspended"
    async with local_worker("later", *functions()):
        await eventually_async(lambda: state_of(handle) == "pending")
    async with local_worker("q", *functions()):
        assert await handle.result(LIMIT) == 7


async def test_the_exception_passes_through_and_records_nothing(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **SOON):
        handle = await app.unwinds.queue()
        await eventually_async(is_out(handle))
        assert app.EVENTS == ["suspended", "finally", "refused", "refused", "refused", "refused"]
        shown = RustBridge.show(str(handle))
        assert [step["kind"] for step in shown["steps"]] == ["signal"]
        assert len(shown["executions"]) == 1
        app.EVENTS.clear()
        await send_signal(handle, "go")
        await eventually_async(lambda: app.EVENTS[:3] == ["finally", "went on", "went on"])
        await send_signal(handle, "more")
        assert await handle.result(LIMIT) == "done"


async def test_every_branch_and_generator_ends_at_its_own_run_s_eviction(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **SOON):
        handle = await app.many_branches.queue()
        await eventually_async(is_out(handle))
        assert Counter(app.EVENTS) == {"a": 1, "b": 1, "generator closed": 1}
        for name in ("a", "b", "tick"):
            await send_signal(handle, name, name.upper())
        assert await handle.result(LIMIT) == ["A", "B", 1]


async def test_a_result_made_while_it_is_evicted_counts_for_nothing(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **SOON):
        target = await app.waiter.queue(1)
        handle = await app.swallows.queue(str(target))
        await eventually_async(is_out(handle))
        await send_signal(handle, "go")
        assert await handle.result(LIMIT) == "heard"
        assert await target.result(LIMIT) == 4


async def test_a_run_that_does_not_end_is_kept_and_goes_on_elsewhere(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions(), **SOON):
        handle = await app.stubborn.queue()
        await eventually_async(is_out(handle))
        assert [run.id for run in endless] == [str(handle)], "kept, so that it is never collected"
        await send_signal(handle, "go", "heard")
        assert await handle.result(LIMIT) == "heard"
