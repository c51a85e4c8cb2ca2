"""Signals on real workers: kept, ordered, consumed once, never lost between a look and a sleep."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from apps import signals as app
from currant import ExecutionFailed, Handle, NotFound, NotRunning, RustBridge, Worker, registry, send_signal
from support import WorkerProcess, eventually, eventually_async

LocalWorker = Callable[..., Worker]
StartWorker = Callable[..., WorkerProcess]
Db = psycopg.Connection[dict[str, Any]]
LIMIT = 30.0
# Waits whose recorded outcome is a signal that another wait, or none, consumed; or the other way round.
BOTH = """select s.key from currant.steps s where s.kind = 'signal' and (s.status = 'completed') <> exists (
    select from currant.signals g where g.execution_id = s.execution_id and g.consumed_by = s.key)"""
END_WRITERS = """select pg_terminate_backend(pid) from pg_stat_activity
    where query ~ 'commit_batch' and datname = current_database() and pid <> pg_backend_pid()"""


def functions() -> list[Any]:
    return [function for name, function in registry.items() if name.startswith("apps.signals.")]


@pytest.fixture
def worker(local_worker: LocalWorker) -> Worker:
    return local_worker(["q", "senders"], *functions())


def waits(handle: Handle[Any], count: int = 1) -> Callable[[], bool]:
    """Whether the workflow has asked for that many signals."""
    return lambda: sum(step["kind"] == "signal" for step in RustBridge.show(str(handle))["steps"]) >= count


def state_of(handle: Handle[Any]) -> str:
    return str(RustBridge.get_execution(str(handle))["state"])


async def test_a_signal_before_the_run_starts_and_one_before_the_wait_are_kept(worker: Worker) -> None:
    early = await app.collect.queue("go", 1)
    await send_signal(early, "go", "early")
    async with worker:
        assert await early.result(LIMIT) == ["early"]
        handle = await app.late.queue(0.3)
        await eventually_async(lambda: state_of(handle) == "running")
        await send_signal(handle, "go", "kept")
        assert await handle.result(LIMIT) == "kept"


async def test_signals_of_a_name_come_in_the_order_they_were_sent_each_once(worker: Worker) -> None:
    async with worker:
        handle = await app.collect.queue("go", 40)
        for number in range(40):
            await send_signal(handle, "other", -number)  # first: after the last "go" the run may end
            await send_signal(handle, "go", number)
        assert await handle.result(LIMIT) == list(range(40))


async def test_every_sender_s_order_is_kept_when_many_send_at_once(worker: Worker) -> None:
    handle = await app.collect.queue("go", 60)

    def send(sender: int) -> None:
        for number in range(15):
            RustBridge.send_signal(str(handle), "go", b"[%d,%d]" % (sender, number))

    async with worker:
        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
        for thread in threads:
            thread.start()
        got = await handle.result(LIMIT)
    for sender in range(4):
        assert [number for who, number in got if who == sender] == list(range(15))


async def test_names_are_lines_of_their_own(worker: Worker) -> None:
    async with worker:
        handle = await app.two_lines.queue(5)
        for number in range(5):
            await send_signal(handle, "right", f"r{number}")
        for number in range(5):
            await send_signal(handle, "left", f"l{number}")
        assert await handle.result(LIMIT) == [[f"l{n}" for n in range(5)], [f"r{n}" for n in range(5)]]


async def test_waits_at_the_same_time_get_a_signal_each_in_their_order(worker: Worker) -> None:
    async with worker:
        handle = await app.waits_at_once.queue(5)
        for number in range(5):
            await send_signal(handle, "go", number)
        assert await handle.result(LIMIT) == [0, 1, 2, 3, 4]


async def test_signals_are_kept_while_no_worker_is_there(local_worker: LocalWorker) -> None:
    async with local_worker("q", *functions()):
        handle = await app.collect.queue("go", 3)
        await send_signal(handle, "go", 0)
        await eventually_async(waits(handle, 2))
    assert state_of(handle) == "suspended"
    await send_signal(handle, "go", 1)
    assert state_of(handle) == "pending", "a signal wakes a suspended run"
    await send_signal(handle, "go", 2)
    async with local_worker("q", *functions()):
        assert await handle.result(LIMIT) == [0, 1, 2]


async def test_a_signal_to_nobody_is_refused(worker: Worker) -> None:
    async with worker:
        nobody = str(uuid.uuid4())
        with pytest.raises(NotFound):
            await send_signal(nobody, "go")
        handle = await app.collect.queue("go", 0)
        await handle.result(LIMIT)
        with pytest.raises(NotRunning):
            await send_signal(handle, "go")
        assert await (await app.tells_nobody.queue(nobody)).result(LIMIT) == "NotFound"
        assert await (await app.tells_nobody.queue(str(handle))).result(LIMIT) == "NotRunning"


async def test_a_wait_that_times_out_leaves_a_later_signal_to_the_next_wait(worker: Worker) -> None:
    async with worker:
        handle = await app.impatient.queue(0.05)
        await eventually_async(waits(handle, 2))
        await send_signal(handle, "go", "late")
        assert await handle.result(LIMIT) == ["timeout", None, "late"]


async def test_a_wait_ends_by_its_signal_or_by_its_time_out_never_by_both(local_worker: LocalWorker, db: Db) -> None:
    """Signals sent just as the waits end: whichever was first, none is lost and none comes twice, nor in a replay."""
    async with local_worker("q", *functions(), WORKFLOWS_WORKER_MAX_HOT="8"):
        handles = await app.impatient.queue_many([(0.1 + 0.02 * number,) for number in range(30)])
        await asyncio.gather(*(send_signal(handle, "go", n) for n, handle in enumerate(handles)))
        results = await asyncio.gather(*(handle.result(LIMIT) for handle in handles))
    for number, (how, first, second) in enumerate(results):
        assert (first, second) == ((number, None) if how == "signal" else (None, number))
    assert not db.execute("select from currant.signals where consumed_by is null").fetchall()
    assert not db.execute(BOTH).fetchall()


async def test_a_signal_meant_for_a_wait_that_is_given_up_goes_to_the_next(worker: Worker) -> None:
    async with worker:
        handle = await app.gives_up.queue()
        await send_signal(handle, "choose")
        await eventually_async(lambda: RustBridge.show(str(handle))["signals"][0]["consumed_by"])
        await send_signal(handle, "go", "mine")
        assert await handle.result(LIMIT) == "mine"


async def test_tasks_may_signal_their_workflow(worker: Worker) -> None:
    async with worker:
        assert await (await app.asks.queue()).result(LIMIT) == ["async", "thread"]


async def test_a_payload_that_does_not_fit_its_type_raises_at_the_wait(worker: Worker) -> None:
    async with worker:
        good, bad = [await app.typed.queue() for _ in range(2)]
        await send_signal(good, "number", 4)
        await send_signal(bad, "number", "four")
        assert await good.result(LIMIT) == 5
        with pytest.raises(ExecutionFailed, match="SerializationError.*signal 'number'"):
            await bad.result(LIMIT)


async def test_sql_signals_in_the_transaction_of_its_caller(worker: Worker, database: str, db: Db) -> None:
    async with worker:
        handle = await app.collect.queue("go", 2)
        await eventually_async(waits(handle))
        with psycopg.connect(database) as connection:
            connection.execute("select currant.signal(%s, 'go', '\"rolled back\"')", [str(handle)])
            connection.rollback()
            connection.execute("select currant.signal(%s, 'go', '{\"by\": \"ann\"}')", [str(handle)])
            connection.execute("select currant.signal(%s, 'go')", [str(handle)])
        assert await handle.result(LIMIT) == [{"by": "ann"}, None]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            db.execute("select currant.signal(%s, 'go')", [str(handle)])
        with pytest.raises(psycopg.errors.NoDataFound):
            db.execute("select currant.signal(gen_random_uuid(), 'go')")


def waiting_for_a_lock(db: Db, query: str) -> Callable[[], Any]:
    """The server process that runs such a query and waits for a lock."""
    asked = """select pid from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query ~ %s"""
    return lambda: db.execute(asked, [query]).fetchone()


async def test_a_signal_that_commits_while_its_run_is_being_suspended_is_not_slept_through(
    local_worker: LocalWorker, database: str, db: Db
) -> None:
    """Rule c: the suspending statement waits for the sender's lock, and must then see what the sender wrote."""
    worker = local_worker("q", *functions())
    async with worker:
        handle = await app.collect.queue("go", 1)
        await eventually_async(waits(handle))
        with psycopg.connect(database) as sender:
            sender.execute("select currant.signal(%s, 'go', '1')", [str(handle)])
            worker.drain()
            await eventually_async(waiting_for_a_lock(db, "commit_batch"))
    assert state_of(handle) == "pending"
    async with local_worker("q", *functions()):
        assert await handle.result(LIMIT) == [1]


