"""Definitions in Postgres: what they say is obeyed by every enqueue and every claim, at once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest

import currant
from apps import defined
from apps.board import SLUGGISH, Board, Connection, SetEnvironment, asleep, count, row, steps_of
from currant import InvalidInput, NotFound, Worker
from currant.rust_bridge import RustBridge
from support import WorkerProcess, eventually, eventually_async

Apply = Callable[..., None]
Start = Callable[..., WorkerProcess]
NAME = "apps.defined."


@pytest.fixture
def define(bridge: RustBridge) -> Apply:
    """Apply a definition: `define("plain", queue="q")`."""

    def apply(function: str, **item: Any) -> None:
        [answer] = bridge.apply_definitions([{"function": NAME + function, "owner": f"ns/{function}", **item}])
        assert answer["status"] in ("applied", "unchanged"), answer

    return apply


def peak(notes: list[str]) -> int:
    """How many had begun and not ended at once, at most."""
    most = now = 0
    for line in notes:
        now += 1 if line.startswith("+") else -1
        most = max(most, now)
    return most


def blocked(bridge: RustBridge, queue: str = "default") -> int:
    """The executions that await a permit there."""
    return sum(found["blocked"] for found in bridge.queues() if found["queue"] == queue)


async def enqueue_many(function: currant.Function[..., Any], board: Board, number: int) -> list[currant.Handle[Any]]:
    return await function.queue_many([(board.path, place) for place in range(number)])


# Concurrency limits


@pytest.mark.parametrize("name", ["limited", "limited_run"])
async def test_two_workers_never_run_more_at_once_than_the_limit(
    name: str, define: Apply, worker_process: Start, board: Board, bridge: RustBridge
) -> None:
    define(name, concurrency_limit=3)
    handles = await enqueue_many(getattr(defined, name), board, 200)
    for _ in range(2):
        worker_process("default", "apps.defined", ready=False)
    for handle in handles:
        await handle.result(timeout=90)
    assert len(board.notes) == 400
    assert peak(board.notes) <= 3
    assert bridge.definition_stats([NAME + name])[NAME + name]["completed"] == 200


async def test_a_limit_holds_when_a_worker_is_killed_and_its_runs_are_taken_over(
    define: Apply, worker_process: Start, board: Board, db: Connection
) -> None:
    define("held", concurrency_limit=3)
    handles = [await defined.held.queue(board.path, f"g{number}") for number in range(12)]
    first, second = (worker_process("default", "apps.defined", options=("--concurrency", "2")) for _ in range(2))
    eventually(lambda: len(board.notes) == 3)
    first.kill()
    assert count(db, "state = 'running'") == 3
    limit = time.monotonic() + 60
    for number in range(12):
        board.open(f"g{number}")
        assert count(db, "has_permit and finished_at is null") <= 3
    while count(db, "state = 'completed'") < 12:
        assert count(db, "has_permit and finished_at is null") <= 3
        assert count(db, "state = 'running'") <= 3
        assert time.monotonic() < limit
    assert second.running
    assert [await handle.result() for handle in handles] == [f"g{number}" for number in range(12)]


async def test_a_run_that_waits_for_a_signal_has_its_permit_and_a_forced_cancel_gives_it_to_the_next_at_once(
    define: Apply, set_environment: SetEnvironment, board: Board, db: Connection, bridge: RustBridge
) -> None:
    define("waiting", concurrency_limit=1)
    set_environment(SLUGGISH)
    async with Worker(["default"], functions=[defined.waiting, defined.touch]):
        first, second = [await defined.waiting.queue(board.path, name) for name in ("first", "second")]
        await eventually_async(lambda: board.notes == ["waits first"] and asleep(db))
        assert blocked(bridge) == 1
        assert await second.status() == "pending"
        await first.cancel(force=True)
        await eventually_async(lambda: board.notes == ["waits first", "waits second"])
        await currant.send_signal(second, "go", "gone")
        assert await second.result(timeout=20) == "gone"


# Suspended


async def test_what_is_suspended_does_not_start_and_starts_at_once_when_it_no_longer_is(
    define: Apply, set_environment: SetEnvironment, board: Board, db: Connection, bridge: RustBridge
) -> None:
    set_environment(SLUGGISH)
    async with Worker(["default"], functions=[defined.waiting, defined.touch, defined.plain]):
        running = await defined.waiting.queue(board.path, "before")
        await eventually_async(lambda: board.notes == ["waits before"])
        define("waiting", suspended=True)
        handles = await defined.waiting.queue_many([(board.path, "after")] * 3)
        assert await (await defined.plain.queue(1)).result(timeout=20) == 1
        await currant.send_signal(running, "go", "on")
        assert await running.result(timeout=20) == "on"
        await eventually_async(lambda: asleep(db))
        assert board.notes == ["waits before"]
        assert blocked(bridge) == 3
        define("waiting", suspended=False)
        await eventually_async(lambda: board.notes == ["waits before", *["waits after"] * 3])
        for handle in handles:
            await currant.send_signal(handle, "go", "x")
            assert await handle.result(timeout=20) == "x"


async def test_a_deleted_definition_sets_what_waits_free_and_touches_no_run(
    define: Apply, set_environment: SetEnvironment, bridge: RustBridge, db: Connection
) -> None:
    define("plain", suspended=True)
    set_environment(SLUGGISH)
    async with Worker(["default"], functions=[defined.plain]):
        handles = await defined.plain.queue_many([(number,) for number in range(5)])
        await eventually_async(lambda: asleep(db))
        assert bridge.delete_definitions(["ns/plain"]) == 1
        assert [await handle.result(timeout=20) for handle in handles] == list(range(5))


# Precedence: the call, the definition, the decorator, the settings


def stored(db: Connection, id: object) -> tuple[Any, ...]:
    """What an execution was stored with."""
    found = row(db, id)
    options = {"timeout": 300, **(found["options"] or {})}
    retry = {"max_attempts": 4, "initial": 1, **options.get("retry", {})}
    return found["queue"], found["priority"], options["timeout"], retry["max_attempts"], retry["initial"]


CODED = ("coded", 3, 33.0, 3, 3.0)


@pytest.mark.parametrize(
    ("item", "options", "expected"),
    [
        ({}, {}, CODED),
        ({"queue": "defined", "priority": 8}, {}, ("defined", 8, 33.0, 3, 3.0)),
        ({"timeout": 60, "retry": {"max_attempts": 9}}, {}, ("coded", 3, 60.0, 9, 3.0)),
        ({"queue": "defined"}, {"queue": "given"}, ("given", 3, 33.0, 3, 3.0)),
        ({"queue": "defined"}, {"queue": None}, ("defined", 3, 33.0, 3, 3.0)),
        ({"priority": 8}, {"priority": 5}, ("coded", 5, 33.0, 3, 3.0)),
        ({"timeout": 60}, {"timeout": None}, ("coded", 3, None, 3, 3.0)),
        ({"retry": {"max_attempts": 9, "initial": 9}}, {"retries": 1}, ("coded", 3, 33.0, 2, 1.0)),
    ],
)
async def test_the_call_outranks_the_definition_which_outranks_the_decorator(
    item: dict[str, Any],
    options: dict[str, Any],
    expected: tuple[Any, ...],
    define: Apply,
    db: Connection,
    database: str,
) -> None:
    define("described", **item)
    function = defined.described.options(**options)
    ids: list[object] = [await function.queue(1), function.queue_sync(1), *await function.queue_many([(1,)])]
    ids.append(await function.options(idempotency_key="k").queue(1))
    with psycopg.connect(database) as connection:
        ids.append(function.options(connection=connection).queue_sync(1))
    transaction = await asyncpg.connect(database)
    ids.append(await function.options(connection=transaction).queue(1))
    await transaction.close()
    assert [stored(db, id) for id in ids] == [expected] * len(ids)


async def test_without_anything_said_the_settings_decide_and_sql_obeys_the_definition_too(
    define: Apply, db: Connection
) -> None:
    assert stored(db, await defined.plain.queue(1)) == ("default", 5, 300.0, 4, 1.0)
    define("plain", priority=7, retry={"max_attempts": 2})
    assert stored(db, await defined.plain.queue(1)) == ("default", 7, 300.0, 2, 1.0)
    query = "select currant.enqueue(%s, '{\"args\": [1]}', %s::jsonb) as id"
    for options, expected in [
        ("{}", ("default", 7, 300.0, 2, 1.0)),
        ('{"priority": 1}', ("default", 1, 300.0, 2, 1.0)),
    ]:
        found = db.execute(query, [NAME + "plain", options]).fetchone()
        assert found is not None
        assert stored(db, found["id"]) == expected


async def test_sql_without_options_has_what_the_decorator_says_once_a_worker_has_registered_it(
    define: Apply, db: Connection
) -> None:
    query = "select currant.enqueue(%s, '{\"args\": [1]}') as id"

    def by_sql() -> tuple[Any, ...]:
        found = db.execute(query, [NAME + "described"]).fetchone()
        assert found is not None
        return stored(db, found["id"])

    assert by_sql() == ("default", 5, 300.0, 4, 1.0)
    async with Worker(["nothing"], functions=[defined.described]):
        said = "select 1 from currant.functions where function = %s"  # a moment after the worker is there
        await eventually_async(lambda: db.execute(said, [NAME + "described"]).fetchone())
        assert by_sql() == CODED
    assert by_sql() == CODED, "also when nobody serves it any more"
    define("described", queue="defined", retry={"max_attempts": 9})
    assert by_sql() == ("defined", 3, 33.0, 9, 3.0)


async def test_steps_and_detached_starts_obey_and_are_found_in_the_queue_that_they_went_to(
    define: Apply, set_environment: SetEnvironment, db: Connection
) -> None:
    define("described", queue="defined")
    define("plain", queue="elsewhere", concurrency_limit=1)
    set_environment(SLUGGISH)
    functions = [defined.caller, defined.described, defined.plain]
    async with (
        Worker(["runs", "given"], functions=functions),
        Worker(["defined", "elsewhere"], functions=functions),
    ):
        handle = await defined.caller.queue()
        await handle.result(timeout=30)
    steps = db.execute(
        "select function, queue, priority from currant.executions where root_id = %s and parent_id is not null order by step_key",
        [str(handle)],
    ).fetchall()
    assert [tuple(step.values()) for step in steps] == [
        (NAME + "described", "given", 9),
        (NAME + "plain", "elsewhere", 5),
        (NAME + "described", "defined", 3),
    ]
    assert count(db, "queue = 'defined' and parent_id is null and function = %s", NAME + "described") == 1


# Input schema

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "minimum": 1}, "currency": {"enum": ["EUR", "USD"]}},
    "required": ["amount"],
    "additionalProperties": False,
}


async def test_arguments_that_do_not_fit_the_input_schema_are_refused_before_anything_is_stored(
    define: Apply, db: Connection, database: str
) -> None:
    await defined.described.queue(-1)  # this process has enqueued before there was a schema
    define("described", input_schema=SCHEMA)
    function = defined.described
    with pytest.raises(InvalidInput, match=r"apps\.defined\.described do not fit .*: amount: -1 is less than"):
        await function.queue(-1)
    with pytest.raises(ValueError, match="currency: 'DM' is not one of"):
        function.queue_sync(1, currency="DM")
    with pytest.raises(InvalidInput, match=r"currency.*amount|amount.*currency"):
        await function.queue(0, "DM")
    with pytest.raises(InvalidInput, match="'colour'"):
        await function.options(idempotency_key="k").queue(1, colour="red")
    with pytest.raises(InvalidInput):
        await function.queue_many([(number,) for number in range(20, -1, -1)])
    with psycopg.connect(database) as connection:
        with pytest.raises(InvalidInput):
            function.options(connection=connection).queue_sync(0)
        with pytest.raises(InvalidInput):
            function.options(connection=connection).queue_many_sync([(2,), (1,), (0,)])
    assert count(db, "true") == 1
    assert stored(db, await function.queue(1, "USD"))[0] == "coded"
    assert count(db, "true") == 2


async def test_in_a_callers_transaction_a_refusal_leaves_the_transaction_as_it_was(
    define: Apply, db: Connection, database: str
) -> None:
    define("plain", input_schema={"properties": {"amount": {"maximum": 10}}})
    with psycopg.connect(database) as connection:
        connection.execute("create table mine (x int)")
        with pytest.raises(InvalidInput):
            defined.plain.options(connection=connection).queue_sync(11)
        defined.plain.options(connection=connection).queue_sync(10)
    assert count(db, "true") == 1
    assert db.execute("select to_regclass('mine') as there").fetchone() == {"there": "mine"}


async def test_another_schema_is_obeyed_at_once_and_one_that_went_is_forgotten(
    define: Apply, bridge: RustBridge, db: Connection
) -> None:
    define("plain", input_schema={"properties": {"amount": {"maximum": 10}}})
    with pytest.raises(InvalidInput):
        await defined.plain.queue(11)
    define("plain", input_schema={"properties": {"amount": {"minimum": 11}}})
    with pytest.raises(InvalidInput):
        await defined.plain.queue(10)
    await defined.plain.queue(11)
    bridge.delete_definitions(["ns/plain"])
    currant.configure(database_url=bridge.core.url)
    await defined.plain.queue(10)
    assert count(db, "true") == 2


async def test_a_schema_that_is_none_is_refused_when_it_is_applied(bridge: RustBridge) -> None:
    [wrong, fine] = bridge.apply_definitions(
        [
            {"function": "f", "owner": "o", "input_schema": {"type": "objekt"}},
            {"function": "g", "owner": "o", "input_schema": {"type": "object"}},
        ]
    )
    assert wrong["status"] == "invalid"
    assert "input_schema is not a JSON Schema" in wrong["message"]
    assert fine["status"] == "applied"


def test_the_command_line_refuses_what_does_not_fit(
    define: Apply, run_currant: Callable[..., subprocess.CompletedProcess[str]], db: Connection
) -> None:
    define("plain", input_schema={"properties": {"amount": {"maximum": 10}}})
    refused = run_currant("queue", NAME + "plain", "[11]")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: the arguments of {NAME}plain do not fit its input schema: amount: 11 is greater than the maximum of 10\n"
    )
    assert run_currant("queue", NAME + "plain", "[10]").returncode == 0
    assert count(db, "true") == 1


# Retention


async def test_a_worker_deletes_runs_past_their_retention(
    define: Apply, local_worker: Callable[..., Worker], db: Connection
) -> None:
    define("caller", retention=0.01)
    async with local_worker(["runs", "coded", "given"], defined.caller, defined.described, defined.plain):
        handle = await defined.caller.queue()
        await handle.result(timeout=20)
        assert len(steps_of(db, handle)) == 2
        db.execute("update currant.upkeep set swept_at = '-infinity'")
        await eventually_async(lambda: count(db, "root_id = %s", str(handle)) == 0)
        with pytest.raises(NotFound):
            await handle.status()
        await eventually_async(lambda: count(db, "true") == 1)  # detached from it, and without a retention
