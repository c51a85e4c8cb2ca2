"""What a workflow starts beside itself, and the client's verbs in a workflow: recorded, and done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from apps import detached as app
from currant import ExecutionCancelled, RustBridge, Worker, get_handle, registry, send_signal
from support import Ledger, WorkerProcess, eventually_async

LocalWorker = Callable[..., Worker]
StartWorker = Callable[..., WorkerProcess]
Db = psycopg.Connection[dict[str, Any]]
LIMIT = 30.0
LANES = ["q", "side", "default"]


def functions() -> list[Any]:
    return [function for name, function in registry.items() if name.startswith("apps.detached.")]


@pytest.fixture
def worker(local_worker: LocalWorker) -> Worker:
    return local_worker(LANES, *functions())


def test_what_a_workflow_started_is_started_once_though_its_worker_dies(
    worker_process: StartWorker, ledger: Ledger, db: Db
) -> None:
    quick = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.3", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "1.5"}
    handle = app.starts_and_dies.queue_sync()
    first = worker_process(["q", "default"], "apps.detached", **quick)
    first.wait()
    started = {
        str(row["id"]) for row in db.execute("select id from currant.executions where queue = 'side'").fetchall()
    }
    assert len(started) == 4
    worker_process(LANES, "apps.detached", **quick)
    result = handle.result_sync(LIMIT)
    assert set(result[:4]) == started
    assert result[4:] == ["done one", "done keyed", "done many 1", "done many 2"]
    assert Counter(ledger.lines) == {f"side {name}": 1 for name in ("one", "keyed", "many 1", "many 2")}


async def test_a_detached_execution_is_a_root_that_outlives_its_workflow(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.starts_and_is_cancelled.queue()
        await eventually_async(lambda: ledger.lines)
        other = get_handle(ledger.lines[0])
        await handle.cancel()
        with pytest.raises(ExecutionCancelled):
            await handle.result(LIMIT)
        row = RustBridge.get_execution(str(other))
        assert (row["parent_id"], row["root_id"], row["cancel_requested"]) == (None, str(other), False)
        await send_signal(other, "go", "alive")
        assert await other.result(LIMIT) == "alive"


async def test_a_detached_execution_starts_though_its_workflow_ends_in_the_same_breath(
    worker: Worker, ledger: Ledger
) -> None:
    async with worker:
        id = await (await app.starts.queue("x")).result(LIMIT)
        assert await get_handle(id).result(LIMIT) == "done x"


async def test_a_key_gives_the_first_execution_to_every_workflow(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        first = await (await app.keyed.queue("k")).result(LIMIT)
        second = await (await app.keyed.queue("k")).result(LIMIT)
        assert len({*first, *second}) == 1
        assert await get_handle(first[0]).result(LIMIT) == "done k 0"
    assert ledger.lines == ["side k 0"]


async def test_handles_work_in_a_workflow_as_recorded_steps(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.verbs.queue()
        assert await handle.result(LIMIT) == [
            "hello",
            "completed",
            "ExecutionCancelled",
            ["LookupError", "nothing there"],
            "hello",
            "timeout",
            "no status",
            "no result",
            "no cancel",
        ]
    names = Counter(step["name"] for step in RustBridge.show(str(handle))["steps"] if step["kind"] == "verb")
    assert names == {"signal": 1, "result": 6, "status": 2, "cancel": 2}


async def test_a_forced_cancel_from_a_workflow_does_not_ask(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.forces.queue()
        await send_signal(handle, "ready")
        assert await handle.result(LIMIT) == "cancelled"


async def test_what_would_block_a_workflow_or_leave_its_transaction_is_refused(worker: Worker) -> None:
    async with worker:
        seen = await (await app.refused.queue()).result(LIMIT)
    assert len(seen) == 8
    assert all("inside a workflow" in message for message in seen)
