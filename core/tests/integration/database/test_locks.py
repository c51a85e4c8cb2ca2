"""Somebody's open transaction holds locks on rows of executions, as a user's psql may for hours: only what is behind them waits.

And what a worker does for a run beside its writer (verbs) outlasts locks, outages and evictions.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

import currant
from apps.board import Board, Connection, SetEnvironment, rhythm, row
from apps.locks import asks, held_up, leaves_one_behind, listens, sends, two_steps
from currant import Worker
from support import WorkerProcess, eventually, eventually_async

pytestmark = pytest.mark.usefixtures("set_environment")


@contextmanager
def lock_on(database: str, *ids: object) -> Iterator[None]:
    """Somebody's open transaction, with locks on the rows of these executions."""
    with psycopg.connect(database) as somebody:
        somebody.execute(
            "select 1 from currant.executions where id = any (%s::uuid[]) for update", [list(map(str, ids))]
        )
        yield
        somebody.rollback()


def waiting(db: Connection) -> int:
    """How many sessions wait for a lock."""
    found = db.execute(
        "select count(*) as sessions from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    ).fetchone()
    return int(found["sessions"]) if found else 0


async def test_what_is_behind_a_lock_waits_and_the_rest_of_the_worker_goes_on(
    database: str, db: Connection, board: Board
) -> None:
    async with Worker(["locks"], concurrency=20):
        locked = await held_up.queue(board.path, "locked")
        others = [await held_up.queue(board.path, f"other-{n}") for n in range(8)]
        await eventually_async(lambda: len(board.notes) == 9)
        with lock_on(database, locked):
            for name in ("locked", *(f"other-{n}" for n in range(8))):
                board.open(name)
            # Its own outcome waits; everybody else's is recorded, and new work is claimed, done and recorded.
            assert [await other.result(timeout=30) for other in others] == [f"other-{n}" for n in range(8)]
            board.open("later")
            assert await (await held_up.queue(board.path, "later")).result(timeout=30) == "later"
            assert row(db, locked)["state"] == "running"
        assert await locked.result(timeout=30) == "locked"
    assert row(db, locked)["attempt"] == 1


async def test_what_follows_from_a_write_behind_a_lock_comes_after_it(
    database: str, db: Connection, board: Board
) -> None:
    async with Worker(["locks"], concurrency=20):
        run = await two_steps.queue(board.path, "first", "second")
        await eventually_async(lambda: board.notes == ["start first"])
        board.open("second")
        with lock_on(database, run):
            board.open("first")  # its outcome, its delivery and the next step are written for the run
            board.open("meanwhile")
            assert await (await held_up.queue(board.path, "meanwhile")).result(timeout=30) == "meanwhile"
            assert "start second" not in board.notes
        assert await run.result(timeout=30) == ["first", "second"]
    assert row(db, run)["attempt"] == 1


async def test_a_lock_on_a_child_that_the_end_of_its_run_cancels_holds_up_that_run_only(
    database: str, db: Connection, board: Board
) -> None:
    async with Worker(["locks"], concurrency=20):
        run = await leaves_one_behind.queue(board.path)
        await eventually_async(lambda: sorted(board.notes) == ["start awaited", "start left"])
        left = db.execute(
            "select id from currant.executions where parent_id = %s order by step_key", [str(run)]
        ).fetchone()
        assert left is not None
        with lock_on(database, left["id"]):
            board.open("awaited")
            board.open("meanwhile")
            assert await (await held_up.queue(board.path, "meanwhile")).result(timeout=30) == "meanwhile"
            assert row(db, run)["state"] == "running"
        assert await run.result(timeout=30) == "done"
    assert row(db, left["id"])["state"] == "cancelled"


async def test_a_lock_on_what_a_dead_worker_ran_holds_up_its_take_over_and_nothing_else(
    database: str,
    db: Connection,
    board: Board,
    worker_process: Callable[..., WorkerProcess],
    set_environment: SetEnvironment,
) -> None:
    set_environment(rhythm(heartbeat=1.5))  # each beat looks for the dead, and waits for the lock for half a second
    dead = worker_process("locks", "apps.locks", **rhythm(heartbeat=1.5))
    locked = await held_up.queue(board.path, "locked")
    await eventually_async(lambda: board.notes == ["start locked"])
    with lock_on(database, locked):
        dead.send(signal.SIGKILL)
        async with Worker(["locks"], concurrency=20):
            for number in range(3):  # the take-over waits, is given up, leaves no session behind, and is tried again
                await eventually_async(lambda: waiting(db) == 1, timeout=30)
                await eventually_async(lambda: waiting(db) == 0, timeout=30)
                board.open(f"other-{number}")
                assert await (await held_up.queue(board.path, f"other-{number}")).result(timeout=30)
            assert row(db, locked)["lease"] == 1
    board.open("locked")
    async with Worker(["locks"], concurrency=20):
        assert await locked.result(timeout=30) == "locked"


async def test_what_a_workflow_asks_for_is_asked_again_when_the_client_has_lost_its_patience(
    database: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    currant.configure(database_url=f"{database}?connect_timeout=1")
    async with Worker(["locks"], concurrency=20):
        target = await listens.queue()
        await eventually_async(lambda: row(db, target)["state"] == "running")
        with lock_on(database, target):
            sender = await sends.queue(str(target))
            # The first try is over for the client (its session waits on); the second waits as well.
            await eventually_async(lambda: waiting(db) >= 2, timeout=30)
        assert await sender.result(timeout=30) == "sent"
        assert await target.result(timeout=30) == "hello"
    signals = db.execute("select count(*) as count from currant.signals").fetchone()
    assert signals == {"count": 1}


async def test_a_run_that_is_evicted_while_its_worker_does_something_for_it_goes_on_elsewhere(
    db: Connection, board: Board, worker_process: Callable[..., WorkerProcess]
) -> None:
    first = worker_process("locks", "apps.locks", **rhythm())
    target = await listens.queue()
    run = await asks.queue(str(target))
    asked = "select 1 from currant.steps where execution_id = %s and kind = 'verb'"
    await eventually_async(lambda: db.execute(asked, [str(run)]).fetchone() is not None)
    first.terminate()
    eventually(lambda: not first.running)
    await currant.send_signal(target, "go", "found")
    async with Worker(["locks"], concurrency=20):
        assert await target.result(timeout=30) == "found"
        assert await run.result(timeout=30) == "found"