def test_a_signal_from_a_workflow_is_sent_once_though_its_worker_dies_before_it_can_say_so(
    worker_process: StartWorker, db: Db, database: str
) -> None:
    """Rule m. The worker dies between sending the signal and recording that it did."""
    quick = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.3", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "1.5"}
    listener = app.collect.queue_sync("go", 4)
    sender = app.tells.queue_sync(str(listener), 3)
    lock = "select from currant.executions where id = %s for update"
    with psycopg.connect(database) as target, psycopg.connect(database) as own:
        target.execute(lock, [str(listener)])
        first = worker_process("senders", "apps.signals", **quick)
        eventually(waiting_for_a_lock(db, "signal_send"))  # so the step is recorded, the signal not sent
        own.execute(lock, [str(sender)])
        target.rollback()
        eventually(waiting_for_a_lock(db, "commit_batch"))  # the signal is sent, its outcome not recorded
        first.kill()
        db.execute(END_WRITERS)
    assert db.execute("select count(*) as n from currant.signals").fetchone() == {"n": 1}
    worker_process(["senders", "q"], "apps.signals", **quick)
    assert sender.result_sync(LIMIT) == 3
    RustBridge.send_signal(str(listener), "go", b'"last"')
    assert listener.result_sync(LIMIT) == [0, 1, 2, "last"]
