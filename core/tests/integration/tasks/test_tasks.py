"""Enqueues, steps and their outcomes (guarantees 1, 3 and 5)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import psycopg
import pytest

from apps.board import SLUGGISH, Board, Connection, SetEnvironment, asleep, count, rhythm, row, steps_of, waits_for_lock
from apps.tasks import careful, careless, echo, gathering, lanes, parent, tongue_tied, two_steps
from currant import ExecutionFailed, NotFound
from currant.worker import Worker
from support import child_environment, eventually_async

pytestmark = pytest.mark.usefixtures("set_environment")

# As a take-over does: the lease moves on, and it is ready again.
BACK_TO_THE_QUEUE = """update currant.executions set lease = lease + 1, state = 'pending', ready_xid = currant.xid()
    where id = %s"""

# Guarantee 1: a returned handle means committed


async def test_a_handle_is_not_returned_before_the_commit(database: str, db: Connection) -> None:
    with psycopg.connect(database) as blocker:
        blocker.execute("lock table currant.executions in access exclusive mode")
        enqueue = asyncio.create_task(echo.queue("hello"))
        await eventually_async(lambda: waits_for_lock(db))
        assert not enqueue.done()
    assert row(db, await enqueue)["state"] == "pending"


def test_an_enqueue_survives_its_process(database: str, db: Connection) -> None:
    code = (
        "import os\nfrom apps.tasks import echo\nprint(echo.queue_sync('hello'), flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(database), stdout=subprocess.PIPE, text=True
    )
    assert ended.returncode == -signal.SIGKILL
    assert row(db, ended.stdout.strip())["state"] == "pending"


def test_many_enqueues_are_all_committed_when_their_handles_return(database: str, db: Connection) -> None:
    handles = echo.queue_many_sync([(number,) for number in range(100)])
    assert count(db, "id = any (%s)", [handle.id for handle in handles]) == 100


def test_an_enqueue_in_the_callers_transaction_commits_or_rolls_back_with_it(database: str, db: Connection) -> None:
    with psycopg.connect(database) as connection:
        kept = echo.options(connection=connection).queue_sync("kept")
        assert count(db, "id = %s", kept.id) == 0
        connection.commit()
        assert count(db, "id = %s", kept.id) == 1
        gone = echo.options(connection=connection).queue_sync("gone")
        connection.rollback()
    with pytest.raises(NotFound):
        gone.status_sync()


# Guarantee 3: nothing follows from an outcome that is not committed


async def test_a_step_starts_only_when_it_is_committed(database: str, db: Connection, board: Board) -> None:
    async with Worker(["orders"]):
        run = await two_steps.queue(board.path)
        await eventually_async(lambda: "first 1" in board.notes)
        with psycopg.connect(database) as other:
            # Somebody takes the run over while the outcome of its first step, and the second step, are being written.
            other.execute("select 1 from currant.executions where id = %s for update", [run.id])
            board.open("first 1")
            await eventually_async(lambda: waits_for_lock(db))
            other.execute(BACK_TO_THE_QUEUE, [run.id])
        assert await run.result(timeout=20) == 1
    # Once, from the run that was rebuilt: the first run's second step never left its worker's memory.
    assert board.notes == ["first 1", "second 1"]


async def test_a_run_that_went_on_from_a_refused_outcome_is_dropped(
    db: Connection, board: Board, set_environment: SetEnvironment
) -> None:
    set_environment(SLUGGISH)  # so that no heartbeat tells the zombie that it is one
    async with Worker(["orders"]):
        run = await two_steps.queue(board.path)
        await eventually_async(lambda: "first 1" in board.notes and asleep(db))
        step, lease = steps_of(db, run)["first"]["id"], row(db, run)["lease"]
        db.execute(BACK_TO_THE_QUEUE, [step])
        set_environment(rhythm())
        async with Worker(["orders"]):
            await eventually_async(lambda: "first 2" in board.notes)
            board.open("first 1")  # the zombie ends, and the run hears of it in memory
            await eventually_async(lambda: row(db, run)["lease"] > lease)
            board.open("first 2")
            assert await run.result(timeout=20) == 2
    assert [line for line in board.notes if line.startswith("second")] == ["second 2"]
    assert row(db, step)["result"] == b"2"


# Guarantee 5: a step that fails for good raises at its await, and no parent hangs


async def test_a_failed_step_can_be_caught(db: Connection) -> None:
    async with Worker(["orders"]):
        run = await careful.queue("no stock")
        kind, message, id = await run.result(timeout=20)
    assert (kind, message, id) == ("ValueError", "no stock", str(steps_of(db, run)["broken"]["id"]))


async def test_a_failed_step_fails_the_workflow_that_does_not_catch_it(db: Connection) -> None:
    async with Worker(["orders"]):
        run = await careless.queue("no stock")
        with pytest.raises(ExecutionFailed) as failed:
            await run.result(timeout=20)
    assert (failed.value.type, failed.value.message) == ("ValueError", "no stock")
    assert row(db, run)["state"] == "failed"


async def test_a_failure_surfaces_through_child_workflows(database: str) -> None:
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed, match="no stock"):
            await (await parent.queue("no stock")).result(timeout=20)


async def test_a_failed_branch_of_a_gather_leaves_the_others(database: str, board: Board) -> None:
    async with Worker(["orders"]):
        assert await (await gathering.queue(board.path)).result(timeout=20) == ["1", "ExecutionFailed", "3"]


async def test_a_step_whose_result_cannot_be_stored_fails_and_its_parent_hears_of_it(database: str) -> None:
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed) as failed:
            await (await tongue_tied.queue()).result(timeout=20)
    assert failed.value.type == "SerializationError"


# Steps run in their own queue


async def test_a_step_runs_in_its_own_queue_else_in_that_of_its_workflow(db: Connection, board: Board) -> None:
    async with Worker(["orders"]) as orders:
        run = await lanes.queue(board.path)
        await eventually_async(lambda: steps_of(db, run).get("at_home", {}).get("state") == "completed")
        steps = steps_of(db, run)
        waiting = {name: (step["queue"], step["state"], step["attempt"]) for name, step in steps.items()}
        assert waiting == {
            "at_home": ("orders", "completed", 1),
            "elsewhere": ("elsewhere", "pending", 0),
            "child_workflow": ("third", "pending", 0),
        }
        async with Worker(["elsewhere", "third"]) as others:
            assert await run.result(timeout=20) == ["orders", "elsewhere", "third"]
            ran = {name: str(step["worker_id"]) for name, step in steps_of(db, run).items()}
            ids = orders._engine.worker_id, others._engine.worker_id
            assert ran == {"at_home": ids[0], "elsewhere": ids[1], "child_workflow": ids[1]}
