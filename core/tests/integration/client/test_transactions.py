"""`connection=` and the SQL functions: an enqueue commits or rolls back with its caller (guarantee 1)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from apps import letters
from currant import Worker
from support import eventually_async

Db = psycopg.Connection[dict[str, Any]]


def to_driver(url: str, driver: str) -> str:
    """The URL in SQLAlchemy's spelling."""
    return url.replace("postgresql://", f"postgresql+{driver}://", 1)


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[tuple[Any, Callable[[bool], Any]]]:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection, lambda commit: transaction.commit() if commit else transaction.rollback()
    await connection.close()


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[tuple[Any, Callable[[bool], Any]]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection, lambda commit: connection.commit() if commit else connection.rollback()


@asynccontextmanager
async def by_sqlalchemy(
    url: str, driver: str, session: bool = False
) -> AsyncIterator[tuple[Any, Callable[[bool], Any]]]:
    engine = create_async_engine(to_driver(url, driver))
    async with AsyncSession(engine) if session else engine.connect() as connection:
        yield connection, lambda commit: connection.commit() if commit else connection.rollback()
    await engine.dispose()


ASYNC = {
    "asyncpg": by_asyncpg,
    "psycopg": by_psycopg,
    "sqlalchemy-asyncpg": lambda url: by_sqlalchemy(url, "asyncpg"),
    "sqlalchemy-psycopg": lambda url: by_sqlalchemy(url, "psycopg"),
    "sqlalchemy-session": lambda url: by_sqlalchemy(url, "psycopg", session=True),
}


@contextmanager
def sync_psycopg(url: str) -> Iterator[Any]:
    with psycopg.connect(url) as connection:
        yield connection


@contextmanager
def sync_sqlalchemy(url: str, session: bool = False) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(to_driver(url, "psycopg"))
    with Session(engine) if session else engine.connect() as connection:
        yield connection
    engine.dispose()


SYNC = {
    "psycopg": sync_psycopg,
    "sqlalchemy": sync_sqlalchemy,
    "sqlalchemy-session": lambda url: sync_sqlalchemy(url, session=True),
}


def stored(db: Db) -> list[str]:
    """The ids of all executions, as others see them."""
    return [str(row["id"]) for row in db.execute("select id from currant.executions order by id").fetchall()]


@pytest.mark.parametrize("driver", ASYNC)
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "rollback"])
async def test_an_enqueue_ends_with_the_transaction_of_its_connection(
    driver: str, commit: bool, database: str, db: Db
) -> None:
    async with ASYNC[driver](database) as (connection, end):
        handle = await letters.write.options(connection=connection).queue("dear", copies=2)
        more = await letters.write.options(connection=connection).queue_many([("a",), {"text": "b"}])
        assert stored(db) == []
        await end(commit)
    assert sorted(stored(db)) == (sorted(map(str, [handle, *more])) if commit else [])
    if commit:
        async with Worker(queues=["letters"]):
            assert await handle.result(timeout=30) == "deardear"
            assert [await each.result(timeout=30) for each in more] == ["a", "b"]


@pytest.mark.parametrize("driver", SYNC)
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "rollback"])
def test_a_sync_enqueue_ends_with_the_transaction_of_its_connection(
    driver: str, commit: bool, database: str, db: Db
) -> None:
    with SYNC[driver](database) as connection:
        handle = letters.write.options(connection=connection).queue_sync("dear")
        assert stored(db) == []
        if commit:
            connection.commit()
        else:
            connection.rollback()
    assert stored(db) == ([str(handle)] if commit else [])


async def test_every_option_goes_along_with_a_connection(database: str, db: Db) -> None:
    bound = letters.write.options(queue="express", priority=9, retries=7, timeout=12.5, delay=3600, idempotency_key="k")
    async with await psycopg.AsyncConnection.connect(database) as connection:
        first = await bound.options(connection=connection).queue("ä \0 \U0001f600")
        second = await bound.options(connection=connection).queue("other")
    assert first == second
    row = db.execute("select * from currant.executions").fetchone()
    assert row is not None
    assert (row["queue"], row["priority"]) == ("express", 9)
    assert row["options"] == {"timeout": 12.5, "retry": {"max_attempts": 8}}
    assert row["run_at"] > datetime.now(UTC) + timedelta(minutes=50)
    assert json.loads(row["args"])["args"] == ["ä \0 \U0001f600"]


async def test_the_same_is_stored_with_and_without_a_connection(database: str, db: Db) -> None:
    await letters.write.queue("dear", copies=3)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await letters.write.options(connection=connection).queue("dear", copies=3)
    rows = db.execute("select * from currant.executions").fetchall()
    own = {"id", "root_id", "created_at", "ready_at", "ready_xid"}
    one, other = ({name: value for name, value in row.items() if name not in own} for row in rows)
    assert one == other


