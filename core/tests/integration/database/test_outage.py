"""Postgres restarts, drops sessions, cannot be reached, loses replies: workers and clients go on by themselves.

Guarantee 1 (a returned handle is committed), guarantee 11 (nothing lost, nothing recorded twice), rules f and g.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

import currant
from apps import outage
from currant import DatabaseUnavailable, Worker
from currant.rust_bridge import RustBridge
from recorded import assert_all_recorded_once, audit
from servers import Gate, OwnPostgres, binaries_like, fetch, passable_directory
from support import WorkerProcess, eventually, eventually_async


@pytest.fixture(scope="module")
def own_server(server_url: str) -> Iterator[OwnPostgres]:
    """A server that these tests may restart."""
    with passable_directory() as directory:
        server = OwnPostgres(directory, binaries_like(server_url))
        with closing(RustBridge(server.url)) as bridge:
            bridge.migrate()
        yield server
        server.stop()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `apps.outage` writes which attempts began. Heartbeats are quick."""
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("WORKFLOWS_WORKER_HEARTBEAT_INTERVAL", "0.25")
    monkeypatch.setenv("WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT", "1.5")
    monkeypatch.setenv("WORKFLOWS_WORKER_POLL_INTERVAL", "0.5")
    monkeypatch.setattr(outage, "held", asyncio.Event())
    return tmp_path / "journal"


@pytest.fixture
def gate(database: str) -> Iterator[Gate]:
    """The way of this process to the test's database."""
    gate = Gate(database)
    currant.configure(database_url=gate.url)
    yield gate
    gate.shut()


class Customers:
    """Clients that enqueue orders one after the other and wait for each."""

    def __init__(self) -> None:
        self.orders: set[str] = set()
        self.done = 0

    async def place(self, name: str, count: int) -> None:
        """On an event loop, three at a time."""
        for number in range(count):
            handles = await asyncio.gather(*(outage.three_steps.queue(f"{name}-{number}-{n}") for n in range(3)))
            self.orders.update(map(str, handles))
            for handle in handles:
                assert await handle.result(timeout=60) == [0, 1, 2]
                self.done += 1

    def place_sync(self, name: str, count: int) -> None:
        """In a thread."""
        for number in range(count):
            handle = outage.three_steps.queue_sync(f"{name}-{number}")
            self.orders.add(str(handle))
            assert handle.result_sync(timeout=60) == [0, 1, 2]
            self.done += 1

    async def run(self, disturb: Callable[[], object], times: int) -> None:
        """72 orders from three customers, disturbed a few times on the way."""
        work = asyncio.gather(self.place("a", 10), self.place("b", 10), asyncio.to_thread(self.place_sync, "c", 12))
        for time in range(times):
            await eventually_async(lambda due=6 + time * 48 // times: self.done >= due, timeout=60)
            await asyncio.to_thread(disturb)
        await work
        assert self.done == 72


async def test_a_crash_of_postgres_under_load_loses_nothing_and_records_nothing_twice(
    own_server: OwnPostgres, journal: Path
) -> None:
    currant.configure(database_url=own_server.url)
    audit(own_server.url)
    customers = Customers()
    async with Worker(queues=["outage"], concurrency=20), Worker(queues=["outage"], concurrency=20):
        await customers.run(own_server.crash_and_restart, times=2)
    assert_all_recorded_once(own_server.url, customers.orders, journal)


async def test_a_returned_handle_is_there_after_a_crash(own_server: OwnPostgres) -> None:
    currant.configure(database_url=own_server.url)
    handles = await asyncio.gather(*(outage.step.options(queue="later").queue("crash", n) for n in range(50)))
    own_server.crash_and_restart()
    there = {str(row["id"]) for row in fetch(own_server.url, "select id from currant.executions where queue = 'later'")}
    assert there == {str(handle) for handle in handles}


async def test_terminated_sessions_of_a_worker_and_its_clients_disturb_nobody(
    database: str, db: psycopg.Connection[dict[str, Any]], journal: Path, worker_process: Callable[..., WorkerProcess]
) -> None:
    audit(database)
    worker = worker_process("outage", "apps.outage", JOURNAL=str(journal))
    customers = Customers()

    def terminate() -> None:
        ended = db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and application_name = 'currant'"
        ).fetchall()
        assert len(ended) >= 2  # the worker's and ours

    await customers.run(terminate, times=5)
    assert worker.running
    assert "Traceback" not in worker.log
    assert_all_recorded_once(database, customers.orders, journal)


