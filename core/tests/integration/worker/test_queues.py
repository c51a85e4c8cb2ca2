"""Who is next, and that nobody is forgotten (guarantee 13, rules d and e)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from apps.board import SLUGGISH, Board, Connection, SetEnvironment, asleep, count, rhythm, row, waits_for_lock
from apps.queues import echo, mark, restless
from currant.client import default_client
from currant.rust_bridge import RustBridge, new_id
from currant.worker import Worker
from support import WorkerProcess, eventually, eventually_async

pytestmark = pytest.mark.usefixtures("set_environment")

BULK = """
    insert into currant.executions (id, root_id, kind, function, queue, args, state, finished_at, result, run_at, ready_xid)
    select i.id, i.id, 'task', 'nobody.has_it', %(queue)s, '{}', %(state)s,
        case when %(state)s = 'completed' then now() end, case when %(state)s = 'completed' then '1'::bytea end,
        case when %(delayed)s then now() + interval '1 day' end,
        case when %(state)s = 'pending' and not %(delayed)s then currant.xid() end
    from (select currant.new_id() as id from generate_series(1, %(rows)s)) i
"""


def fill(db: Connection, queue: str, rows: int, state: str = "pending", delayed: bool = False) -> None:
    """Put many executions into a queue that nobody serves."""
    db.execute(BULK, {"queue": queue, "rows": rows, "state": state, "delayed": delayed})


# Guarantee 13: order


async def test_high_priority_goes_first_and_within_it_the_oldest(database: str, board: Board) -> None:
    order = [5, 0, 9, 5, 10, 9, 0, 5]
    runs = [await mark.options(priority=p).queue(board.path, f"{p} {place}") for place, p in enumerate(order)]
    async with Worker(["orders"], concurrency=1):
        for run in runs:
            await run.result(timeout=20)
    assert board.notes == [
        f"{p} {place}" for place, p in sorted(enumerate(order), key=lambda item: (-item[1], item[0]))
    ]


async def test_queues_take_turns_whatever_the_backlog_of_one(database: str, board: Board) -> None:
    await mark.options(queue="long", priority=10).queue_many([(board.path, "long")] * 200)
    runs = await mark.options(queue="short").queue_many([(board.path, "short")] * 5)
    async with Worker(["long", "short"], concurrency=1):
        for run in runs:
            await run.result(timeout=30)
    last = max(place for place, name in enumerate(board.notes) if name == "short")
    assert last < 30  # about one in two; in the order of arrival or priority the first would be 200


def blocks_of_a_claim(db: Connection, bridge: RustBridge) -> int:
    """How many pages a claim of ten from the queue `wanted` looks at."""
    worker = new_id()
    bridge.update_heartbeat(worker, "reader", ["wanted"])
    claim = "explain (analyze, buffers, format json) select * from currant.claim(%s::uuid, array['wanted'], 10, true)"
    for _ in range(3):  # until catalogues are cached and dead entries pruned
        with db.transaction(force_rollback=True):
            plan: Any = db.execute(claim, [worker]).fetchone()
    node = plan["QUERY PLAN"][0]["Plan"]
    assert node["Actual Rows"] == 10
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("queue", "state", "delayed"),
    [
        ("other", "pending", False),
        ("wanted", "pending", True),
        ("wanted", "completed", False),
        ("wanted", "pending", False),
    ],
)
def test_a_claim_reads_no_more_for_what_else_there_is(
    db: Connection, bridge: RustBridge, queue: str, state: str, delayed: bool
) -> None:
    fill(db, "wanted", 20)
    alone = blocks_of_a_claim(db, bridge)
    fill(db, queue, 20_000, state, delayed)
    db.execute("analyze currant.executions")
    # A level or two more of each index; a scan would be some hundreds.
    assert blocks_of_a_claim(db, bridge) < alone + 150


# Due work


@pytest.mark.parametrize("how", ["delay", "run_at"])
async def test_due_work_starts_at_its_time_on_an_idle_worker(
    db: Connection, board: Board, set_environment: SetEnvironment, how: str
) -> None:
    set_environment(SLUGGISH)
    async with Worker(["orders"]):
        await eventually_async(lambda: asleep(db))
        when = {"delay": 1.0} if how == "delay" else {"run_at": datetime.now(UTC) + timedelta(seconds=1)}
        run = await mark.options(**when).queue(board.path, "due")  # type: ignore[arg-type]
        due = row(db, run)["run_at"]
        assert await run.result(timeout=20) == "due"
    assert row(db, run)["started_at"] >= due


async def test_work_that_is_due_in_the_past_starts_now(database: str, board: Board) -> None:
    async with Worker(["orders"]):
        run = await mark.options(run_at=datetime(2020, 1, 1, tzinfo=UTC)).queue(board.path, "late")
        assert await run.result(timeout=20) == "late"


async def test_work_that_comes_due_while_nobody_is_there_starts_when_somebody_is(db: Connection, board: Board) -> None:
    run = await mark.options(delay=0.2).queue(board.path, "due")
    await eventually_async(lambda: count(db, "run_at < now()"))
    async with Worker(["orders"]):
        assert await run.result(timeout=20) == "due"


async def test_due_work_of_somebody_elses_transaction_starts_at_its_time(
    db: Connection, board: Board, set_environment: SetEnvironment
) -> None:
    set_environment(SLUGGISH)
    async with Worker(["orders"]):
        await eventually_async(lambda: asleep(db))
        db.execute(
            'select currant.enqueue(\'apps.queues.mark\', %s, \'{"queue": "orders", "delay": 0.5}\')',
            [Jsonb({"args": [board.path, "due"]})],
        )
        await eventually_async(lambda: board.notes == ["due"])


# Rule e: waking up


async def test_a_sleeping_worker_is_woken(db: Connection, set_environment: SetEnvironment) -> None:
    set_environment(SLUGGISH)
    async with Worker(["orders"]):
        await eventually_async(lambda: asleep(db))
        assert await (await echo.queue(1)).result(timeout=20) == 1
        await eventually_async(lambda: asleep(db))
        with db.transaction():
            run = echo.options(connection=db).queue_sync(2)
        assert await run.result(timeout=20) == 2


async def test_what_nobody_was_told_of_is_found_by_the_poll(
    db: Connection, board: Board, set_environment: SetEnvironment
) -> None:
    set_environment(rhythm(heartbeat=30, timeout=60, poll=0.5))
    async with Worker(["orders"]):
        await eventually_async(lambda: asleep(db))
        db.execute("set currant.notify = off")
        run = echo.options(connection=db).queue_sync(1)
        assert await run.result(timeout=20) == 1


async def test_no_wake_up_is_lost_between_looking_and_sleeping(set_environment: SetEnvironment, database: str) -> None:
    # Enqueues meet the worker at every moment of falling asleep; a wake-up that is lost is an hour's wait.
    set_environment(SLUGGISH)
    chance = random.Random(5)
    async with Worker(["orders"]):
        for number in range(200):
            assert await (await echo.queue(number)).result(timeout=20) == number
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.003, 0.008]))


GATE = """
    create function at_the_gate() returns trigger language plpgsql as $$ begin
        perform pg_advisory_lock_shared(5); perform pg_advisory_unlock_shared(5); return null;
    end $$;
    create constraint trigger at_the_gate after {event} deferrable initially deferred
    for each row {when} execute function at_the_gate();
