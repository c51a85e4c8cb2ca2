"""Failed attempts are tried again as their policy says (guarantee 8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apps.board import SLUGGISH, Board, Connection, SetEnvironment, count, row
from apps.retries import faulty, flaky, pay, paying, persistent, quick
from currant import ExecutionFailed, Retry, get_handle
from currant.rust_bridge import RustBridge
from currant.worker import Worker
from support import WorkerProcess, eventually_async

pytestmark = pytest.mark.usefixtures("set_environment")


async def failed_attempts(db: Connection, id: object, attempts: int) -> float:
    """Wait until so many attempts have failed; gives the delay after the last, in seconds."""
    waits = "id = %s and attempt = %s and state = 'pending' and run_at is not null"
    await eventually_async(lambda: count(db, waits, str(id), attempts))
    found = db.execute(
        "select extract(epoch from run_at - ready_at)::float8 as delay from currant.executions where id = %s", [str(id)]
    )
    return float(found.fetchone()["delay"])  # type: ignore[index]


def make_due(db: Connection, id: object) -> None:
    """Let the time pass."""
    db.execute("update currant.executions set run_at = now() where id = %s", [str(id)])


# What cannot succeed is not tried again


@pytest.mark.parametrize(
    ("arguments", "type"),
    [
        ('{"kwargs": {"nobody": 1}}', "TypeError"),
        ('{"args": []}', "TypeError"),
        ('{"args": [1]}', "SerializationError"),
    ],
)
async def test_a_call_that_does_not_fit_the_function_fails_at_its_first_attempt(
    db: Connection, arguments: str, type: str
) -> None:
    statement = 'select currant.enqueue(%s, %s::jsonb, \'{"queue": "orders", "retries": 5}\'::jsonb)::text as id'
    found = db.execute(statement, ["apps.retries.flaky", arguments]).fetchone()
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed) as failed:
            await get_handle(found["id"]).result(timeout=20)  # type: ignore[index]
    assert failed.value.type == type
    assert row(db, found["id"])["attempt"] == 1  # type: ignore[index]


# The delay is stored, grows, and is kept


async def test_the_delay_grows_up_to_its_cap_and_waits_in_the_database(db: Connection, board: Board) -> None:
    policy = Retry(max_attempts=6, initial=100, multiplier=3, max_delay=500, jitter=0)
    async with Worker(["orders"]):
        run = await flaky.options(retry=policy).queue(board.path, 4)
        delays = []
        for attempts in range(1, 5):
            delays.append(await failed_attempts(db, run, attempts))
            make_due(db, run)
        assert await run.result(timeout=20) == 5
    assert delays == pytest.approx([100, 300, 500, 500], abs=5)  # between two clocks: the server's and the worker's


async def test_jitter_spreads_the_delays(db: Connection, board: Board) -> None:
    policy = Retry(max_attempts=2, initial=1000, max_delay=3600, jitter=0.5)
    async with Worker(["orders"]):
        runs = await flaky.options(retry=policy).queue_many([(board.path, 1)] * 20)
        delays = [await failed_attempts(db, run, 1) for run in runs]
    assert all(495 < delay < 1505 for delay in delays)
    assert max(delays) - min(delays) > 50


async def test_the_next_attempt_starts_after_the_delay_and_not_before(
    database: str, board: Board, set_environment: SetEnvironment
) -> None:
    set_environment(SLUGGISH)  # it has to know of the due time by itself: no poll will tell it
    async with Worker(["orders"]):
        run = await flaky.options(retry=Retry(max_attempts=2, initial=0.5, jitter=0)).queue(board.path, 1)
        assert await run.result(timeout=20) == 2
    first, second = (float(line.split()[1]) for line in board.notes)
    assert second - first >= 0.5


async def test_a_retry_survives_its_worker(
    worker_process: Callable[..., WorkerProcess], db: Connection, board: Board
) -> None:
    worker = worker_process("orders", "apps.retries")
    run = await flaky.options(retry=Retry(max_attempts=2, initial=3600)).queue(board.path, 1)
    await failed_attempts(db, run, 1)
    worker.kill()
    make_due(db, run)
    async with Worker(["orders"]):
        assert await run.result(timeout=20) == 2


async def test_a_retry_that_waits_holds_no_slot(db: Connection, board: Board) -> None:
    async with Worker(["orders"], concurrency=1):
        run = await flaky.options(retry=Retry(max_attempts=2, initial=3600)).queue(board.path, 1)
        await failed_attempts(db, run, 1)
        assert await (await quick.queue()).result(timeout=20) == "done"
    assert count(db, "worker_id is not null and state = 'running'") == 0
    assert row(db, run)["state"] == "pending"


async def test_a_parent_waits_through_the_retries_of_its_step(database: str, board: Board) -> None:
    async with Worker(["orders"]):
        assert await (await persistent.queue(board.path, 2)).result(timeout=20) == 3


# The end of it


@pytest.mark.parametrize("attempts", [1, 3])
async def test_it_fails_after_as_many_attempts_as_it_may_have(db: Connection, board: Board, attempts: int) -> None:
    async with Worker(["orders"]):
        policy = Retry(max_attempts=attempts, initial=0.01)
        with pytest.raises(ExecutionFailed) as failed:
            await (await flaky.options(retry=policy).queue(board.path, 99)).result(timeout=20)
    assert (failed.value.type, failed.value.message) == ("ConnectionError", f"attempt {attempts}")
    assert len(board.notes) == attempts


async def test_retries_are_the_attempts_after_the_first(database: str, board: Board) -> None:
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed):
            await (await flaky.options(retries=0).queue(board.path, 99)).result(timeout=20)
    assert len(board.notes) == 1


async def test_the_default_is_three_retries_of_a_task_and_none_of_a_workflow(bridge: RustBridge, board: Board) -> None:
    assert bridge.get_execution(str(await flaky.queue(board.path, 0)))["max_attempts"] == 4
    assert bridge.get_execution(str(await faulty.queue(board.path)))["max_attempts"] == 1
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed, match="a fault in the workflow itself"):
            await (await faulty.queue(board.path)).result(timeout=20)


@pytest.mark.parametrize(
    ("how", "kind", "attempts"),
    [
        ("declined", "CardDeclined", 1),
        ("expired", "CardExpired", 1),  # a subclass of what is named
        ("key", "KeyError", 1),  # a subclass of what is named by a string
        ("network", "ConnectionError", 5),
    ],
)
async def test_what_is_not_retryable_fails_at_once(
    database: str, board: Board, how: str, kind: str, attempts: int
) -> None:
    async with Worker(["orders"]):
        failed = await (await paying.queue(board.path, how)).result(timeout=20)
    assert failed == [kind, "'key'" if how == "key" else how]
    assert len(board.notes) == attempts


async def test_the_options_of_a_call_replace_those_of_its_function(database: str, board: Board) -> None:
    async with Worker(["orders"]):
        with pytest.raises(ExecutionFailed):
            await (await pay.options(retry=Retry(max_attempts=2, initial=0)).queue(board.path, "declined")).result(
                timeout=20
            )
    assert len(board.notes) == 2
