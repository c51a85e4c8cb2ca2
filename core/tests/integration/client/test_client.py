"""Clients: from any event loop, threads and forks; handles and their verbs; several databases."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import currant
from apps import letters
from currant import (
    ExecutionCancelled,
    ExecutionFailed,
    Handle,
    NotFound,
    NotRunning,
    Retry,
    RustBridge,
    SerializationError,
    Worker,
    get_handle,
    send_signal,
    send_signal_sync,
)
from currant._calls.retry import stored_policy
from support import CHECKOUT, WorkerProcess, child_environment, eventually_async

Db = psycopg.Connection[dict[str, Any]]
StartWorker = Callable[..., WorkerProcess]
NOBODY = "00000000-0000-7000-8000-000000000001"


@pytest.fixture
def worker(worker_process: StartWorker) -> WorkerProcess:
    """A worker for the queue `letters`, in a process of its own."""
    return worker_process("letters", "apps.letters")


async def write(text: str) -> str:
    """Enqueue and wait."""
    return await (await letters.write.queue(text)).result(timeout=30)


def test_several_event_loops_in_turn(worker: WorkerProcess) -> None:
    for text in ("a", "b", "c"):
        assert asyncio.run(write(text)) == text


def test_a_handle_made_on_one_loop_is_used_on_another_and_without_any(worker: WorkerProcess) -> None:
    async def enqueue() -> Handle[str]:
        return await letters.write.queue("x")

    handle = asyncio.run(enqueue())
    assert asyncio.run(handle.result(timeout=30)) == "x"
    assert handle.result_sync(timeout=30) == "x"


def test_event_loops_in_several_threads_at_once(worker: WorkerProcess) -> None:
    async def many(name: str) -> list[str]:
        return await asyncio.gather(*(write(f"{name}-{n}") for n in range(10)))

    with ThreadPoolExecutor(5) as threads:
        results = list(threads.map(lambda name: asyncio.run(many(name)), "abcde"))
    assert results == [[f"{name}-{n}" for n in range(10)] for name in "abcde"]


def test_threads_without_an_event_loop(worker: WorkerProcess) -> None:
    with ThreadPoolExecutor(10) as threads:
        texts = [str(n) for n in range(40)]
        assert list(threads.map(lambda text: letters.write.queue_sync(text).result_sync(timeout=30), texts)) == texts


def test_after_a_fork_parent_and_children_each_have_a_client(database: str, worker: WorkerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.forking"],
        env=child_environment(database), cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert lines == [[name] * 3 for name in ("child 1", "child 2", "parent")]


def test_a_pool_of_forked_workers_as_in_multiprocessing(database: str, worker: WorkerProcess) -> None:
    script = (
        "import multiprocessing\nfrom apps import letters\nfrom apps.forking import use\n"
        "if __name__ == '__main__':\n    use('warm')\n"
        "    with multiprocessing.get_context('fork').Pool(3) as pool:\n"
        "        print(pool.map(use, ['a', 'b', 'c', 'd']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=child_environment(database), cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[['a', 'a'], ['b', 'b'], ['c', 'c'], ['d', 'd']]\n", done.stderr


def test_a_process_that_imports_and_enqueues_keeps_python_as_it_was_and_has_it_back_after_a_worker(
    database: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "apps.untouched"],
        env=child_environment(database), cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    looks = ("import", "enqueue", "worker", "await", "end")
    assert done.stderr == ""
    assert json.loads(done.stdout) == {look: [] for look in looks}


async def test_many_at_once_are_enqueued_in_order_and_together(db: Db) -> None:
    handles = await letters.write.queue_many([("a",), {"text": "b", "copies": 2}, ("c", 3)])
    rows = {str(row["id"]): row for row in db.execute("select id, args, xmin::text as tx from currant.executions")}
    assert [json.loads(rows[str(handle)]["args"]) for handle in handles] == [
        {"args": ["a"], "kwargs": {}},
        {"args": [], "kwargs": {"text": "b", "copies": 2}},
        {"args": ["c", 3], "kwargs": {}},
    ]
    assert len({row["tx"] for row in rows.values()}) == 1
    assert len(await letters.write.queue_many((str(n),) for n in range(3_000))) == 3_000
    assert await letters.write.queue_many([]) == []
    assert letters.write.queue_many_sync([]) == []
    assert len(letters.write.queue_many_sync([("d",)])) == 1


async def test_one_bad_item_of_many_means_that_nothing_is_enqueued(db: Db) -> None:
    for bad in ("b", 5, ("b", 1, 2), {"words": "b"}):
        with pytest.raises(TypeError):
            await letters.write.queue_many([("a",), bad])  # type: ignore[list-item]
    for bad in ((object(),), (5,)):
        with pytest.raises(SerializationError):
            await letters.write.queue_many([("a",), bad])
    assert db.execute("select 1 from currant.executions").fetchone() is None


async def test_ids_are_uuids_and_strings(db: Db) -> None:
    handle = await letters.write.queue("x")
    assert uuid.UUID(str(handle)).version == 7
    assert get_handle(uuid.UUID(str(handle))) == get_handle(str(handle)) == handle
    assert len({handle, get_handle(str(handle))}) == 1
    assert str(handle) in repr(handle)


async def test_statuses_from_enqueue_to_end(bridge: RustBridge) -> None:
    handle = await letters.correspond.queue("dear")
    assert await handle.status() == handle.status_sync() == "pending"
    async with Worker(queues=["letters"]):
        await eventually_async(lambda: handle.status_sync() == "running")
        await eventually_async(lambda: bridge.show(handle.id)["steps"])  # else a worker that goes hands it back
    assert await handle.status() == "suspended"  # the worker has gone
    async with Worker(queues=["letters"]):
        await send_signal(handle, "answer", "yes")
        assert await handle.result(timeout=30) == "dear: yes"
    assert await handle.status() == "completed"


async def test_a_result_that_does_not_come_in_time_is_a_timeout_error_and_may_be_asked_for_again(database: str) -> None:
    handle = await letters.write.queue("x")
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.05 s; it is pending"):
        await handle.result(timeout=0.05)
    with pytest.raises(TimeoutError, match="it is pending"):
        handle.result_sync(timeout=0.05)
    with pytest.raises(TimeoutError):
        await handle.result(timeout=0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await handle.result()
    async with Worker(queues=["letters"]):
        assert await handle.result(timeout=30) == "x"
    assert await handle.result(timeout=0) == "x"
    assert handle.result_sync(timeout=0) == "x"


async def test_many_wait_for_one_result(database: str) -> None:
    handle = await letters.write.queue("x")
    waiting = [asyncio.ensure_future(handle.result(timeout=30)) for _ in range(20)]
    waiting[0].cancel()
    async with Worker(queues=["letters"]):
        assert await asyncio.gather(*waiting[1:]) == ["x"] * 19


async def test_a_failure_comes_with_its_type_message_and_traceback(database: str) -> None:
    handle = await letters.tear.queue("bad paper")
    async with Worker(queues=["letters"]):
        with pytest.raises(ExecutionFailed) as caught:
            await handle.result(timeout=30)
    error = caught.value
    assert (error.id, error.type, error.message) == (str(handle), "ValueError", "bad paper")
    assert "letters.py" in error.traceback
    assert "raise ValueError(reason)" in error.traceback
    with pytest.raises(ExecutionFailed, match="bad paper"):
        handle.result_sync(timeout=5)


async def test_cancel_ends_what_has_not_begun_and_what_runs(database: str) -> None:
    waiting, running = await letters.write.queue("x"), await letters.linger.options(queue="lingering").queue(600)
    await waiting.cancel()
    assert await waiting.status() == "cancelled"
    async with Worker(queues=["lingering"]):
        await eventually_async(lambda: running.status_sync() == "running")
        running.cancel_sync()
        with pytest.raises(ExecutionCancelled, match=str(running)):
            await running.result(timeout=30)
    with pytest.raises(NotRunning):
        await waiting.cancel()
    with pytest.raises(NotRunning):
        waiting.cancel_sync(force=True)


async def test_verbs_on_an_execution_that_does_not_exist_are_not_found(database: str) -> None:
    nobody = get_handle(NOBODY)
    for verb in (nobody.status, nobody.result, nobody.cancel, lambda: send_signal(nobody, "x")):
        with pytest.raises(NotFound, match=NOBODY):
            await verb()
    for verb in (nobody.status_sync, nobody.result_sync, nobody.cancel_sync, lambda: send_signal_sync(NOBODY, "x")):
        with pytest.raises(NotFound, match=NOBODY):
            verb()


@pytest.mark.parametrize("id", ["", "o-1", NOBODY[:-1], None, 5])
def test_what_is_no_id_is_refused_at_once(id: Any) -> None:
    with pytest.raises(ValueError, match="not the id of an execution"):
        get_handle(id)
    with pytest.raises(NotFound):
        send_signal(id, "x")


async def test_signals_to_what_takes_none_are_not_running(database: str) -> None:
    ended = await letters.correspond.queue("x")
    await ended.cancel()
    task = await letters.write.queue("x")
    for target in (ended, task):
        with pytest.raises(NotRunning):
            await send_signal(target, "answer", "yes")
        with pytest.raises(NotRunning):
            send_signal_sync(target, "answer", "yes")


async def test_a_handle_of_an_id_gives_plain_json_and_with_its_function_the_type(database: str) -> None:
    async with Worker(queues=["letters"]):
        handle = await aged.queue(datetime(2020, 1, 1, tzinfo=UTC))
        assert await handle.result(timeout=30) == datetime(2020, 1, 2, tzinfo=UTC)
    assert await get_handle(str(handle)).result() == "2020-01-02T00:00:00Z"
    assert await get_handle(str(handle), aged).result() == datetime(2020, 1, 2, tzinfo=UTC)


@currant.task(queue="letters")
async def aged(day: datetime) -> datetime:
    return day + timedelta(days=1)


async def test_configure_changes_the_database_and_handles_keep_theirs(
    make_database: Callable[..., str], template_database: str
) -> None:
    urls = [make_database(template_database) for _ in range(2)]
    handles = []
    for url in urls:
        currant.configure(database_url=url)
        handles.append(await letters.write.queue(url))
    for handle, url in zip(handles, urls, strict=True):
        assert await handle.status() == "pending"
        with psycopg.connect(url) as connection:
            ids = connection.execute("select id::text from currant.executions").fetchall()
        assert ids == [(str(handle),)]
    with pytest.raises(NotFound):
        await get_handle(str(handles[0])).status()
    currant.configure(database_url=urls[0])
    assert await get_handle(str(handles[0])).status() == "pending"


async def test_the_payload_limit_can_be_configured(database: str) -> None:
    currant.configure(database_url=database, max_payload_bytes=1_000)
    with pytest.raises(SerializationError, match="at most 1000 are allowed"):
        letters.write.queue("x" * 1_000)
    currant.configure(database_url=database, max_payload_bytes=2_000_000)
    assert await (await letters.write.queue("x" * 1_500_000)).status() == "pending"
    currant.configure(database_url=database)
    with pytest.raises(SerializationError, match="at most 1048576 are allowed"):
        letters.write.queue("x" * 1_500_000)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"colour": 1}, TypeError),
        ({"priority": 11}, ValueError),
        ({"priority": "5"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"retries": -1}, ValueError),
        ({"retry": 3}, TypeError),
        ({"retry": Retry(), "retries": 1}, ValueError),
        ({"delay": 1, "run_at": datetime(2040, 1, 1, tzinfo=UTC)}, ValueError),
        ({"run_at": datetime(2040, 1, 1)}, ValueError),
        ({"queue": ""}, ValueError),
    ],
)
def test_bad_options_raise_at_the_call(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        letters.write.options(**options)


async def test_options_are_stored_with_the_execution(db: Db) -> None:
    retry = Retry(max_attempts=3, initial=0.5, multiplier=3, max_delay=9, jitter=0, non_retryable=(KeyError,))
    bound = letters.write.options(queue="q", priority=9, timeout=timedelta(seconds=7), retry=retry)
    await bound.queue("x")
    await letters.write.options(run_at=datetime(2040, 1, 1, tzinfo=UTC)).queue("x")
    first, second = db.execute("select * from currant.executions order by id").fetchall()
    assert (first["queue"], first["priority"], first["options"]["timeout"]) == ("q", 9, 7)
    assert first["options"]["retry"] == stored_policy(retry)
    assert first["run_at"] is None
    assert second["run_at"] == datetime(2040, 1, 1, tzinfo=UTC)


async def test_a_delay_in_the_past_means_now(db: Db) -> None:
    await letters.write.options(run_at=datetime(2020, 1, 1, tzinfo=UTC)).queue("x")
    await letters.write.options(delay=0).queue("x")
    assert db.execute("select run_at from currant.executions").fetchall() == [{"run_at": None}] * 2


def test_without_a_database_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKFLOWS_DATABASE_URL", raising=False)
    currant.configure()
    with pytest.raises(ValueError, match="WORKFLOWS_DATABASE_URL is not set"):
        letters.write.queue_sync("x")