"""


@contextmanager
def commits_held_up(database: str, event: str, when: str = "") -> Iterator[Callable[[], object]]:
    """Transactions that do this stop at their commit, after all their statements, until what this gives is called."""
    with psycopg.connect(database, autocommit=True) as keeper:
        keeper.execute(GATE.format(event=event, when=when))  # type: ignore[arg-type]  # the test's own text
        keeper.execute("select pg_advisory_lock(5)")
        yield lambda: keeper.execute("select pg_advisory_unlock(5)")


async def test_what_is_enqueued_while_the_worker_decides_to_sleep_is_found(
    database: str, db: Connection, set_environment: SetEnvironment
) -> None:
    # It has looked and found nothing, but whoever enqueues does not see yet that it sleeps.
    set_environment(SLUGGISH)
    asleep_now = "when (new.sleep_until > now() and old.sleep_until < now())"
    with commits_held_up(database, "update on currant.workers", asleep_now) as release:
        async with Worker(["orders"]):
            await eventually_async(lambda: waits_for_lock(db))
            run = await echo.queue(1)
            await asyncio.to_thread(default_client().core.flush, 10)
            release()
            assert await run.result(timeout=20) == 1


async def test_a_worker_that_falls_asleep_while_an_enqueue_commits_is_woken(
    database: str, db: Connection, set_environment: SetEnvironment
) -> None:
    # Nobody sleeps yet when the row is written, and the row is not to be seen when the worker looks.
    set_environment(SLUGGISH)
    with commits_held_up(database, "insert on currant.executions") as release:
        enqueue = asyncio.create_task(echo.queue(1))
        await eventually_async(lambda: waits_for_lock(db))
        async with Worker(["orders"]):
            await eventually_async(lambda: asleep(db))
            release()
            assert await (await enqueue).result(timeout=20) == 1


# Rule d: rows that become ready late


async def test_nothing_that_becomes_ready_late_is_passed_over(
    worker_process: Callable[..., WorkerProcess], database: str, db: Connection, board: Board
) -> None:
    # Of 400: a third fails at first and is tried again, a quarter is delayed, fifty commit long after younger ones were
    # claimed, and one of the two workers drains in the middle and hands back what it has.
    late = [psycopg.connect(database) for _ in range(10)]
    runs = [restless.options(connection=late[number % 10]).queue_sync(board.path, number) for number in range(50)]
    workers = [worker_process("orders", "apps.queues", options=("--concurrency", "20")) for _ in range(2)]
    runs += await restless.queue_many([(board.path, number) for number in range(50, 300)])
    runs += await restless.options(delay=0.3).queue_many([(board.path, number) for number in range(300, 400)])
    await eventually_async(lambda: len(board.notes) > 20)
    workers[0].terminate()
    for connection in late:
        done = len(board.notes)
        connection.commit()
        connection.close()
        await eventually_async(lambda done=done: len(board.notes) > done or len(board.notes) == 400)
    assert [await run.result(timeout=30) for run in runs] == list(range(400))
    assert workers[0].wait() == 0
    assert count(db, "state <> 'completed'") == 0


async def test_work_that_commits_late_is_claimed_though_younger_work_is_done(
    database: str, board: Board, set_environment: SetEnvironment
) -> None:
    set_environment(SLUGGISH)
    with psycopg.connect(database) as slow:
        async with Worker(["orders"]):
            old = mark.options(connection=slow).queue_sync(board.path, "old")
            await (await mark.queue(board.path, "young")).result(timeout=20)
            slow.commit()
            assert await old.result(timeout=20) == "old"
    assert board.notes == ["young", "old"]


def test_a_locked_row_does_not_hide_the_others(db: Connection, bridge: RustBridge, database: str) -> None:
    worker = new_id()
    bridge.update_heartbeat(worker, "by hand", ["orders"])
    first, second = echo.queue_many_sync([(1,), (2,)])
    with psycopg.connect(database) as other:
        other.execute("select 1 from currant.executions where id = %s for update", [first.id])
        claimed = bridge.claim_execution(worker, ["orders"])
        assert claimed is not None
        assert claimed.id == second.id
    again = eventually(lambda: bridge.claim_execution(worker, ["orders"]))
    assert again.id == first.id