async def test_unreachable_for_longer_than_the_heartbeat_timeout_costs_no_attempt(
    gate: Gate, bridge: RustBridge, db: psycopg.Connection[dict[str, Any]], journal: Path
) -> None:
    async with Worker(queues=["outage"], concurrency=5), Worker(queues=["outage"], concurrency=5):
        handles = await outage.hold.queue_many([(n,) for n in range(6)])
        await eventually_async(lambda: sum(row["running"] for row in bridge.workers()) == 6)
        gate.shut()
        waiting = [asyncio.ensure_future(handle.result(timeout=60)) for handle in handles]
        late = asyncio.ensure_future(outage.hold.queue(6))
        await eventually_async(lambda: [row["state"] for row in bridge.workers()] == ["stale", "stale"])
        outage.held.set()  # they end while nothing can be recorded
        gate.open()
        assert await asyncio.gather(*waiting) == list(range(6))
        assert await (await late).result(timeout=30) == 6
    counts = db.execute("select attempt, worker_losses, count(*) as n from currant.executions group by 1, 2").fetchall()
    assert counts == [{"attempt": 1, "worker_losses": 0, "n": 7}]


async def test_an_enqueue_whose_reply_is_lost_is_there_once(gate: Gate, db: psycopg.Connection[dict[str, Any]]) -> None:
    gate.lose_reply_to = b"the second"
    first = await outage.step.queue("the first", 0)
    enqueue = asyncio.ensure_future(outage.step.queue("the second", 0))
    there = "select id::text as id from currant.executions where id <> %s"
    (row,) = await eventually_async(lambda: enqueue.done() or db.execute(there, [str(first)]).fetchall())
    assert not enqueue.done()
    gate.cut()
    assert str(await enqueue) == row["id"]
    assert db.execute(there, [str(first)]).fetchall() == [row]


async def test_a_worker_whose_first_question_gets_no_reply_connects_again(gate: Gate, journal: Path) -> None:
    handle = await outage.step.queue("first", 7)  # the client has asked about the schema before
    gate.lose_reply_to = b"min_client"
    async with Worker(queues=["outage"]):
        assert await handle.result(timeout=60) == 7
    assert gate.lose_reply_to is None  # it was lost


async def test_an_outcome_whose_reply_is_lost_is_recorded_once_and_the_worker_goes_on(
    database: str, gate: Gate, db: psycopg.Connection[dict[str, Any]], journal: Path
) -> None:
    audit(database)
    async with Worker(queues=["outage"], concurrency=5):
        handle = await outage.hold.queue(424_242)
        await eventually_async(
            lambda: db.execute("select 1 from currant.executions where state = 'running'").fetchone()
        )
        gate.lose_reply_to = b"424242"  # now it is the result
        outage.held.set()
        await eventually_async(
            lambda: db.execute("select 1 from currant.executions where state = 'completed'").fetchone()
        )
        assert gate.lose_reply_to is None
        gate.cut()
        assert await handle.result(timeout=30) == 424_242
        assert await (await outage.three_steps.queue("after that")).result(timeout=30) == [0, 1, 2]
    recorded = Counter(str(row["id"]) for row in db.execute("select id from recorded"))
    assert set(recorded.values()) == {1}
    assert len(recorded) == 5
    attempts = db.execute("select attempt, worker_losses from currant.executions group by 1, 2").fetchall()
    assert attempts == [{"attempt": 1, "worker_losses": 0}]


