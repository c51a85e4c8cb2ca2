"""Enqueue in the caller's own transaction, on an asyncpg, psycopg or SQLAlchemy connection."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from inspect import isawaitable, iscoroutine
from typing import Any

from currant.rust_bridge import NewExecution

# The one statement, in each driver's way of writing parameters. Options go as text: a program may have given its
# connection a jsonb codec of its own.
_STATEMENT = "select currant.enqueue_bytes(cast({} as text), cast({} as bytea), cast(cast({} as text) as jsonb))"
_NUMBERED = _STATEMENT.format("$1", "$2", "$3")
_PERCENT = _STATEMENT.format("%s", "%s", "%s")
_NAMED = _STATEMENT.format(":function", ":args", ":options")


def enqueue(connection: Any, new: list[NewExecution]) -> Coroutine[Any, Any, list[str]]:
    """Enqueue on an open connection; awaiting gives the effective ids. What the driver raises passes as it is.

    Raises `TypeError`, at the call, for anything that is not a connection.
    """
    return _enqueue(driver_of(connection), connection, new)


async def _enqueue(driver: str, connection: Any, new: list[NewExecution]) -> list[str]:
    ids = []
    for item in new:
        if driver == "psycopg" and isinstance(connection, sys.modules["psycopg"].AsyncConnection):
            found = await _by_async_psycopg(connection, item)
        else:
            found = _BY_DRIVER[driver](connection, item)
            if isawaitable(found):
                found = await found
        ids.append(_id(found))
    return ids


def enqueue_sync(connection: Any, new: list[NewExecution]) -> list[str]:
    """Enqueue on an open connection that is not asynchronous; gives the effective ids."""
    driver = driver_of(connection)
    if driver == "psycopg" and isinstance(connection, sys.modules["psycopg"].AsyncConnection):
        raise _asynchronous(connection)
    ids = []
    for item in new:
        found = _BY_DRIVER[driver](connection, item)
        if isawaitable(found):
            if iscoroutine(found):
                found.close()
            raise _asynchronous(connection)
        ids.append(_id(found))
    return ids


def driver_of(connection: Any) -> str:
    """`asyncpg`, `psycopg`, `psycopg2` or `sqlalchemy`. Raises `TypeError` for anything that is not a connection."""
    for kind in type(connection).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in _METHOD:
            if hasattr(connection, _METHOD[package]) and not kind.__name__.endswith(("Pool", "Engine")):
                return package
            break
    raise TypeError(
        "connection is an open asyncpg, psycopg or SQLAlchemy connection (or session), "
        f"not {type(connection).__module__}.{type(connection).__qualname__}"
    )


def _by_asyncpg(connection: Any, item: NewExecution) -> Any:
    return connection.fetchval(_NUMBERED, *_parameters(item))


def _by_psycopg(connection: Any, item: NewExecution) -> Any:
    with connection.cursor(row_factory=sys.modules["psycopg"].rows.tuple_row) as cursor:
        return cursor.execute(_PERCENT, _parameters(item)).fetchone()


async def _by_async_psycopg(connection: Any, item: NewExecution) -> Any:
    async with connection.cursor(row_factory=sys.modules["psycopg"].rows.tuple_row) as cursor:
        await cursor.execute(_PERCENT, _parameters(item))
        return await cursor.fetchone()


def _by_psycopg2(connection: Any, item: NewExecution) -> Any:
    with connection.cursor(cursor_factory=sys.modules["psycopg2"].extensions.cursor) as cursor:
        cursor.execute(_PERCENT, _parameters(item))
        return cursor.fetchone()


def _by_sqlalchemy(connection: Any, item: NewExecution) -> Any:
    function, args, options = _parameters(item)
    statement = sys.modules["sqlalchemy"].text(_NAMED)
    return connection.execute(statement, {"function": function, "args": args, "options": options})


_BY_DRIVER = {
    "asyncpg": _by_asyncpg,
    "psycopg": _by_psycopg,
    "psycopg2": _by_psycopg2,
    "sqlalchemy": _by_sqlalchemy,
}
_METHOD = {"asyncpg": "fetchval", "psycopg": "cursor", "psycopg2": "cursor", "sqlalchemy": "execute"}


def _parameters(item: NewExecution) -> tuple[str, bytes, str]:
    call = item.call
    options: dict[str, Any] = {
        "id": item.id,
        "kind": call.kind,
        "queue": call.queue,
        "priority": call.priority,
        "timeout": call.timeout,
        "retry": call.policy._asdict(),
    }
    given = {"delay": call.delay, "run_at": call.run_at, "idempotency_key": item.idempotency_key}
    options.update({name: value for name, value in given.items() if value is not None})
    return call.function, call.args, json.dumps(options)


def _id(found: Any) -> str:
    """The id in what a driver gave: the value, a row, or SQLAlchemy's result."""
    if hasattr(found, "scalar_one"):
        found = found.scalar_one()
    return str(found[0] if isinstance(found, tuple) else found)


def _asynchronous(connection: Any) -> TypeError:
    return TypeError(
        f"{type(connection).__qualname__} is asynchronous: use `await fn.options(connection=...).queue(...)`"
    )
