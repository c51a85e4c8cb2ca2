"""The lease is the fence: at most one recorded outcome (guarantee 2, rules b and f)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import psycopg
import pytest

from apps.board import Board, Connection, count, rhythm, row, steps_of, waits_for_lock
from apps.leases import held_up, sums, waits
from currant import Handle, LeaseLost
from currant.rust_bridge import NewExecution, RustBridge, new_id
from currant.worker import Worker
from support import WorkerProcess, eventually, eventually_async

ERROR = b'{"type": "ValueError", "message": "no", "traceback": ""}'


@pytest.fixture
def worker_id(bridge: RustBridge) -> str:
    """A worker by its id alone: the test does by hand what it does."""
    id = new_id()
    bridge.update_heartbeat(id, "by hand", ["orders"])
    return id


def claim(bridge: RustBridge, worker_id: str) -> tuple[str, int]:
    """The id and the lease of what it claims."""
    claimed = bridge.claim_execution(worker_id, ["orders"])
    assert claimed is not None
    return claimed.id, claimed.lease


def take_over(db: Connection, worker_id: str) -> None:
    """Let the worker be dead, and another take over what it ran."""
    db.execute("update currant.workers set last_heartbeat = now() - interval '1 day' where id = %s", [worker_id])
    db.execute("select currant.take_over(%s)", [worker_id])


# Every way to lose a lease

LOSSES: dict[str, Callable[[RustBridge, Connection, str, str], object]] = {
    "take-over": lambda bridge, db, worker, id: take_over(db, worker),
    "hand-back": lambda bridge, db, worker, id: db.execute("select currant.stop_worker(%s)", [worker]),
    "cancel": lambda bridge, db, worker, id: bridge.cancel_execution(id, force=True),
    "retry": lambda bridge, db, worker, id: (bridge.cancel_execution(id, force=True), bridge.retry_execution(id)),
}
WRITES: list[Callable[[RustBridge, str, str, int], None]] = [
    lambda bridge, worker, id, lease: bridge.complete_execution(worker, id, lease, b"1"),
    lambda bridge, worker, id, lease: bridge.fail_execution(worker, id, lease, ERROR, retry=False),
    lambda bridge, worker, id, lease: bridge.fail_execution(worker, id, lease, ERROR, retry=True),
    lambda bridge, worker, id, lease: bridge.suspend_workflow(worker, id, lease),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_zombies_write_is_refused_and_changes_nothing(
    loss: str, bridge: RustBridge, db: Connection, worker_id: str
) -> None:
    sums.queue_sync(1)
    id, lease = claim(bridge, worker_id)
    LOSSES[loss](bridge, db, worker_id, id)
    before = row(db, id)
    assert before["lease"] > lease
    for write in WRITES:
        with pytest.raises(LeaseLost):
            write(bridge, worker_id, id, lease)
        assert row(db, id) == before


def test_the_same_worker_with_the_same_attempt_is_a_zombie_after_a_hand_back(
    bridge: RustBridge, db: Connection, worker_id: str
) -> None:
    held_up.queue_sync("")
    id, old = claim(bridge, worker_id)
    db.execute("select currant.stop_worker(%s)", [worker_id])
    bridge.update_heartbeat(worker_id, "by hand", ["orders"])
    db.execute("update currant.workers set stopped_at = null where id = %s", [worker_id])
    same, new = claim(bridge, worker_id)
    assert (same, row(db, id)["attempt"]) == (id, 1)
    with pytest.raises(LeaseLost):
        bridge.complete_execution(worker_id, id, old, b'"old"')
    bridge.complete_execution(worker_id, id, new, b'"new"')
    assert row(db, id)["result"] == b'"new"'


def test_another_worker_cannot_write_under_a_lease_that_is_not_its_own(
    bridge: RustBridge, db: Connection, worker_id: str
) -> None:
    held_up.queue_sync("")
    id, lease = claim(bridge, worker_id)
    with pytest.raises(LeaseLost):
        bridge.complete_execution(new_id(), id, lease, b'"thief"')
    assert row(db, id)["state"] == "running"


def test_what_is_done_already_under_the_lease_is_a_success_and_stays(
    bridge: RustBridge, db: Connection, worker_id: str
) -> None:
    held_up.queue_sync("")
    id, lease = claim(bridge, worker_id)
    bridge.complete_execution(worker_id, id, lease, b'"once"')
    after = row(db, id)
    bridge.complete_execution(worker_id, id, lease, b'"twice"')
    assert row(db, id) == after


def test_one_refused_write_of_a_batch_leaves_the_others(bridge: RustBridge, db: Connection, worker_id: str) -> None:
    held_up.queue_many_sync([("",)] * 3)
    leases = [claim(bridge, worker_id) for _ in range(3)]
    bridge.cancel_execution(leases[1][0])
    refused = bridge.complete_executions(worker_id, [(id, lease, b"1") for id, lease in leases])
    assert refused == [leases[1][0]]
    assert [row(db, id)["state"] for id, _ in leases] == ["completed", "cancelled", "completed"]


def test_an_enqueue_that_is_made_again_with_its_id_is_one_execution(
    bridge: RustBridge, db: Connection, worker_id: str
) -> None:
    new = NewExecution(new_id(), held_up.call(("",), {}))
    assert bridge.create_executions([new]) == [new.id]
    id, lease = claim(bridge, worker_id)
    bridge.complete_execution(worker_id, id, lease, b"1")
    assert bridge.create_executions([new]) == [new.id]
    assert (count(db, "true"), row(db, id)["state"]) == (1, "completed")


# Zombies in full


@pytest.mark.usefixtures("set_environment")
async def test_steps_that_a_zombie_starts_are_refused(database: str, db: Connection, board: Board) -> None:
    async with Worker(["orders"]):
        run = await waits.queue(board.path)
        await eventually_async(lambda: board.notes == ["start 1"])
        with psycopg.connect(database) as other:
            other.execute("select 1 from currant.executions where id = %s for update", [run.id])
            board.open("gate")
            await eventually_async(lambda: waits_for_lock(db))
            # The run is taken from it, and nobody of this build gets it: what is written of it, the zombie wrote.
            other.execute(
                "update currant.executions set lease = lease + 1, state = 'suspended', suspended_at = now(), incompatible = true,"
                " refused_builds = array[build] where id = %s",
                [run.id],
            )
        await eventually_async(lambda: steps_of(db, run)["held_up"]["state"] == "completed")
    assert list(steps_of(db, run)) == ["held_up"]
    assert count(db, "seq is not null") == 0


def test_a_frozen_worker_that_comes_back_is_told_that_its_lease_is_lost(
    worker_process: Callable[..., WorkerProcess], db: Connection, board: Board
) -> None:
    frozen = worker_process("orders", "apps.leases", **rhythm(timeout=1.5))
    run = held_up.queue_sync(board.path)
    eventually(lambda: board.notes == ["start 1"])
    frozen.send(signal.SIGSTOP)
    worker_process("orders", "apps.leases", **rhythm(timeout=1.5))
    eventually(lambda: board.notes == ["start 1", "start 2"])
    board.open("gate")
    assert run.result_sync(timeout=20) == 2
    recorded = row(db, run)
    frozen.send(signal.SIGCONT)
    eventually(lambda: "LeaseLost" in frozen.log)
    assert row(db, run) == recorded
    # And it works on, with a new lease of life.
    eventually(
        lambda: db.execute(
            "select 1 from currant.workers where pid = %s and stopped_at is null", [frozen.pid]
        ).fetchone()
    )
    assert [held_up.queue_sync(board.path).result_sync(timeout=20) for _ in range(5)] == [1] * 5


# Rule f: memory and database are compared


@pytest.mark.usefixtures("set_environment")
async def test_what_the_database_believes_to_run_here_but_does_not_is_handed_back(db: Connection, board: Board) -> None:
    board.open("gate")
    async with Worker(["orders"]) as worker:
        waiting = await held_up.options(delay=3600).queue(board.path)
        # As a claim whose reply was lost leaves it.
        db.execute(
            "with claimed as (update currant.executions set state = 'running', run_at = null, worker_id = %s, attempt = 1, lease = 1,"
            " claim_xid = 1 where id = %s returning id, worker_id)"
            " insert into currant.claims (worker_id, xid, executions, unended) select worker_id, 1, array[id], 1 from claimed",
            [worker._engine.worker_id, waiting.id],
        )
        assert await waiting.result(timeout=20) == 1
    assert row(db, waiting)["lease"] == 3


@pytest.mark.usefixtures("set_environment")
async def test_what_runs_here_but_not_for_the_database_is_stopped(db: Connection, board: Board) -> None:
    async with Worker(["orders"]):
        run = await held_up.queue(board.path)
        await eventually_async(lambda: board.notes == ["start 1"])
        db.execute(
            "update currant.executions set lease = lease + 1, state = 'pending', run_at = now() + interval '1 hour' where id = %s",
            [run.id],
        )
        await eventually_async(lambda: "cancelled 1" in board.notes)
    assert row(db, run)["state"] == "pending"


def break_connections(db: Connection) -> None:
    """Terminate every other session."""
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


@pytest.mark.usefixtures("set_environment")
async def test_nothing_is_lost_or_recorded_twice_when_connections_break_in_mid_traffic(db: Connection) -> None:
    enqueues: list[asyncio.Task[Handle[int]]] = []
    async with Worker(["orders"]):
        for _ in range(8):
            ended = count(db, "finished_at is not null")
            enqueues += [asyncio.create_task(sums.queue(number)) for number in range(25)]
            await eventually_async(lambda ended=ended: count(db, "finished_at is not null") > ended, interval=0.002)
            break_connections(db)
        results = [await (await enqueue).result(timeout=60) for enqueue in enqueues]
    assert results == [8 * number + 4 for number in range(25)] * 8
    assert count(db, "parent_id is null") == 200
    assert count(db, "state = 'completed'") == 800
    numbered = db.execute(
        "select array_agg(seq order by seq) as seqs from currant.executions"
        " where parent_id is not null group by parent_id"
    ).fetchall()
    assert all(run["seqs"] == [1, 2, 3] for run in numbered)
