"""Cancel, workflow time-outs, and the clean-up they leave room for."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from apps import cancel as app
from currant import (
    ExecutionCancelled,
    ExecutionFailed,
    Handle,
    NotFound,
    NotRunning,
    RustBridge,
    Worker,
    registry,
    send_signal,
)
from support import Ledger, WorkerProcess, eventually, eventually_async

LocalWorker = Callable[..., Worker]
StartWorker = Callable[..., WorkerProcess]
RunCurrant = Callable[..., subprocess.CompletedProcess[str]]
Db = psycopg.Connection[dict[str, Any]]
LIMIT = 30.0


def functions() -> list[Any]:
    return [function for name, function in registry.items() if name.startswith("apps.cancel.")]


@pytest.fixture
def worker(local_worker: LocalWorker) -> Worker:
    return local_worker(["q", "default"], *functions())


def states(db: Db) -> set[str]:
    return {row["state"] for row in db.execute("select state from currant.executions").fetchall()}


def state_of(handle: Handle[Any]) -> str:
    return str(RustBridge.get_execution(str(handle))["state"])


async def cancelled(handle: Handle[Any]) -> None:
    with pytest.raises(ExecutionCancelled):
        await handle.result(LIMIT)


async def test_cancel_reaches_everything_below(worker: Worker, ledger: Ledger, db: Db) -> None:
    async with worker:
        handle = await app.tree.queue()
        await eventually_async(lambda: len(ledger.lines) == 2)
        assert db.execute("select count(*) as n from currant.executions").fetchone() == {"n": 8}
        await handle.cancel()
        await cancelled(handle)
        await eventually_async(lambda: states(db) == {"cancelled"})
        await eventually_async(lambda: {"left told True", "right told True"} <= set(ledger.lines))


async def test_a_workflow_may_run_steps_to_clean_up_and_is_asked_only_once(
    worker: Worker, ledger: Ledger, db: Db
) -> None:
    async with worker:
        handle = await app.cleans_up.queue("a", 0.3)
        await eventually_async(lambda: "a started" in ledger.lines)
        await handle.cancel()
        await eventually_async(
            lambda: db.execute("select from currant.steps where kind = 'timer'").fetchone() is not None
        )
        await handle.cancel()  # again, in the midst of it
        await cancelled(handle)
    assert sorted(ledger.lines) == ["a finally", "a mailed", "a refunded", "a started", "a told True"]


async def test_outstanding_steps_are_cancelled_at_once_whatever_the_workflow_does(
    worker: Worker, ledger: Ledger
) -> None:
    async with worker:
        handle = await app.with_a_side_branch.queue()
        await eventually_async(lambda: ledger.lines == ["branch started"])
        await eventually_async(lambda: RustBridge.show(str(handle))["steps"])
        await handle.cancel()
        await eventually_async(lambda: "branch told True" in ledger.lines)
        await send_signal(handle, "cleaned")
        await cancelled(handle)


async def test_a_clean_up_goes_on_in_another_worker(local_worker: LocalWorker, ledger: Ledger, db: Db) -> None:
    async with local_worker(["q", "default"], *functions()):
        handle = await app.cleans_up.queue("a", 1.0)
        await eventually_async(lambda: "a started" in ledger.lines)
        await handle.cancel()
        await eventually_async(
            lambda: db.execute("select from currant.steps where kind = 'timer'").fetchone() is not None
        )
    async with local_worker(["q", "default"], *functions()):
        await cancelled(handle)
    assert [line for line in ledger.lines if line != "a finally"] == [
        "a started",
        "a told True",
        "a refunded",
        "a mailed",
    ]


async def test_a_workflow_may_go_on_in_spite_of_a_cancel(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.refuses.queue()
        await eventually_async(lambda: RustBridge.show(str(handle))["steps"])
        await handle.cancel()
        assert await handle.result(LIMIT) == "went on"


async def test_a_run_that_has_not_started_ends_at_once(db: Db) -> None:
    handle = await app.tree.queue()
    await handle.cancel()
    assert state_of(handle) == "cancelled"


async def test_a_suspended_run_is_woken_to_be_cancelled(local_worker: LocalWorker, ledger: Ledger) -> None:
    async with local_worker("q", *functions()):
        handle = await app.waits.queue()
        await eventually_async(lambda: RustBridge.show(str(handle))["steps"])
    assert state_of(handle) == "suspended"
    await handle.cancel()
    async with local_worker("q", *functions()):
        await cancelled(handle)


async def test_a_parent_sees_that_its_child_was_cancelled(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.watches.queue()
        await eventually_async(lambda: "watched started" in ledger.lines)
        child = next(row for row in RustBridge.show(str(handle))["executions"] if row["function"].endswith(".inner"))
        RustBridge.cancel_execution(child["id"])
        assert await handle.result(LIMIT) == ["ExecutionCancelled", "noticed"]


async def test_what_has_ended_or_does_not_exist_cannot_be_cancelled(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.noted.queue("x")
        await handle.result(LIMIT)
        with pytest.raises(NotRunning):
            await handle.cancel()
        with pytest.raises(NotFound):
            RustBridge.cancel_execution(str(uuid.uuid4()))


async def test_sql_cancels_in_the_transaction_of_its_caller(worker: Worker, database: str, db: Db) -> None:
    async with worker:
        handle = await app.waits.queue()
        await eventually_async(lambda: RustBridge.show(str(handle))["steps"])
        with psycopg.connect(database) as connection:
            connection.execute("select currant.cancel(%s)", [str(handle)])
            connection.rollback()
            assert not RustBridge.get_execution(str(handle))["cancel_requested"]
            connection.execute("select currant.cancel(%s)", [str(handle)])
        await cancelled(handle)


async def test_a_workflow_over_its_time_out_fails_and_may_clean_up(worker: Worker, ledger: Ledger, db: Db) -> None:
    async with worker:
        handle = await app.too_long.queue("a")
        with pytest.raises(ExecutionFailed) as failure:
            await handle.result(LIMIT)
        assert (failure.value.type, failure.value.message) == ("TimeoutError", "workflow exceeded its timeout")
    assert sorted(ledger.lines) == ["a cleaned", "a started", "a told True"]
    assert states(db) == {"failed", "cancelled", "completed"}


async def test_a_time_out_also_wakes_a_run_that_was_evicted(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions()):
        handle = await app.too_long_asleep.queue()
        await eventually_async(lambda: RustBridge.show(str(handle))["steps"])
    assert state_of(handle) == "suspended"
    async with local_worker("q", *functions()):
        with pytest.raises(ExecutionFailed, match="workflow exceeded its timeout"):
            await handle.result(LIMIT)


async def test_a_workflow_that_answers_its_time_out_with_a_result_completes(worker: Worker) -> None:
    async with worker:
        assert await (await app.in_spite_of_it.queue()).result(LIMIT) == "done all the same"


def test_force_ends_the_tree_without_asking_it(
    worker_process: StartWorker, run_currant: RunCurrant, ledger: Ledger, db: Db
) -> None:
    worker_process(["q", "default"], "apps.cancel")
    handles = [app.cleans_up.queue_sync("a", 0.0), app.tree.queue_sync()]
    eventually(lambda: len(ledger.lines) == 3)
    for handle in handles:
        assert run_currant("cancel", str(handle), "--force").returncode == 0
        assert state_of(handle) == "cancelled"
    assert states(db) == {"cancelled"}
    told = {"a told True", "left told True", "right told True"}
    eventually(lambda: told <= set(ledger.lines))
    assert not {"a refunded", "a mailed"} & set(ledger.lines)
    assert db.execute("select count(*) as n from currant.executions").fetchone() == {"n": 10}


def test_the_cancel_of_a_dead_worker_s_run_reaches_it_in_its_next_worker(
    worker_process: StartWorker, ledger: Ledger
) -> None:
    quick = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.3", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "1.5"}
    first = worker_process(["q", "default"], "apps.cancel", **quick)
    handle = app.cleans_up.queue_sync("a", 0.0)
    eventually(lambda: "a started" in ledger.lines)
    first.kill()
    handle.cancel_sync()
    worker_process(["q", "default"], "apps.cancel", **quick)
    with pytest.raises(ExecutionCancelled):
        handle.result_sync(LIMIT)
    # The step may have begun again in the new worker before the run could be told.
    own = [line for line in ledger.lines if not line.startswith(("a started", "a told"))]
    assert own == ["a refunded", "a mailed", "a finally"]
