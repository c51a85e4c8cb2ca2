"""Workers that die, and workers that only seem to (guarantee 9, rule g)."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from apps.board import Board, Connection, SetEnvironment, count, rhythm, row, steps_of
from apps.takeover import (
    at_most_once,
    careful,
    grip,
    held_up,
    once,
    patient,
    slow_at_first,
    too_slow,
    two_gates,
    with_a_final_step,
    with_a_step_at_most_once,
)
from currant import ExecutionFailed
from currant.rust_bridge import RustBridge, new_id
from currant.worker import Worker
from support import WorkerProcess, eventually, eventually_async

pytestmark = pytest.mark.usefixtures("set_environment")

Start = Callable[..., WorkerProcess]
QUICK = rhythm(heartbeat=0.3, timeout=1.5)


@pytest_asyncio.fixture
async def watcher(database: str, set_environment: SetEnvironment) -> AsyncIterator[Worker]:
    """A worker without work, which declares others dead."""
    set_environment(QUICK)
    async with Worker(["nothing"], name="watcher") as worker:
        yield worker


async def declared_dead(db: Connection, worker: WorkerProcess) -> None:
    """Wait until a dead worker is known to be."""
    dead = "select 1 from currant.workers where pid = %s and stopped_at is not null"
    await eventually_async(lambda: db.execute(dead, [worker.pid]).fetchone())


# Dead workers


async def test_what_a_killed_worker_ran_is_taken_over(
    worker_process: Start, db: Connection, board: Board, set_environment: SetEnvironment
) -> None:
    dead = worker_process("orders", "apps.takeover", **QUICK)
    run = await held_up.queue(board.path)
    await eventually_async(lambda: board.notes == ["start gate 1"])
    dead.kill()
    board.open("gate")
    set_environment(QUICK)
    async with Worker(["orders"]):
        assert await run.result(timeout=20) == 2
    assert (row(db, run)["worker_losses"], row(db, run)["suspect_losses"]) == (1, 0)


async def test_a_recorded_step_does_not_run_again_after_a_take_over(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    dead = worker_process("orders", "apps.takeover", **QUICK)
    run = await two_gates.queue(board.path)
    board.open("one")
    await eventually_async(lambda: "start two 1" in board.notes)
    dead.kill()
    board.open("two")
    await declared_dead(db, dead)
    async with Worker(["orders"]):
        assert await run.result(timeout=20) == [1, 2]
    assert board.notes == ["start one 1", "start two 1", "start two 2"]


async def test_a_take_over_costs_no_retry(worker_process: Start, db: Connection, board: Board, watcher: Worker) -> None:
    # It has three attempts, and fails none: two that share two dead workers.
    runs = await held_up.queue_many([(board.path, "one"), (board.path, "two")])
    for attempt in ("1", "2"):
        worker = worker_process("orders", "apps.takeover", **QUICK)
        await eventually_async(lambda attempt=attempt: f"start one {attempt}" in board.notes)
        worker.kill()
        await declared_dead(db, worker)
        assert count(db, "state = 'failed'") == 0
    board.open("one")
    board.open("two")
    async with Worker(["orders"]):
        for run in runs:
            assert await run.result(timeout=20) >= 2


async def test_a_workflow_whose_step_has_no_retries_survives_the_loss_of_its_worker(
    worker_process: Start, db: Connection, bridge: RustBridge, board: Board, watcher: Worker
) -> None:
    dead = worker_process("orders", "apps.takeover", **QUICK)
    run = await with_a_final_step.queue(board.path)
    await eventually_async(lambda: board.notes == ["start gate 1"])
    dead.kill()
    await declared_dead(db, dead)
    board.open("gate")
    async with Worker(["orders"]):
        assert await run.result(timeout=20) == 2
    (step,) = [each for each in bridge.show(str(run))["executions"] if each["parent_id"]]
    assert (step["attempt"], step["max_attempts"], step["worker_losses"], step["max_worker_losses"]) == (2, 1, 1, 3)


async def test_what_may_lose_no_worker_is_never_started_twice(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    # Together with one that may: whoever killed the worker, it may have begun.
    dead = worker_process("orders", "apps.takeover", **QUICK)
    run, bystander = await at_most_once.queue(board.path), await held_up.queue(board.path, "other")
    await eventually_async(lambda: sorted(board.notes) == ["start gate 1", "start other 1"])
    dead.kill()
    await declared_dead(db, dead)
    board.open("gate")
    board.open("other")
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed, match="max_worker_losses=0") as failed:
            await run.result(timeout=20)
        assert await bystander.result(timeout=20) == 2
    assert failed.value.type == "WorkerLost"
    assert [line for line in board.notes if "gate" in line] == ["start gate 1"]


async def test_a_workflow_hears_that_its_step_was_lost_for_good(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    dead = worker_process("orders", "apps.takeover", **QUICK)
    run = await with_a_step_at_most_once.queue(board.path)
    await eventually_async(lambda: board.notes == ["start gate 1"])
    dead.kill()
    await declared_dead(db, dead)
    async with Worker(["orders"]):
        assert await run.result(timeout=20) == "WorkerLost"
    assert board.notes == ["start gate 1"]


async def test_a_workflow_that_may_lose_no_worker_ends_with_it_and_takes_its_steps_along(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    dead = worker_process("orders", "apps.takeover", **QUICK)
    run = await once.queue(board.path)
    await eventually_async(lambda: board.notes == ["start gate 1"])
    dead.kill()
    await declared_dead(db, dead)
    with pytest.raises(ExecutionFailed, match="WorkerLost"):
        await run.result(timeout=20)
    assert [step["state"] for step in steps_of(db, run).values()] == ["cancelled"]


async def test_suspended_runs_are_not_touched_by_a_take_over(
    bridge: RustBridge, db: Connection, board: Board, watcher: Worker
) -> None:
    dead = new_id()
    bridge.update_heartbeat(dead, "dead", ["orders"])
    waiting, running = await patient.queue(board.path), await patient.queue(board.path)
    claimed = [bridge.claim_execution(dead, ["orders"]) for _ in range(2)]
    assert [item.id for item in claimed if item] == [waiting.id, running.id]
    assert claimed[0] is not None
    bridge.suspend_workflow(dead, waiting.id, claimed[0].lease)
    before = row(db, waiting)
    assert before["state"] == "suspended"
    db.execute("update currant.workers set last_heartbeat = now() - interval '1 day' where id = %s", [dead])
    await eventually_async(lambda: row(db, running)["state"] == "pending")
    assert row(db, waiting) == before


# Killers and bystanders


async def test_a_task_that_kills_its_process_fails_as_worker_lost_and_bystanders_survive(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    # A bystander without a second attempt; of low priority, since suspects run one at a time and it waits to the end.
    bystander = await held_up.options(retries=0, priority=0).queue(board.path)
    run = await careful.queue(board.path)
    killed = 0
    while row(db, run)["finished_at"] is None:
        worker = worker_process("orders", "apps.takeover", ready=False, **QUICK)
        await eventually_async(lambda worker=worker: not worker.running or row(db, run)["finished_at"] is not None)
        if not worker.running:
            assert worker.process.returncode == 7
            await declared_dead(db, worker)
            killed += 1
        assert killed <= 4
    assert await run.result(timeout=20) == "WorkerLost"
    lost = steps_of(db, run)["killer"]
    # It may lose one: two of which only it can be the cause, and at most one before that, with the bystander.
    assert (lost["state"], lost["suspect_losses"], lost["options"]["max_worker_losses"]) == ("failed", 2, 1)
    assert len([line for line in board.notes if line.startswith("killer")]) == killed <= 3
    board.open("gate")
    assert await bystander.result(timeout=20) >= 1
    assert count(db, "state = 'failed'") == 1


# Workers that only seem dead, and attempts that only seem alive


async def test_a_blocked_interpreter_is_not_a_dead_worker(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    worker = worker_process("orders", "apps.takeover", **QUICK)
    run = await grip.queue(board.path, 3 * 1.5)
    assert await run.result(timeout=30) == 1
    assert (row(db, run)["lease"], row(db, run)["worker_losses"]) == (1, 0)
    assert worker.running
    assert db.execute("select count(*) as dead from currant.workers where stopped_at is not null").fetchone() == {
        "dead": 0
    }


async def test_a_row_that_somebody_holds_locked_stops_a_commit_but_not_the_heart(
    worker_process: Start, db: Connection, board: Board, watcher: Worker
) -> None:
    """As an open transaction that has signalled the run does."""
    worker_process("orders", "apps.takeover", **QUICK)
    run = await held_up.queue(board.path)
    await eventually_async(lambda: board.notes)
    later = "select 1 from currant.workers where id = %s and last_heartbeat > %s + 2 * timeout * interval '1 second'"
    with db.transaction():
        mine = db.execute(
            "select worker_id, clock_timestamp() as at from currant.executions where id = %s for update", [str(run)]
        )
        held = mine.fetchone()
        assert held is not None
        board.open("gate")
        await eventually_async(lambda: db.execute(later, [held["worker_id"], held["at"]]).fetchone())
    assert await run.result(timeout=30) == 1
    assert (row(db, run)["lease"], row(db, run)["worker_losses"]) == (1, 0)


async def test_an_attempt_over_its_time_out_is_failed(database: str) -> None:
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed) as failed:
            await (await too_slow.queue()).result(timeout=20)
    assert failed.value.type == "TimeoutError"


async def test_a_timed_out_attempt_is_tried_again(database: str, board: Board) -> None:
    async with Worker(["orders"]):
        assert await (await slow_at_first.queue(board.path)).result(timeout=20) == 2


# Rule g: only a worker with a steady pulse declares others dead


async def beats(db: Connection, worker: str, times: int) -> None:
    """Wait for so many heartbeats more of the workers of that name."""
    latest = "select max(last_heartbeat) as at from currant.workers where name = %s having max(last_heartbeat) > %s"
    at = datetime(2000, 1, 1, tzinfo=UTC)
    for _ in range(times + 1):
        found = await eventually_async(lambda at=at: db.execute(latest, [worker, at]).fetchone())
        at = found["at"]


async def test_a_worker_that_has_just_come_declares_nobody_dead(
    bridge: RustBridge, db: Connection, board: Board, set_environment: SetEnvironment
) -> None:
    silent = new_id()
    bridge.update_heartbeat(silent, "silent", ["orders"])
    run = await held_up.queue(board.path)
    assert bridge.claim_execution(silent, ["orders"]) is not None
    db.execute("update currant.workers set last_heartbeat = now() - interval '1 day'")
    set_environment(rhythm(heartbeat=0.2, timeout=60))
    async with Worker(["orders"], name="fresh"):
        await beats(db, "fresh", 3)
    assert (row(db, run)["state"], row(db, run)["lease"]) == ("running", 1)


async def test_a_worker_that_was_away_itself_declares_nobody_dead(
    worker_process: Start, db: Connection, board: Board
) -> None:
    # As after an outage of the database: both were silent for longer than the time-out, and one is back a little sooner.
    sides = ("left", "right")
    quick = rhythm(heartbeat=0.3, timeout=3)
    workers = {side: worker_process(side, "apps.takeover", options=("--name", side), **quick) for side in sides}
    runs = [await held_up.options(queue=side).queue(board.path, side) for side in sides]
    await eventually_async(lambda: len(board.notes) == 2)
    for worker in workers.values():
        worker.send(signal.SIGSTOP)
    silent = "select 1 from currant.workers having bool_and(last_heartbeat < now() - timeout * interval '1 second')"
    await eventually_async(lambda: db.execute(silent).fetchone())
    for side, worker in workers.items():
        worker.send(signal.SIGCONT)
        await beats(db, side, 2)
        board.open(side)
    assert [await run.result(timeout=20) for run in runs] == [1, 1]
    assert [row(db, run)["lease"] for run in runs] == [1, 1]


def test_a_worker_that_was_declared_dead_starts_anew(worker_process: Start, db: Connection, board: Board) -> None:
    worker = worker_process("orders", "apps.takeover", **rhythm())
    run = held_up.queue_sync(board.path)
    eventually(lambda: board.notes == ["start gate 1"])
    db.execute("update currant.workers set last_heartbeat = now() - interval '1 day'")
    db.execute("select currant.take_over(id) from currant.workers")
    eventually(lambda: "start gate 2" in board.notes)
    board.open("gate")
    assert run.result_sync(timeout=20) == 2
    assert worker.running
