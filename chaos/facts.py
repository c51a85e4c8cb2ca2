"""The state of the tables and the server when all is over, as plain values for the judge."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from chaos.faults import Struck
from chaos.ledger import Attempt, read
from chaos.load import Book
from chaos.postgres import Server

TERMINAL = ("completed", "failed", "cancelled")


@dataclass
class Row:
    """An execution as it is stored."""

    id: str
    tag: str
    function: str
    kind: str
    state: str
    parent: str | None
    attempt: int
    worker_losses: int
    epoch: int
    held: bool
    result: Any
    error: str


@dataclass
class Record:
    """An outcome that was written. `at` is in seconds, by the ledger's clock."""

    id: str
    state: str
    attempt: int
    at: float


@dataclass
class Signal:
    """A signal that is stored; `consumed_by` the key of the wait that took it, with the status of that wait."""

    run: str
    name: str
    payload: Any
    ordinal: int
    consumed_by: str | None
    status: str | None


@dataclass
class Wait:
    """A signal wait that is stored, and how many signals say that it consumed them."""

    run: str
    key: str
    status: str | None
    signals: int


@dataclass
class Facts:
    """All that a verdict is made of."""

    book: Book
    attempts: Sequence[Attempt] = ()
    rows: Sequence[Row] = ()
    records: Sequence[Record] = ()
    signals: Sequence[Signal] = ()
    waits: Sequence[Wait] = ()
    customers: frozenset[str] = frozenset()  # tags that customers' own rows name
    locks: Sequence[str] = ()  # lock waits and open transactions that are left
    deserters: Sequence[str] = ()  # workers that ended by themselves, or not as they should
    struck: Sequence[Struck] = ()
    unfinished: dict[str, int] = field(default_factory=dict)


_ROWS = """
    select id::text, coalesce(convert_from(args, 'UTF8')::json #>> '{args,0}', '') as tag, function, kind, state,
        parent_id::text as parent, attempt, worker_losses, epoch, incompatible as held,
        convert_from(result, 'UTF8') as result, coalesce(convert_from(error, 'UTF8'), '') as error
    from currant.executions
"""
_SIGNALS = """
    select g.execution_id::text as run, g.name, convert_from(g.payload, 'UTF8') as payload, g.ordinal, g.consumed_by,
        s.status
    from currant.signals g
    left join currant.steps s on s.execution_id = g.execution_id and s.epoch = g.consumed_epoch
        and s.key = g.consumed_by
"""
_WAITS = """
    select s.execution_id::text as run, s.key, s.status, (select count(*) from currant.signals g
        where g.execution_id = s.execution_id and g.consumed_epoch = s.epoch and g.consumed_by = s.key) as signals
    from currant.steps s where s.kind = 'signal'
"""
_RECORDS = "select id::text, state, attempt, extract(epoch from at)::float8 as at from chaos.recorded order by at"
_LOCKS = """
    select format('session %s of %s waits for a lock: %s', a.pid, a.application_name, left(a.query, 80))
    from pg_stat_activity a
    where a.wait_event_type = 'Lock' and a.datname = current_database()
    union all
    select format('session %s of %s has left a transaction open: %s', a.pid, a.application_name, left(a.query, 80))
    from pg_stat_activity a where a.state like 'idle in transaction%' and a.datname = current_database()
        and a.state_change < clock_timestamp() - interval '5 seconds'
"""


def unfinished(server: Server) -> dict[str, int]:
    """How many executions have not ended, by what they are at."""
    asked = (
        "select function || ' is ' || state || case when incompatible then ', held' else '' end, count(*)"
        " from currant.executions where finished_at is null group by 1"
    )
    return dict(server.execute(asked))


def beating(server: Server) -> set[int]:
    """The process ids of the workers whose heart beats."""
    asked = (
        "select pid from currant.workers where stopped_at is null"
        " and last_heartbeat > clock_timestamp() - interval '1.5 seconds'"
    )
    return {int(pid) for (pid,) in server.execute(asked)}


def locks(server: Server) -> list[str]:
    """Lock waits and transactions that somebody left open."""
    return [text for (text,) in server.execute(_LOCKS)]


def gather(server: Server, ledger: Path, book: Book) -> Facts:
    """Read it all. The server must run; nobody writes any more."""
    with psycopg.connect(server.url, row_factory=dict_row) as connection:
        rows = [Row(**_decoded(row, "result")) for row in connection.execute(_ROWS)]
        signals = [Signal(**_decoded(row, "payload")) for row in connection.execute(_SIGNALS)]
        waits = [Wait(**row) for row in connection.execute(_WAITS)]
        offset = time.monotonic() - time.time()
        records = [Record(**{**row, "at": row["at"] + offset}) for row in connection.execute(_RECORDS)]
        customers = frozenset(row["tag"] for row in connection.execute("select tag from chaos.orders"))
    return Facts(book, read(ledger), rows, records, signals, waits, customers)


def _decoded(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {**row, name: None if row[name] is None else json.loads(row[name])}
