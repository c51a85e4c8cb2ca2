"""Workflows on real workers: combinators, children, failures, fan-out, values, retries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from apps import workflows as app
from currant import ExecutionFailed, Handle, NotRunning, RustBridge, Worker, registry, send_signal
from support import Ledger, eventually_async

LocalWorker = Callable[..., Worker]
Db = psycopg.Connection[dict[str, Any]]
LIMIT = 30.0


def functions() -> list[Any]:
    return [function for name, function in registry.items() if name.startswith("apps.workflows.")]


@pytest.fixture
def worker(local_worker: LocalWorker) -> Worker:
    """A worker for all functions of the app."""
    return local_worker("q", *functions())


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file exists, `flaky` fails."""
    path = tmp_path / "broken"
    path.touch()
    monkeypatch.setenv("BROKEN", str(path))
    return path


def waits_for(name: str, handle: Handle[Any]) -> Callable[[], bool]:
    """Whether the workflow has begun to wait for a signal of that name."""
    return lambda: any(
        step["execution_id"] == str(handle) and step["kind"] == "signal" and step["name"] == name
        for step in RustBridge.show(str(handle))["steps"]
    )


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (app.sequence, (1,), [1, 2, 4, 8, 16, 32]),
        (app.gathered, (), [2, 4, "KeyError", 6]),
        (app.first_completed, (), ["1", "1", "8"]),
        (app.in_group, (), [0, 2, 4, 6]),
        (app.broken_group, (), "ExecutionFailed KeyError"),
        (app.as_they_come, (), ["first", "second", "last"]),
        (app.timed, (), ["TimeoutError", "TimeoutError", "in time"]),
        (app.queued_inside, (), [0, 2, 4, 6, 8, 10]),
        (app.parent_that_catches, (), ["LookupError", "KeyError"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_asyncio_s_combinators_work_on_steps(
    worker: Worker, function: Any, arguments: tuple[Any, ...], expected: Any
) -> None:
    async with worker:
        handle = await function.queue(*arguments)
        assert await handle.result(LIMIT) == expected


async def test_a_step_that_fails_for_good_raises_at_its_await_and_may_be_caught(worker: Worker) -> None:
    async with worker:
        handle = await app.catches.queue()
        seen = await handle.result(LIMIT)
        child = next(row for row in RustBridge.show(str(handle))["executions"] if row["parent_id"])
        assert seen == {"id": child["id"], "type": "KeyError", "message": "'gone'", "in": True}


@pytest.mark.parametrize(("deep", "kind"), [(False, "LookupError"), (True, "KeyError")])
async def test_a_failed_child_workflow_fails_its_parent_with_the_inner_error(
    worker: Worker, deep: bool, kind: str
) -> None:
    async with worker:
        handle = await app.parent_that_waits.queue(deep)
        with pytest.raises(ExecutionFailed) as failure:
            await handle.result(LIMIT)
        assert failure.value.type == kind


async def test_io_in_a_workflow_raises_and_says_where_it_belongs(worker: Worker) -> None:
    async with worker:
        assert "task" in await (await app.reads_a_socket.queue()).result(LIMIT)


def test_run_outside_a_workflow_is_refused() -> None:
    with pytest.raises(NotRunning, match="outside a workflow"):
        app.double.run(1)


@pytest.mark.parametrize("apart", [True, False])
async def test_no_update_is_lost_between_hundreds_of_parallel_children(
    local_worker: LocalWorker, db: Db, apart: bool
) -> None:
    """Apart: every outcome reaches its parent through the database, from another worker. Else in one worker's memory."""
    lanes = ["roots", "branches", "leaves"]
    async with contextlib.AsyncExitStack() as stack:
        for served in [[lane] for lane in lanes] if apart else [lanes]:
            await stack.enter_async_context(local_worker(served, *functions()))
        handle = await app.root.queue(20, 15)
        sums = await handle.result(60)
    assert sums == [sum(2 * (number * 15 + leaf) for leaf in range(15)) for number in range(20)]
    rows = db.execute(
        "select state, count(*) as n, count(seq) as told from currant.executions group by state"
    ).fetchall()
    assert rows == [{"state": "completed", "n": 321, "told": 320}]
    numbers = db.execute(
        "select array_agg(seq order by seq) as seqs from currant.executions group by parent_id"
    ).fetchall()
    numbers = [row for row in numbers if row["seqs"] != [None]]
    assert all(row["seqs"] == list(range(1, len(row["seqs"]) + 1)) for row in numbers), "two children, one number"


async def test_values_are_those_of_the_stored_bytes_in_memory_and_after_a_replay(local_worker: LocalWorker) -> None:
    order = app.Order(UUID(int=7), Decimal("10.00"), datetime(2026, 5, 1, tzinfo=UTC), b"\x01")
    types = ["Order", "UUID", "Decimal", "datetime", "bytes", "11.9000", "0100ff", "list", "SerializationError", "[1]"]
    async with local_worker("q", *functions()):
        hot, cold = [await app.values.queue(order) for _ in range(2)]
        for handle in (hot, cold):
            await eventually_async(waits_for("go", handle))
        await send_signal(hot, "go")
        assert await hot.result(LIMIT) == types
    async with local_worker("q", *functions()):
        await send_signal(cold, "go")
        assert await cold.result(LIMIT) == types
    assert app.SHARED == [], "the workflow got the task's own list"


@pytest.mark.usefixtures("broken")
async def test_a_retried_workflow_starts_with_a_fresh_history(worker: Worker, ledger: Ledger, db: Db) -> None:
    def children_left() -> list[tuple[int, str]]:
        rows = db.execute(
            "select parent_epoch, state from currant.executions where function like '%waits_for_ever' order by parent_epoch"
        ).fetchall()
        return [(row["parent_epoch"], row["state"]) for row in rows]

    async with worker:
        handle = await app.twice.queue("a")
        await eventually_async(waits_for("go", handle))
        await send_signal(handle, "go")
        assert await handle.result(LIMIT) == "a step"
        # A child that has started is asked, and says so after its parent has ended: not once its worker drains.
        await eventually_async(lambda: children_left() == [(0, "cancelled"), (1, "cancelled")])
    assert ledger.lines == ["a step", "a flaky", "a step", "a flaky"]
    run = RustBridge.get_execution(str(handle))
    assert (run["epoch"], run["attempt"]) == (1, 2)


async def test_a_workflow_that_breaks_while_it_is_cancelled_is_not_retried(worker: Worker, ledger: Ledger) -> None:
    async with worker:
        handle = await app.fails_when_cancelled.queue()
        await eventually_async(waits_for("never", handle))
        await handle.cancel()
        with pytest.raises(ExecutionFailed, match="clean-up broke"):
            await handle.result(LIMIT)
    assert ledger.lines == ["started"]


async def failed(handle: Handle[Any]) -> None:
    with pytest.raises(ExecutionFailed, match="the shop is closed"):
        await handle.result(LIMIT)


async def test_retry_of_a_failed_root_goes_on_from_its_last_good_history(
    worker: Worker, broken: Path, ledger: Ledger
) -> None:
    async with worker:
        handle = await app.purchase.queue("a")
        await failed(handle)
        broken.unlink()
        RustBridge.retry_execution(str(handle))
        assert await handle.result(LIMIT) == ["a 1", "a 2", "a 3"]
    assert ledger.lines == ["a 1", "a 2", "a 2", "a 3"]
    assert RustBridge.get_execution(str(handle))["epoch"] == 1


async def test_retry_reaches_the_child_workflow_that_failed(worker: Worker, broken: Path, ledger: Ledger) -> None:
    async with worker:
        handle = await app.outer.queue("b")
        await failed(handle)
        broken.unlink()
        RustBridge.retry_execution(str(handle))
        assert await handle.result(LIMIT) == ["b 0", "b 1", "b 2", "b 3"]
    assert ledger.lines == ["b 0", "b 1", "b 2", "b 2", "b 3"]


async def test_retry_tells_again_what_came_after_the_failure(
    worker: Worker, broken: Path, ledger: Ledger, db: Db
) -> None:
    """A signal, a verb, a timer and a task that were asked for before the failure are not asked for again."""
    async with worker:
        listener = await app.waits_for_ever.queue()
        waits = "select from currant.steps where execution_id = %s and kind = 'signal'"
        await eventually_async(lambda: db.execute(waits, [str(listener)]).fetchone() is not None)
        with db.transaction():  # the verb cannot be done before the failure has been told
            db.execute("select from currant.executions where id = %s for update", [str(listener)])
            handle = await app.mixed.queue(str(listener))
            told = "select from currant.executions where parent_id = %s and seq is not null and function like '%%flaky'"
            await eventually_async(lambda: db.execute(told, [str(handle)]).fetchone() is not None)
        await send_signal(handle, "go", "g")
        await failed(handle)
        broken.unlink()
        RustBridge.retry_execution(str(handle))
        assert await handle.result(LIMIT) == ["flaky", "g", None, None, "mixed"]
        await listener.cancel()
    assert sorted(ledger.lines) == ["flaky", "flaky", "mixed"]
    sent = db.execute("select count(*) as n from currant.signals where execution_id = %s", [str(listener)]).fetchone()
    assert sent == {"n": 1}


async def test_only_a_failed_or_cancelled_root_can_be_retried(worker: Worker) -> None:
    async with worker:
        handle = await app.sequence.queue(1)
        await handle.result(LIMIT)
        with pytest.raises(Exception, match="neither failed nor cancelled"):
            RustBridge.retry_execution(str(handle))
        child = next(row for row in RustBridge.show(str(handle))["executions"] if row["parent_id"])
        with pytest.raises(Exception, match="step of a run"):
            RustBridge.retry_execution(child["id"])


async def test_many_workflows_at_once_end_as_each_alone_would(worker: Worker) -> None:
    async with worker:
        handles = await app.sequence.queue_many([(number,) for number in range(50)])
        results = await asyncio.gather(*(handle.result(LIMIT) for handle in handles))
    assert results == [[number * 2**power for power in range(6)] for number in range(50)]