async def test_a_worker_is_woken_by_a_commit_of_somebody_else(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule e: in a caller's transaction the notification goes out with its commit."""
    monkeypatch.setenv("WORKFLOWS_WORKER_POLL_INTERVAL", "100")
    monkeypatch.setenv("WORKFLOWS_WORKER_HEARTBEAT_INTERVAL", "100")
    monkeypatch.setenv("WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT", "200")
    async with Worker(queues=["letters"]), await psycopg.AsyncConnection.connect(database) as connection:
        for text in ("a", "b"):
            handle = await letters.write.options(connection=connection).queue(text)
            await connection.commit()
            assert await handle.result(timeout=30) == text


def test_notifications_can_be_turned_off_for_a_transaction(database: str, db: Db) -> None:
    for queue in ("quiet", "loud"):
        db.execute(f"listen currant_q_{md5(queue.encode()).hexdigest()}")
    with psycopg.connect(database) as connection:
        connection.execute("set local currant.notify = off")
        letters.write.options(queue="quiet", connection=connection).queue_sync("x")
        connection.commit()
        letters.write.options(queue="loud", connection=connection).queue_sync("x")
    first = next(db.notifies(timeout=30))
    assert first.channel == f"currant_q_{md5(b'loud').hexdigest()}"


@pytest.mark.parametrize("given", ["not a connection", 5, object()])
async def test_what_is_not_a_connection_is_refused(given: object) -> None:
    with pytest.raises(TypeError, match="asyncpg, psycopg or SQLAlchemy"):
        await letters.write.options(connection=given).queue("x")


async def test_a_sync_enqueue_on_an_asynchronous_connection_says_what_to_write(database: str, db: Db) -> None:
    for by in (by_asyncpg, by_psycopg, ASYNC["sqlalchemy-asyncpg"]):
        async with by(database) as (connection, end):
            with pytest.raises(TypeError, match="await fn.options"):
                letters.write.options(connection=connection).queue_sync("x")
            await end(True)
    assert stored(db) == []


async def test_a_pool_is_not_a_connection(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=0) as pool:
        with pytest.raises(TypeError, match="open asyncpg"):
            await letters.write.options(connection=pool).queue("x")
    engine = sqlalchemy.create_engine(to_driver(database, "psycopg"))
    with pytest.raises(TypeError, match="SQLAlchemy"):
        letters.write.options(connection=engine).queue_sync("x")


# Plain SQL


def enqueue(db: Db, args: Any = None, options: Any = None, function: str = "apps.letters.write") -> str:
    """`select currant.enqueue(...)`; gives the id."""
    row = db.execute(
        "select currant.enqueue(%s, %s, %s) as id",
        [function, Jsonb({"args": ["dear"]} if args is None else args), Jsonb({} if options is None else options)],
    ).fetchone()
    assert row is not None
    return str(row["id"])


async def test_what_plain_sql_enqueues_is_run(db: Db) -> None:
    async with Worker(queues=["letters"]):
        id = enqueue(db, {"args": ["dear"], "kwargs": {"copies": 2}}, {"queue": "letters"})
        waiting = enqueue(db, {"args": ["you"]}, {"queue": "letters"}, "apps.letters.correspond")
        assert await currant_result(id) == "deardear"
        db.execute("select currant.signal(%s, 'answer', '\"yes\"')", [waiting])
        assert await currant_result(waiting) == "you: yes"


async def currant_result(id: str) -> Any:
    """The result of an execution by its id alone."""
    import currant

    return await currant.get_handle(id).result(timeout=30)


def test_sql_options_are_those_of_python(db: Db) -> None:
    at = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    retry = {
        "max_attempts": 3,
        "initial": 0.5,
        "multiplier": 3,
        "max_delay": 9,
        "jitter": 0,
        "non_retryable": ["KeyError"],
    }
    options = {
        "queue": "q",
        "priority": 7,
        "timeout": 2.5,
        "run_at": at.isoformat(),
        "retry": retry,
        "kind": "workflow",
    }
    enqueue(db, options=options)
    row = db.execute("select * from currant.executions").fetchone()
    assert row is not None
    assert (row["queue"], row["priority"], row["run_at"], row["kind"]) == ("q", 7, at, "workflow")
    assert row["options"] == {"timeout": 2.5, "retry": retry}


def test_sql_defaults_are_those_of_python(db: Db) -> None:
    db.execute("select currant.enqueue('f')")
    row = db.execute("select * from currant.executions").fetchone()
    assert row is not None
    assert (row["queue"], row["priority"], row["options"]) == ("default", 5, None)
    assert (row["state"], json.loads(row["args"])) == ("pending", {"args": [], "kwargs": {}})


BAD_SQL_OPTIONS: list[tuple[Any, str]] = [
    ({"colour": "red"}, 'unknown key "colour"'),
    ({"priority": 11}, "priority must be a number from 0 to 10"),
    ({"priority": "high"}, "priority must be a number"),
    ({"priority": 1.5}, "priority must be a whole number"),
    ({"timeout": 0}, "timeout must be more than 0"),
    ({"timeout": -1}, "timeout must be a number of at least 0"),
    ({"delay": 1, "run_at": "2040-01-01T00:00:00Z"}, "delay or run_at"),
    ({"retries": 1, "retry": {"max_attempts": 2}}, "retries or retry"),
    ({"retry": {"tries": 2}}, 'unknown key "tries"'),
    ({"queue": ""}, "queue must be a text"),
    ({"queue": "q" * 201}, "queue must have at most 200"),
    ({"kind": "saga"}, "kind must be task or workflow"),
    ({"idempotency_key": 5}, "idempotency_key must be a text"),
    ([], "must be a JSON object"),
]


def test_a_bad_sql_option_is_refused_and_nothing_is_stored(db: Db) -> None:
    for options, said in BAD_SQL_OPTIONS:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=said):
            enqueue(db, options=options)
    assert stored(db) == []


