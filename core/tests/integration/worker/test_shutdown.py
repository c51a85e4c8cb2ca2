"""Draining, and tasks that do not end (guarantee 10, rule n)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from apps.board import Board, Connection, count, row
from apps.shutdown import (
    deaf,
    endless,
    endless_elsewhere,
    endless_in_an_executor,
    held_up,
    held_up_in_a_thread,
    overdue,
    stuck,
    waiting,
)
from currant import ExecutionFailed, send_signal_sync
from currant.decorators import Function
from currant.worker import Worker
from support import WorkerProcess, eventually, eventually_async

Start = Callable[..., WorkerProcess]


def start(worker_process: Start, *options: str, grace: str = "60", **variables: str) -> WorkerProcess:
    variables["WORKFLOWS_WORKER_SHUTDOWN_GRACE"] = grace
    return worker_process("orders", "apps.shutdown", options=options, **variables)


def draining(db: Connection) -> bool:
    return db.execute("select 1 from currant.workers where draining and stopped_at is null").fetchone() is not None


def wait_for_two_heartbeats(db: Connection) -> None:
    """Wait until the worker has looked for work twice."""
    later = "select 1 from currant.workers where last_heartbeat > %s"
    for _ in range(2):
        beat = db.execute("select max(last_heartbeat) as at from currant.workers").fetchone()
        assert beat is not None
        eventually(lambda at=beat["at"]: db.execute(later, [at]).fetchone())


# SIGTERM


def test_sigterm_finishes_what_runs_and_claims_nothing_more(
    worker_process: Start, db: Connection, board: Board
) -> None:
    worker = start(worker_process)
    run = held_up.queue_sync(board.path)
    eventually(lambda: board.notes == ["start gate 1"])
    worker.terminate()
    eventually(lambda: draining(db))
    late = held_up.queue_sync(board.path, "late")
    wait_for_two_heartbeats(db)
    board.open("gate")
    assert worker.wait() == 0
    assert run.result_sync(timeout=5) == 1
    assert (row(db, late)["state"], row(db, late)["attempt"]) == ("pending", 0)


@pytest.mark.parametrize("function", [held_up, held_up_in_a_thread])
def test_what_outlasts_the_grace_is_handed_back_and_costs_no_attempt(
    worker_process: Start, db: Connection, board: Board, function: Function[[str], int]
) -> None:
    worker = start(worker_process, grace="0.2")
    run = function.queue_sync(board.path)
    eventually(lambda: board.notes == ["start gate 1"])
    worker.terminate()
    assert worker.wait() == 0
    handed_back = row(db, run)
    assert (handed_back["state"], handed_back["attempt"], handed_back["lease"]) == ("pending", 0, 2)
    board.open("gate")
    start(worker_process)
    assert run.result_sync(timeout=20) == 1
    assert (row(db, run)["worker_losses"], row(db, run)["suspect_losses"]) == (0, 0)


def test_what_may_not_be_started_twice_fails_where_it_outlasts_the_grace(
    worker_process: Start, db: Connection, board: Board
) -> None:
    worker = start(worker_process, "--concurrency", "1", grace="0.2")
    once = held_up.options(max_worker_losses=0)
    run, waits = once.queue_sync(board.path), once.queue_sync(board.path, "waits")
    eventually(lambda: len(board.notes) == 1)
    worker.terminate()
    assert worker.wait() == 0
    with pytest.raises(ExecutionFailed, match="WorkerLost"):
        run.result_sync(timeout=5)
    assert (row(db, waits)["state"], row(db, waits)["attempt"]) == ("pending", 0)
    assert board.notes == ["start gate 1"]


def test_what_waits_for_a_slot_is_handed_back_at_once(worker_process: Start, db: Connection, board: Board) -> None:
    worker = start(worker_process, "--concurrency", "1")
    held_up.queue_many_sync([(board.path, str(number)) for number in range(20)])
    eventually(lambda: len(board.notes) == 1)
    worker.terminate()
    eventually(lambda: count(db, "state = 'running'") == 1 and draining(db))
    assert count(db, "state = 'pending' and attempt = 0") == 19
    board.open(board.notes[0].split()[1])
    assert worker.wait() == 0
    assert count(db, "state = 'completed'") == 1


def test_a_second_sigterm_ends_it_now(worker_process: Start, db: Connection, board: Board) -> None:
    worker = start(worker_process, grace="3600")
    run = held_up.queue_sync(board.path)
    eventually(lambda: board.notes == ["start gate 1"])
    worker.terminate()
    eventually(lambda: draining(db))
    assert worker.running
    worker.terminate()
    assert worker.wait() == 0
    assert (row(db, run)["state"], row(db, run)["attempt"]) == ("pending", 0)


def test_a_waiting_workflow_is_evicted_and_goes_on_elsewhere(
    worker_process: Start, db: Connection, board: Board
) -> None:
    worker = start(worker_process)
    run = waiting.queue_sync(board.path)
    board.open("step")
    eventually(lambda: "waits" in board.notes)
    worker.terminate()
    assert worker.wait() == 0
    assert (row(db, run)["state"], row(db, run)["attempt"]) == ("suspended", 0)
    start(worker_process)
    send_signal_sync(run, "go", "gone")
    assert run.result_sync(timeout=20) == "gone"
    assert [line for line in board.notes if "step" in line] == ["start step 1", "end step 1"]


def test_a_workflow_whose_step_runs_on_is_not_lost_by_a_drain(
    worker_process: Start, db: Connection, board: Board
) -> None:
    worker = start(worker_process)
    run = waiting.queue_sync(board.path)
    eventually(lambda: board.notes == ["start step 1"])
    worker.terminate()
    eventually(lambda: draining(db))
    board.open("step")
    assert worker.wait() == 0
    send_signal_sync(run, "go", "gone")
    start(worker_process)
    assert run.result_sync(timeout=20) == "gone"
    assert [line for line in board.notes if "step" in line] == ["start step 1", "end step 1"]


# Tasks that do not end


@pytest.mark.parametrize("function", [endless, endless_elsewhere, endless_in_an_executor])
def test_a_thread_that_never_returns_does_not_keep_a_worker_from_ending(
    worker_process: Start, db: Connection, board: Board, function: Function[[str], object]
) -> None:
    worker = start(worker_process, grace="0.2")
    run = function.queue_sync(board.path)
    eventually(lambda: board.notes == ["endless 1"])
    worker.terminate()
    assert worker.wait() == 0
    assert (row(db, run)["state"], row(db, run)["attempt"]) == ("pending", 0)


@pytest.mark.usefixtures("set_environment")
async def test_a_worker_that_has_ended_leaves_no_session_behind_that_listens(db: Connection) -> None:
    def listening() -> int:
        # What a worker's own connection did last; the pool of this process does none of it.
        own = (
            "select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
            "and query ~* 'heartbeat|commit_|listen|stop_worker'"
        )
        return len(db.execute(own).fetchall())

    for _ in range(3):
        async with Worker(["orders"]):
            await eventually_async(lambda: listening() == 1)
        await eventually_async(lambda: listening() == 0)


@pytest.mark.usefixtures("set_environment")
@pytest.mark.parametrize(("function", "name"), [(overdue, "overdue"), (deaf, "deaf")])
async def test_a_timed_out_task_fails_at_once_and_keeps_its_slot_until_it_ends(
    db: Connection, board: Board, function: Function[[str], object], name: str
) -> None:
    async with Worker(["orders"], concurrency=1):
        run = await function.queue(board.path)
        with pytest.raises(ExecutionFailed) as failed:
            await run.result(timeout=20)
        assert failed.value.type == "TimeoutError"
        after = await held_up.queue(board.path, "after")
        board.open("after")
        await asyncio.to_thread(wait_for_two_heartbeats, db)
        assert row(db, after)["state"] == "pending"
        board.open("gate")
        assert await after.result(timeout=20) == 1
    ends = [line.partition(",")[0] for line in board.notes if line.startswith(("end", "start"))]
    assert ends == [f"start {name}", f"end {name}", "start after 1", "end after 1"]
    assert row(db, run)["state"] == "failed"


def test_a_worker_whose_slots_are_all_stuck_ends_and_what_waits_is_left_for_others(
    worker_process: Start, db: Connection, board: Board
) -> None:
    worker = start(worker_process, "--concurrency", "2", grace="0.2", STUCK="0.5")
    runs = stuck.queue_many_sync([(board.path,)] * 2)
    eventually(lambda: board.notes == ["stuck"] * 2)
    behind = held_up.queue_sync(board.path)
    assert worker.wait(timeout=30) == 1
    assert "all 2 slots are taken" in worker.log
    assert [row(db, run)["state"] for run in runs] == ["failed"] * 2
    assert (row(db, behind)["state"], row(db, behind)["attempt"]) == ("pending", 0)
