"""Rule l: one execution per function and key while it has not failed, and a key that waits blocks nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import psycopg
import pytest

from apps import letters
from currant import ExecutionFailed, Handle, Worker
from currant.rust_bridge import Call, NewExecution, RustBridge, new_id
from support import eventually_async

Db = psycopg.Connection[dict[str, Any]]


def count(db: Db) -> int:
    """How many executions there are."""
    row = db.execute("select count(*) as n from currant.executions").fetchone()
    return int(row["n"]) if row else -1


def with_key(key: str) -> Any:
    """The function bound to a key."""
    return letters.write.options(idempotency_key=key)


@pytest.fixture
def holder(database: str) -> Iterator[tuple[psycopg.Connection[Any], Handle[str]]]:
    """A transaction that has enqueued with the key `taken` and has not ended, and its handle."""
    with psycopg.connect(database) as connection:
        yield connection, with_key("taken").options(connection=connection).queue_sync("mine")
        connection.rollback()


async def test_a_second_enqueue_with_the_key_gives_the_first_execution(db: Db) -> None:
    first = await with_key("k").queue("one")
    assert await with_key("k").queue("two") == first
    assert with_key("k").queue_sync("three") == first
    assert count(db) == 1
    async with Worker(queues=["letters"]):
        assert await first.result(timeout=30) == "one"
    again = await with_key("k").queue("four")
    assert again == first
    assert await again.result(timeout=5) == "one"


async def test_duplicates_at_the_same_time_are_one_execution(db: Db) -> None:
    handles = await asyncio.gather(*(with_key("k").queue(str(n)) for n in range(30)))
    assert len(set(handles)) == 1
    assert count(db) == 1


def test_duplicates_of_several_processes_are_one_execution(db: Db, database: str) -> None:
    together = Barrier(8)

    def one(number: int) -> set[str]:
        with closing(RustBridge(database)) as bridge:
            bridge.queues()  # connected
            together.wait()
            return {bridge.create_execution(letters.write.call(("x",), {}), idempotency_key=f"k{n}") for n in range(10)}

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(one, range(8)))
    assert all(found == ids[0] for found in ids)
    assert count(db) == len(ids[0]) == 10


async def test_each_function_has_keys_of_its_own(db: Db) -> None:
    letter = await with_key("k").queue("one")
    other = await letters.file_away.options(idempotency_key="k").queue("two")
    assert letter != other
    assert count(db) == 2


async def test_after_a_failure_the_key_is_free_again(db: Db) -> None:
    keyed = letters.tear.options(idempotency_key="k")
    async with Worker(queues=["letters"]):
        first = await keyed.queue("one")
        with pytest.raises(ExecutionFailed, match="one"):
            await first.result(timeout=30)
        second = await keyed.queue("two")
        assert second != first
        with pytest.raises(ExecutionFailed, match="two"):
            await second.result(timeout=30)
    assert count(db) == 2


async def test_after_a_cancel_the_key_is_free_again(database: str) -> None:
    first = await with_key("k").queue("one")
    await first.cancel()
    second = await with_key("k").queue("two")
    assert second != first
    assert await with_key("k").queue("three") == second


async def test_an_expired_key_is_free_again(db: Db) -> None:
    first = await with_key("k").queue("one")
    db.execute("update currant.idempotency_keys set expires_at = now() - interval '1 second'")
    assert await with_key("k").queue("two") != first


async def test_a_key_that_waits_blocks_no_other_enqueue(holder: tuple[Any, Handle[str]], db: Db) -> None:
    connection, first = holder
    waiting = [asyncio.ensure_future(with_key("taken").queue(str(n))) for n in range(6)]
    blocked = (
        "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    await eventually_async(lambda: (db.execute(blocked).fetchone() or {"n": 0})["n"] >= 1)
    handles = await asyncio.wait_for(asyncio.gather(*(letters.write.queue(str(n)) for n in range(20))), 30)
    assert len(set(handles)) == 20
    assert not any(future.done() for future in waiting)
    connection.commit()
    assert set(await asyncio.gather(*waiting)) == {first}
    assert count(db) == 21


async def test_when_the_holder_of_a_key_rolls_back_one_that_waited_has_it(
    holder: tuple[Any, Handle[str]], db: Db
) -> None:
    connection, first = holder
    waiting = [asyncio.ensure_future(with_key("taken").queue(str(n))) for n in range(3)]
    blocked = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    await eventually_async(lambda: db.execute(blocked).fetchone())
    connection.rollback()
    winners = set(await asyncio.gather(*waiting))
    assert len(winners) == 1
    assert first not in winners
    assert count(db) == 1


async def test_keys_are_taken_in_one_order_so_that_callers_cannot_deadlock(
    holder: tuple[Any, Handle[str]], database: str, db: Db
) -> None:
    """Who waits for a key holds none that comes behind it: the holder gets that one without waiting."""
    connection, first = holder
    call = Call("task", "apps.letters.write", "letters", 5, b"{}", '{"retry": {"max_attempts": 1}}')
    items = [NewExecution(new_id(), call, key) for key in ("zebra", "taken")]
    with closing(RustBridge(database)) as bridge:
        waiting = asyncio.ensure_future(asyncio.to_thread(bridge.create_executions, items))
        blocked = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        await eventually_async(lambda: db.execute(blocked).fetchone())
        connection.execute("set local lock_timeout = '200ms'")
        zebra = with_key("zebra").options(connection=connection).queue_sync("mine too")
        connection.commit()
        assert await waiting == [str(zebra), str(first)]


@pytest.mark.parametrize("key", ["", "x" * 501, "nul\0"])
def test_a_key_that_cannot_be_stored_is_refused_at_the_call(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key"):
        with_key(key)


def test_many_at_once_take_no_key() -> None:
    with pytest.raises(ValueError, match="queue each with a key of its own"):
        with_key("k").queue_many([("a",), ("b",)])


async def test_a_key_is_there_for_a_workflow_that_waits_too(db: Db) -> None:
    keyed: Callable[..., Any] = letters.correspond.options(idempotency_key="k").queue
    async with Worker(queues=["letters"]):
        first = await keyed("dear")
        await eventually_async(lambda: db.execute("select 1 from currant.steps where kind = 'signal'").fetchone())
        assert await keyed("other") == first