async def test_a_step_whose_outcome_may_be_committed_is_not_run_again(
    database: str, gate: Gate, db: psycopg.Connection[dict[str, Any]], journal: Path
) -> None:
    """The reply to the commit of a workflow's step is lost: what follows happens once, in the same run."""
    audit(database)
    async with Worker(queues=["outage"], concurrency=5):
        handle = await outage.two_steps.queue(515_151)
        await eventually_async(lambda: db.execute("select 1 from currant.executions where kind = 'task'").fetchone())
        gate.lose_reply_to = b"515151"
        outage.held.set()
        await eventually_async(lambda: gate.lose_reply_to is None)
        gate.cut()
        assert await handle.result(timeout=30) == [515_151, 0]
    written = Counter(str(row["id"]) for row in db.execute("select id from recorded"))
    rows = db.execute("select id::text as id from currant.executions").fetchall()
    assert written == Counter(row["id"] for row in rows)
    assert len(rows) == 3
    assert len(journal.read_text().splitlines()) == 1


async def test_connections_that_fall_silent_are_given_up_for_new_ones(gate: Gate, journal: Path) -> None:
    """The server's node is lost: nothing ever comes back on the old connections, not even an error."""
    currant.configure(database_url=f"{gate.url}?connect_timeout=6")
    async with Worker(queues=["outage"], concurrency=5):
        assert await (await outage.three_steps.queue("before")).result(timeout=30) == [0, 1, 2]
        held = await outage.hold.queue(7)
        await eventually_async(lambda: held.status_sync() == "running")
        waiting = asyncio.ensure_future(held.result(timeout=60))
        gate.black_hole()
        outage.held.set()
        assert await (await outage.three_steps.queue("during")).result(timeout=60) == [0, 1, 2]
        assert await waiting == 7
        assert await held.status() == "completed"


def rollbacks(db: psycopg.Connection[dict[str, Any]]) -> int:
    """Transactions of the database that were rolled back, of sessions that have ended or been idle for a while."""
    row = db.execute("select xact_rollback from pg_stat_database where datname = current_database()").fetchone()
    assert row is not None
    return int(row["xact_rollback"])


async def test_sessions_that_met_a_standby_in_a_fail_over_do_not_stay_there(
    database: str, server_url: str, db: psycopg.Connection[dict[str, Any]], journal: Path
) -> None:
    """While a fail-over goes on, the address may lead to a server that is read-only; who connected then must not keep it."""
    name = database.rpartition("/")[2]

    def become(setting: str) -> None:
        with psycopg.connect(server_url, autocommit=True) as other:
            other.execute(f'alter database "{name}" {setting}')

    async with Worker(queues=["outage"], concurrency=5):
        assert await (await outage.three_steps.queue("before")).result(timeout=30) == [0, 1, 2]
        become("set default_transaction_read_only = on")
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'currant' and datname = current_database()"
        )
        before = rollbacks(db)
        during = asyncio.ensure_future(outage.three_steps.queue("during"))
        # Client and worker try again and again: each refused write is a rollback.
        await eventually_async(lambda: rollbacks(db) >= before + 6)
        assert not during.done()
        become("reset default_transaction_read_only")
        assert await (await during).result(timeout=60) == [0, 1, 2]
        assert await (await outage.three_steps.queue("after")).result(timeout=30) == [0, 1, 2]


async def test_a_client_gives_up_after_its_connect_timeout_and_works_when_the_database_is_back(gate: Gate) -> None:
    gate.shut()
    client = currant.configure(database_url=f"{gate.url}?connect_timeout=0.3")
    with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{gate.port}"):
        await outage.step.queue("nobody", 0)
    with pytest.raises(DatabaseUnavailable):
        await asyncio.to_thread(outage.step.queue_sync, "nobody", 0)
    gate.open()
    handle = await outage.step.queue("somebody", 1)
    assert await handle.status() == "pending"
    assert client is currant.default_client()


def test_a_worker_started_before_its_database_waits_for_it(
    gate: Gate, bridge: RustBridge, worker_process: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    gate.shut()
    worker = worker_process(
        "outage", "apps.outage", ready=False, WORKFLOWS_DATABASE_URL=gate.url, JOURNAL=os.fspath(tmp_path / "journal")
    )
    eventually(lambda: "serves outage" in worker.log or not worker.running)
    gate.open()
    eventually(lambda: bridge.workers() or not worker.running)
    assert worker.running, worker.log
    assert outage.step.queue_sync("late", 7).result_sync(timeout=30) == 7
