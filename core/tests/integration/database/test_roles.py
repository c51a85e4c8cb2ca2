"""Roles of least privilege: with `currant roles` a client and a worker do all that is theirs, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import dict_row

import currant
from apps import duties
from apps.board import Board
from currant import CurrantError
from currant.rust_bridge import RustBridge, new_id
from servers import INVARIANTS, OwnPostgres, binaries_like, execute, passable_directory, with_database
from support import CHECKOUT, WorkerProcess, child_environment, eventually, eventually_async

# Only a notification makes a worker with these look within a test's life.
LAZY = {
    "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "50",
    "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "100",
    "WORKFLOWS_WORKER_POLL_INTERVAL": "50",
}
# What the owner alone calls: definitions, and what the operator does with pods.
OWNERS = {"apply_definition", "apply_schedules", "delete_definitions", "mark_runs", "runs_are_marked"}
OWNERS |= {"unmarked_runs", "awaiting_queues", "ask_to_drain", "end_pods", "end_containers", "sleep_for"}
MEMBERS = {"eyes": "currant_reader", "web": "currant_client", "shop": "currant_worker"}


def as_role(url: str, role: str) -> str:
    """The URL with another user."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()


def printed_sql() -> str:
    """What `currant roles` prints."""
    command = [str(CHECKOUT / ".venv/bin/currant"), "roles"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def server(server_url: str) -> Iterator[str]:
    """A server with an owner of databases who is no superuser, and a login of each role. Roles belong to a whole server: one of our own."""
    with passable_directory() as directory:
        server = OwnPostgres(directory, binaries_like(server_url))
        execute(server.url, "create role boss login createrole createdb")
        execute(as_role(server.url, "boss"), "create database template_of_roles")
        owner = as_role(with_database(server.url, "template_of_roles"), "boss")
        with closing(RustBridge(owner)) as bridge:
            bridge.migrate()
        execute(owner, INVARIANTS.read_text())
        execute(owner, printed_sql())
        for login, role in MEMBERS.items():
            execute(owner, f"create role {{}} login in role {role}", login)
        execute(server.url, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'boss'")
        yield server.url
        server.stop()


@pytest.fixture
def owner(server: str) -> Iterator[str]:
    """The URL of a fresh database of the owner's, with the roles in use."""
    name = f"currant_test_{uuid.uuid4().hex[:12]}"
    execute(as_role(server, "boss"), "create database {} template template_of_roles", name)
    yield as_role(with_database(server, name), "boss")
    currant.configure()
    execute(server, "drop database {} with (force)", name)


@pytest.fixture
def connect(owner: str) -> Iterator[Callable[[str], psycopg.Connection[dict[str, Any]]]]:
    """Connect as a role."""
    connections = []

    def connect(role: str) -> psycopg.Connection[dict[str, Any]]:
        connection = psycopg.connect(as_role(owner, role), autocommit=True, row_factory=dict_row)
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        connection.close()


@pytest.fixture
def shop_worker(owner: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker process under `currant_worker` which nothing but notifications wakes."""
    environment = child_environment(as_role(owner, "shop"), **LAZY)
    worker = WorkerProcess(["duties"], "apps.duties", environment, tmp_path / "log", [], CHECKOUT)
    with closing(RustBridge(as_role(owner, "eyes"))) as bridge:
        eventually(lambda: not worker.running or bridge.workers(), 30)
        yield worker
    worker.kill()
    print(worker.log)


def definitions() -> list[dict[str, Any]]:
    """A schedule of every second, and a retention."""
    schedule = {
        "name": "s",
        "cron": "* * * * * *",
        "time_zone": "UTC",
        "args": {},
        "overlap": "Allow",
        "catch_up": "None",
    }
    rules = {"owner": "o", "queue": "duties", "suspended": False}
    return [
        {"function": "apps.duties.tick", **rules, "schedules": [{**schedule, "suspended": False}]},
        {"function": "apps.duties.everything", **rules, "retention": 0.01, "concurrency_limit": 5},
    ]


async def test_a_worker_and_a_client_under_their_roles_do_all_that_there_is(
    owner: str, shop_worker: WorkerProcess, connect: Callable[[str], psycopg.Connection[dict[str, Any]]]
) -> None:
    with closing(RustBridge(owner)) as bridge:
        assert {answer["status"] for answer in bridge.apply_definitions(definitions())} == {"applied"}
    currant.configure(database_url=as_role(owner, "web"))
    db = connect("eyes")

    listener = await duties.listen.queue()
    run = await duties.everything.queue(str(listener))
    assert await run.result(timeout=30) == [1, 2, len("from a workflow")]
    assert len(await duties.tick.queue_many([(), ()])) == 2

    heard, cancelled = await duties.listen.queue(), await duties.listen.queue()
    await currant.send_signal(heard, "word", "from a client")
    assert await heard.result(timeout=30) == "from a client"
    await cancelled.cancel()
    with pytest.raises(currant.ExecutionCancelled):
        await cancelled.result(timeout=30)
    RustBridge.retry_execution(str(cancelled))
    eventually(lambda: RustBridge.get_execution(str(cancelled))["state"] in ("running", "suspended"))

    fired = "select 1 from currant.runs where function = 'apps.duties.tick' and state = 'completed' and id in (select e.id from currant.executions e where e.schedule_id is not null)"
    eventually(lambda: db.execute(fired).fetchone())
    execute(owner, "update currant.upkeep set swept_at = '-infinity'")
    execute(owner, f"select pg_notify('currant_w_' || id, '{new_id()}') from currant.workers")
    eventually(lambda: not db.execute("select 1 from currant.runs where id = %s", [str(run)]).fetchone())
    assert RustBridge.queues()
    assert RustBridge.show(str(heard))["signals"]
    assert RustBridge.fleet([{"key": "k", "queues": ["duties"]}])["workers"]
    shop_worker.terminate()
    assert shop_worker.wait() == 0
    assert "no right" not in shop_worker.log


async def test_a_client_enqueues_in_a_transaction_of_its_own_and_from_sql(
    owner: str, connect: Callable[[str], psycopg.Connection[dict[str, Any]]]
) -> None:
    web = connect("web")
    with web.transaction():
        await_in = await duties.tick.options(connection=web).queue()
        by_sql = web.execute("select currant.enqueue('f', '{}', '{\"kind\": \"workflow\"}') as id").fetchone()
        assert by_sql is not None
    currant.configure(database_url=as_role(owner, "web"))
    assert await await_in.status() == "pending"
    web.execute("select currant.signal(%s, 'n')", [by_sql["id"]])
    web.execute("select currant.cancel(%s)", [by_sql["id"]])


def test_a_worker_takes_over_from_one_that_died_under_its_role(owner: str) -> None:
    with closing(RustBridge(as_role(owner, "shop"))) as bridge:
        dead, alive = new_id(), new_id()
        id = bridge.create_execution(_call())
        bridge.update_heartbeat(dead, queues=["q"])
        claimed = bridge.claim_execution(dead, ["q"])
        assert claimed is not None
        execute(owner, f"update currant.workers set last_heartbeat = '-infinity' where id = '{dead}'")
        bridge.update_heartbeat(alive, queues=["q"])
        again = bridge.claim_execution(alive, ["q"])
        assert again is not None
        bridge.complete_execution(alive, id, again.lease, b"1")


async def test_a_worker_under_its_role_goes_on_beside_what_is_behind_somebodys_lock(
    owner: str, shop_worker: WorkerProcess, board: Board, connect: Callable[[str], psycopg.Connection[dict[str, Any]]]
) -> None:
    currant.configure(database_url=as_role(owner, "web"))
    locked = await duties.wait_for.queue(board.path, "open")
    eyes = connect("eyes")
    running = "select 1 from currant.executions where id = %s and state = 'running'"
    await eventually_async(lambda: eyes.execute(running, [str(locked)]).fetchone())
    with psycopg.connect(owner) as somebody:
        somebody.execute("select 1 from currant.executions where id = %s for update", [str(locked)])
        board.open("open")
        await eventually_async(lambda: "transaction holds locks" in shop_worker.log)
        assert await (await duties.tick.queue()).result(timeout=30) is None
        assert await locked.status() == "running"
    assert await locked.result(timeout=30) == "open"
    assert "no right" not in shop_worker.log


def _call() -> Any:
    from currant.rust_bridge import Call

    return Call("task", "f", "q", 5, b"{}", '{"retry": {"max_attempts": 2}}')


COLUMN = "select column_name from information_schema.columns where table_schema = 'currant' and table_name = %s limit 1"
WRITES = (
    "insert into currant.{} default values",
    "update currant.{} set {} = default",
    "delete from currant.{}",
    "truncate currant.{}",
)
CHANGES = (
    "create table currant.mine (x int)",
    "create function currant.mine() returns int language sql as 'select 1'",
    "create or replace function currant.iso(at timestamptz) returns text language sql as $$ select '' $$",
    "alter table currant.executions add column mine int",
    "alter function currant.enqueue security invoker",
    "create index on currant.executions (state)",
    "drop view currant.runs",
    "drop schema currant cascade",
    "create schema other",
)


@pytest.mark.parametrize("role", list(MEMBERS))
def test_no_role_writes_to_tables_or_changes_the_schema(
    role: str, connect: Callable[[str], psycopg.Connection[dict[str, Any]]]
) -> None:
    db = connect(role)
    tables = [
        row["relname"]
        for row in db.execute(
            "select relname from pg_class where relnamespace = 'currant'::regnamespace and relkind = 'r'"
        )
    ]
    assert {"executions", "steps", "signals", "definitions", "schedules", "migrations"} <= set(tables)
    for table in tables:
        column = db.execute(COLUMN, [table]).fetchone()
        assert column is not None
        for write in WRITES:
            if (role, table) == ("shop", "workers") and write.startswith(("insert", "update")):
                continue  # it says who it is
            with pytest.raises(InsufficientPrivilege):
                db.execute(write.format(table, column["column_name"]))  # type: ignore[arg-type]
    for change in CHANGES:
        with pytest.raises(InsufficientPrivilege):
            db.execute(change)  # type: ignore[arg-type]


CALLS = {
    "select currant.enqueue('f')": {"web", "shop"},
    "select currant.signal(currant.new_id(), 'n')": {"web", "shop"},
    "select currant.cancel(currant.new_id())": {"web", "shop"},
    "select currant.retry_run(currant.new_id())": {"web", "shop"},
    "select currant.heartbeat(currant.new_id(), null, false)": {"shop"},
    "select currant.take_over(currant.new_id())": {"shop"},
    "select currant.stop_worker(currant.new_id())": {"shop"},
    "select currant.declare_functions(currant.new_id(), 'c', 'b', '[]')": {"shop"},
    "select currant.lose_worker(currant.new_id(), true)": set(),
    "select currant.declared('f')": set(MEMBERS),
    "select currant.sweep(1, true)": {"shop"},
    "select currant.fire_schedules('[]')": {"shop"},
    "select currant.claim(currant.new_id(), '{q}', 1, false)": {"shop"},
    "select currant.cancel_rows('{}')": set(),
    "select currant.reopen(currant.new_id())": set(),
    "select currant.apply_definition('{}')": set(),
    "select currant.delete_definitions('{}')": set(),
    "select currant.end_pods('{}', '{}')": set(),
    "select currant.ask_to_drain('{}', true)": set(),
    "select currant.scaling('[]')": set(MEMBERS),
    "select currant.statuses('{}', '{}')": set(MEMBERS),
    "select * from currant.runs": set(MEMBERS),
    "select * from currant.queue_stats": set(MEMBERS),
    "select currant.fleet('[]')": set(MEMBERS),
}


@pytest.mark.parametrize("role", list(MEMBERS))
def test_each_role_calls_what_is_its_and_nothing_else(
    role: str, connect: Callable[[str], psycopg.Connection[dict[str, Any]]]
) -> None:
    db = connect(role)
    refused = set()
    for call in CALLS:
        try:
            db.execute(call)  # type: ignore[arg-type]
        except InsufficientPrivilege:
            refused.add(call)
        except psycopg.Error:
            pass  # it was let in: there is no such execution
    assert refused == {call for call, allowed in CALLS.items() if role not in allowed}


def test_a_client_that_claims_or_completes_is_told_that_it_may_not(owner: str) -> None:
    with closing(RustBridge(as_role(owner, "web"))) as bridge:
        id = bridge.create_execution(_call())
        for attempt in (
            lambda: bridge.claim_execution(new_id(), ["q"]),
            lambda: bridge.complete_execution(new_id(), id, 0, b"1"),
            lambda: bridge.update_heartbeat(new_id(), queues=["q"]),
            lambda: bridge.apply_definitions([{"function": "f", "owner": "o"}]),
        ):
            with pytest.raises(CurrantError, match=r"no right to do this: permission denied.*currant roles"):
                attempt()
        assert bridge.get_execution(id)["state"] == "pending"


def executable(db: psycopg.Connection[dict[str, Any]], role: str) -> dict[str, dict[str, Any]]:
    """The functions of the schema that a role may execute."""
    rows = db.execute(
        """select p.proname as name, p.prosecdef as definer, p.provolatile as volatile, p.proconfig as settings from pg_proc p
        where p.pronamespace = 'currant'::regnamespace and has_function_privilege(%s, p.oid, 'execute')""",
        [role],
    )
    return {row["name"]: row for row in rows}


def test_every_function_that_the_core_calls_belongs_to_a_role_or_to_the_owner(
    connect: Callable[[str], psycopg.Connection[dict[str, Any]]],
) -> None:
    queries = [json.loads(file.read_text())["query"] for file in (CHECKOUT / "core/.sqlx").glob("query-*.json")]
    db = connect("boss")
    there = {
        row["proname"] for row in db.execute("select proname from pg_proc where pronamespace = 'currant'::regnamespace")
    }
    called = {name for query in queries for name in re.findall(r"currant\.(\w+)\s*\(", query)} & there
    worker = executable(db, "shop").keys()
    assert called - worker == OWNERS & called
    assert not worker & OWNERS


def test_functions_with_the_owners_rights_have_a_search_path_that_nobody_else_fills(
    connect: Callable[[str], psycopg.Connection[dict[str, Any]]],
) -> None:
    functions = executable(connect("boss"), "shop")
    definers = {name for name, row in functions.items() if row["definer"]}
    assert {"enqueue", "commit_batch", "heartbeat", "wake"} <= definers
    assert {name for name in definers if "search_path=pg_catalog, pg_temp" not in functions[name]["settings"]} == set()
    assert {name for name, row in functions.items() if row["volatile"] == "v"} - definers == {"new_id"}


@pytest.mark.parametrize("guarded", [True, False])
def test_a_client_cannot_put_another_meaning_to_the_names_in_them(
    guarded: bool, owner: str, connect: Callable[[str], psycopg.Connection[dict[str, Any]]]
) -> None:
    """Without the search path the trap springs with the owner's rights: else this test proves nothing."""
    execute(owner, "grant create on database {} to web", urlsplit(owner).path[1:])
    if not guarded:
        for name in (
            "enqueue(text, jsonb, jsonb)",
            "enqueue_bytes(text, bytea, jsonb)",
            "enqueue_checked(text, bytea, jsonb, text)",
        ):
            execute(owner, f"alter function currant.{name} reset search_path")
    web = connect("web")
    web.execute("create schema evil")
    web.execute(
        "create function evil.md5(text) returns text language plpgsql as $$ begin"
        " perform set_config('evil.was', current_user, false); return pg_catalog.md5($1); end $$"
    )
    web.execute("grant usage on schema evil to public")
    web.execute("set search_path = evil, pg_catalog")
    web.execute("select currant.enqueue('f')")
    was = web.execute("select current_setting('evil.was', true) as was").fetchone()
    assert was == {"was": None if guarded else "boss"}


def test_the_sql_may_be_run_again_and_changes_nothing(owner: str, connect: Callable[..., Any]) -> None:
    rights = "select proname, prosecdef, proconfig, proacl::text from pg_proc where pronamespace = 'currant'::regnamespace order by oid"
    db = connect("boss")
    before = db.execute(rights).fetchall()
    execute(owner, printed_sql())
    assert db.execute(rights).fetchall() == before


def test_a_migration_keeps_the_rights_of_the_roles(server: str) -> None:
    """Here all of them; a later one in the same way."""
    name = f"currant_test_{uuid.uuid4().hex[:12]}"
    execute(as_role(server, "boss"), "create database {}", name)
    url = as_role(with_database(server, name), "boss")
    execute(url, "create schema currant")
    execute(url, "grant usage on schema currant to currant_reader")
    with closing(RustBridge(url)) as bridge:
        bridge.migrate()
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as db:
        assert "commit_batch" in executable(db, "shop")
        assert "commit_batch" not in executable(db, "web")
    execute(server, "drop database {} with (force)", name)
