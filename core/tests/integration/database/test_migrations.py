"""Guarantee 16 and rule p: forward only, safe at once, and a client that does not fit is told what to run."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg
import pytest

import currant
from apps import pooled
from currant import SchemaMismatch
from currant.rust_bridge import RustBridge
from support import CHECKOUT

Run = Callable[..., subprocess.CompletedProcess[str]]
VERSIONS = [int(file.name[:4]) for file in sorted((CHECKOUT / "migrations").glob("*.sql"))]
NEWEST = VERSIONS[-1]
RELEASED = Path(__file__).with_name("released_functions.txt")


def migrate(url: str) -> int:
    """Migrate on connections of its own, as one more pod would."""
    with closing(RustBridge(url)) as bridge:
        return bridge.migrate()


@pytest.fixture
def old_schema(database: str, db: psycopg.Connection[dict[str, Any]]) -> str:
    """A database whose newest migration has not been applied, as far as the bookkeeping says."""
    db.execute("delete from currant.migrations where version = %s", [NEWEST])
    return database


@pytest.fixture
def newer_schema(database: str, db: psycopg.Connection[dict[str, Any]]) -> Iterator[Callable[[int], str]]:
    """Make the database one that a later release has migrated; give the oldest client version that it takes."""

    def make(min_client: int) -> str:
        db.execute("insert into currant.migrations values (%s, 'later', 'x')", [NEWEST + 1])
        db.execute("update currant.schema_info set min_client = %s", [min_client])
        return database

    yield make


def test_ten_migrations_at_once_apply_each_migration_once(empty_database: str) -> None:
    together = Barrier(10)

    def one(_: int) -> int:
        with closing(RustBridge(empty_database)) as bridge:
            bridge.schema_version()  # connected
            together.wait()
            return bridge.migrate()

    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(one, range(10))) == [NEWEST] * 10
    with psycopg.connect(empty_database) as connection:
        applied = connection.execute("select version from currant.migrations order by version").fetchall()
    assert [version for (version,) in applied] == VERSIONS


def test_a_migrated_database_is_left_as_it_is(database: str, db: psycopg.Connection[dict[str, Any]]) -> None:
    before = db.execute("select * from currant.migrations order by version").fetchall()
    assert migrate(database) == NEWEST
    assert db.execute("select * from currant.migrations order by version").fetchall() == before


def test_a_migration_waits_for_one_under_way_and_then_has_nothing_to_do(empty_database: str) -> None:
    with psycopg.connect(empty_database) as other, ThreadPoolExecutor(1) as threads:
        other.execute("select pg_advisory_xact_lock(%s)", [0x6375_7272_616E_74])
        waiting = threads.submit(migrate, empty_database)
        with psycopg.connect(empty_database, autocommit=True) as watcher:
            ungranted = "select 1 from pg_locks where locktype = 'advisory' and not granted"
            while not watcher.execute(ungranted).fetchone():
                assert not waiting.done()
            assert watcher.execute("select to_regclass('currant.migrations')").fetchone() == (None,)
        other.rollback()
        assert waiting.result(timeout=60) == NEWEST


def test_a_migration_that_fails_leaves_nothing_behind_and_says_which(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("create schema currant")
        connection.execute("create table currant.signals (is_in_the_way int)")
        with pytest.raises(currant.CurrantError, match=r"0001_tables failed.*signals"):
            migrate(empty_database)
        connection.execute("drop table currant.signals")
        assert migrate(empty_database) == NEWEST


def test_a_migration_that_was_edited_is_refused(database: str, db: psycopg.Connection[dict[str, Any]]) -> None:
    db.execute("update currant.migrations set checksum = 'other' where version = 1")
    with pytest.raises(SchemaMismatch, match="0001_tables"):
        migrate(database)


async def refused_client(url: str, match: str) -> None:
    """Every way in is refused, with a message that says what to run."""
    currant.configure(database_url=url)
    with pytest.raises(SchemaMismatch, match=match):
        await pooled.double.queue(1)
    with pytest.raises(SchemaMismatch, match=match):
        await pooled.double.options(idempotency_key="k").queue(1)
    with pytest.raises(SchemaMismatch, match=match):
        await currant.get_handle(currant.rust_bridge.new_id()).result(timeout=5)
    with pytest.raises(SchemaMismatch, match=match):
        RustBridge.queues()


def refused_commands(run: Run, url: str, said: str) -> None:
    """Commands and workers end with exit code 1 and one line."""
    worker = ("worker", "-q", "pooled", "-m", "apps.pooled")
    for command in (("list",), ("queues", "--json"), ("queue", "apps.pooled.double", "[1]"), worker):
        done = run(*command, WORKFLOWS_DATABASE_URL=url, WORKFLOWS_LOG_LEVEL="ERROR")
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        assert said in done.stderr.splitlines()[-1]
        assert command is worker or done.stderr.count("\n") == 1


async def test_without_a_schema_everything_says_to_run_migrate(empty_database: str, run_currant: Run) -> None:
    await refused_client(empty_database, "run `currant migrate`")
    refused_commands(run_currant, empty_database, "run `currant migrate`")
    assert RustBridge.schema_version() == 0


async def test_a_client_that_was_refused_works_once_the_schema_is_there(empty_database: str) -> None:
    await refused_client(empty_database, "run `currant migrate`")
    migrate(empty_database)
    assert await (await pooled.double.queue(1)).status() == "pending"


async def test_with_an_older_schema_everything_says_to_run_migrate(old_schema: str, run_currant: Run) -> None:
    said = f"version {NEWEST - 1}, this Currant needs {NEWEST}: run `currant migrate`"
    await refused_client(old_schema, re.escape(said))
    refused_commands(run_currant, old_schema, said)


async def test_a_client_older_than_the_schema_takes_is_told_to_install_a_newer_one(
    newer_schema: Callable[[int], str], run_currant: Run
) -> None:
    url = newer_schema(NEWEST + 1)
    await refused_client(url, f"takes clients of version {NEWEST + 1} or later.*pip install --upgrade currant")
    refused_commands(run_currant, url, "pip install --upgrade currant")


async def test_a_newer_schema_that_still_takes_this_client_works(newer_schema: Callable[[int], str]) -> None:
    """The pods of the last release go on while the next one is rolled out."""
    url = newer_schema(NEWEST)
    async with currant.Worker(queues=["pooled"]):
        assert await (await pooled.double.queue(4)).result(timeout=30) == 8
    assert migrate(url) == NEWEST + 1  # nothing of ours is missing there


def test_functions_that_a_release_calls_keep_their_arguments_and_results(
    db: psycopg.Connection[dict[str, Any]],
) -> None:
    """Rule p. The list is what users may call and what the core's statements call; a change is a new function.

    Until the first release a wanted change is written into the list; from then on lines are only added.
    """
    queries = [json.loads(file.read_text())["query"] for file in (CHECKOUT / "core/.sqlx").glob("query-*.json")]
    called = {name for query in queries for name in re.findall(r"currant\.(\w+)\s*\(", query)}
    released = RELEASED.read_text().splitlines()
    there = db.execute(
        """select p.proname || '(' || pg_get_function_arguments(p.oid) || ') -> ' || pg_get_function_result(p.oid) || ', ' || l.lanname
            || coalesce(', ' || array_to_string(p.proconfig, ', '), '') as line
        from pg_proc p join pg_language l on l.oid = p.prolang
        where p.pronamespace = 'currant'::regnamespace and p.prokind = 'f'"""
    ).fetchall()
    signatures = {row["line"] for row in there}
    assert [line for line in released if line not in signatures] == []
    named = {line.partition("(")[0] for line in released}
    assert {"enqueue", "signal", "cancel", "enqueue_bytes"} <= named
    tables = {
        "executions",
        "steps",
        "signals",
        "workers",
        "schema_info",
        "migrations",
        "idempotency_keys",
        "definitions",
        "schedules",
        "queue_retentions",
    }
    assert called - tables <= named, "a function that the core calls is not on the list"


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        (
            "runs",
            "id kind function queue priority state attempt max_attempts held cancel_requested args result error created_at"
            " run_at started_at finished_at worker_id build epoch",
        ),
        ("queue_stats", "queue ready delayed running suspended held oldest_ready_seconds workers blocked"),
    ],
)
def test_the_columns_of_the_stable_views_stay(view: str, columns: str, db: psycopg.Connection[dict[str, Any]]) -> None:
    there = db.execute(
        "select column_name from information_schema.columns where table_schema = 'currant' and table_name = %s", [view]
    ).fetchall()
    assert set(columns.split()) <= {row["column_name"] for row in there}
