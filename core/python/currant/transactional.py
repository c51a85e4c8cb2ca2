"""Enqueue in the caller's own transaction, on an asyncpg, psycopg or SQLAlchemy connection."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from inspect import isawaitable, iscoroutine
from typing import Any

from currant._calls.options import NewExecution, sql_options
from currant._payloads.input_schemas import InputSchemas, Named, keyword_arguments

# The one statement, in each driver's way of writing parameters. Options go as text: a program may have given its
# connection a jsonb codec of its own. It returns the id, or the input schema to check first, as JSON.
_STATEMENT = (
    "select coalesce(cast(c.id as text),"
    " cast(json_build_object('hash', c.input_hash, 'schema', cast(c.input_schema as json)) as text))"
    " from currant.enqueue_checked("
    "cast({} as text), cast({} as bytea), cast(cast({} as text) as jsonb), cast({} as text)) c"
)
_NUMBERED = _STATEMENT.format("$1", "$2", "$3", "$4")
_PERCENT = _STATEMENT.format("%s", "%s", "%s", "%s")
_NAMED = _STATEMENT.format(":function", ":args", ":options", ":checked")

_input_schemas = InputSchemas()


def enqueue(
    connection: Any, new: list[NewExecution], named: Named = keyword_arguments
) -> Coroutine[Any, Any, list[str]]:
    """Enqueue on an open connection; awaiting returns the effective ids. Errors of the driver pass unchanged.

    Raises `TypeError`, at the call, for anything that is not a connection; when awaited `InvalidInput`, before anything
    is stored.
    """
    return _enqueue(driver_of(connection), connection, new, named)


async def _enqueue(driver: str, connection: Any, new: list[NewExecution], named: Named) -> list[str]:
    batch = _Batch(new, named)
    while batch.next is not None:
        if driver == "psycopg" and isinstance(connection, sys.modules["psycopg"].AsyncConnection):
            found = await _by_async_psycopg(connection, batch.next)
        else:
            found = _BY_DRIVER[driver](connection, batch.next)
            if isawaitable(found):
                found = await found
        batch.take(_text(found))
    return batch.ids


def enqueue_sync(connection: Any, new: list[NewExecution], named: Named = keyword_arguments) -> list[str]:
    """Enqueue on an open connection that is not asynchronous; returns the effective ids. Raises as `enqueue` does."""
    driver = driver_of(connection)
    if driver == "psycopg" and isinstance(connection, sys.modules["psycopg"].AsyncConnection):
        raise _asynchronous(connection)
    batch = _Batch(new, named)
    while batch.next is not None:
        found = _BY_DRIVER[driver](connection, batch.next)
        if isawaitable(found):
            if iscoroutine(found):
                found.close()
            raise _asynchronous(connection)
        batch.take(_text(found))
    return batch.ids


class _Batch:
    """Enqueues of one function, one after the other. The first shows whether all are to be checked against a schema."""

    def __init__(self, new: list[NewExecution], named: Named) -> None:
        self._new = _input_schemas.checked(new, named)
        self._named = named
        self.ids: list[str] = []

    @property
    def next(self) -> NewExecution | None:
        """The executions to enqueue now."""
        return self._new[len(self.ids)] if len(self.ids) < len(self._new) else None

    def take(self, answer: str) -> None:
        """Take the database's answer to the executions of `next`."""
        if answer.startswith("{"):
            _input_schemas.update(f"{{{json.dumps(self._new[len(self.ids)].call.function)}: {answer}}}")
            self._new = _input_schemas.checked(self._new, self._named)
        else:
            self.ids.append(answer)


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
    function, args, options, checked = _parameters(item)
    statement = sys.modules["sqlalchemy"].text(_NAMED)
    values = {"function": function, "args": args, "options": options, "checked": checked}
    return connection.execute(statement, values)


_BY_DRIVER = {
    "asyncpg": _by_asyncpg,
    "psycopg": _by_psycopg,
    "psycopg2": _by_psycopg2,
    "sqlalchemy": _by_sqlalchemy,
}
_METHOD = {"asyncpg": "fetchval", "psycopg": "cursor", "psycopg2": "cursor", "sqlalchemy": "execute"}


def _parameters(item: NewExecution) -> tuple[str, bytes, str, str | None]:
    return item.call.function, item.call.args, json.dumps(sql_options(item)), item.checked


def _text(found: Any) -> str:
    """The text in what a driver returned: the value, a row, or SQLAlchemy's result."""
    if hasattr(found, "scalar_one"):
        found = found.scalar_one()
    return str(found[0] if isinstance(found, tuple) else found)


def _asynchronous(connection: Any) -> TypeError:
    return TypeError(
        f"{type(connection).__qualname__} is asynchronous: use `await fn.options(connection=...).queue(...)`"
    )