def test_bad_sql_arguments_are_refused(db: Db) -> None:
    for args in ([], "x", {"args": {}}, {"kwargs": []}, {"arguments": []}):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="args"):
            enqueue(db, args=args)
    assert stored(db) == []


def test_a_function_must_be_named(db: Db) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="function name"):
        enqueue(db, function="")


def test_sql_takes_idempotency_keys_too(db: Db) -> None:
    first = enqueue(db, options={"idempotency_key": "k"})
    assert enqueue(db, options={"idempotency_key": "k"}) == first
    assert str(letters.write.options(idempotency_key="k").queue_sync("x")) == first


def test_sql_cancels_and_refuses_what_is_not_there_or_has_ended(db: Db) -> None:
    id = enqueue(db)
    db.execute("select currant.cancel(%s)", [id])
    assert db.execute("select state from currant.runs").fetchone() == {"state": "cancelled"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="already finished"):
        db.execute("select currant.cancel(%s)", [id])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no signals"):
        db.execute("select currant.signal(%s, 'x', '1')", [id])
    for call in ("currant.cancel", "currant.signal"):
        rest = ", 'x', '1'" if call == "currant.signal" else ""
        with pytest.raises(psycopg.errors.NoDataFound, match="there is no execution"):
            db.execute(f"select {call}(gen_random_uuid(){rest})")


@pytest.mark.parametrize("name", [None, "", "x" * 201])
def test_sql_refuses_a_signal_whose_name_no_workflow_can_wait_for(db: Db, name: str | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"1 to 200 characters, not {len(name or '')}"):
        db.execute("select currant.signal(%s, %s)", [enqueue(db), name])


async def test_the_view_runs_shows_roots_with_their_payloads_as_text(db: Db) -> None:
    async with Worker(queues=["letters"]):
        waiting = await letters.correspond.queue("dear")
        failed = await letters.tear.queue("bad paper")
        with pytest.raises(Exception, match="bad paper"):
            await failed.result(timeout=30)
        db.execute("select currant.signal(%s, 'answer', '\"ü\"')", [str(waiting)])
        assert await waiting.result(timeout=30) == "dear: ü"
    rows = {str(row["id"]): row for row in db.execute("select * from currant.runs").fetchall()}
    assert rows.keys() == {str(waiting), str(failed)}
    assert json.loads(rows[str(waiting)]["args"]) == {"args": ["dear"], "kwargs": {}}
    assert rows[str(waiting)]["result"] == '"dear: ü"'
    assert rows[str(failed)]["state"] == "failed"
    assert json.loads(rows[str(failed)]["error"])["message"] == "bad paper"


async def test_the_view_queue_stats_counts_what_is_ready_delayed_running_and_suspended(db: Db) -> None:
    for _ in range(3):
        enqueue(db, options={"queue": "a"})
    enqueue(db, options={"queue": "a", "delay": 100})
    db.execute("update currant.executions set ready_at = ready_at - interval '1 minute' where queue = 'a'")
    enqueue(db, options={"queue": "b"})
    rows = {row["queue"]: row for row in db.execute("select * from currant.queue_stats").fetchall()}
    assert {name: rows["a"][name] for name in ("ready", "delayed", "running", "suspended", "held", "workers")} == {
        "ready": 3, "delayed": 1, "running": 0, "suspended": 0, "held": 0, "workers": 0,
    }  # fmt: skip
    assert 59 < rows["a"]["oldest_ready_seconds"] < 600
    assert rows["b"]["ready"] == 1
    async with Worker(queues=["served"]):
        served = "select ready, workers from currant.queue_stats where queue = 'served'"
        assert await eventually_async(lambda: db.execute(served).fetchall()) == [{"ready": 0, "workers": 1}]
