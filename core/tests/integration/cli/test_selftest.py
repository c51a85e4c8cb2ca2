"""`currant bench` on a real database: its figures, that it leaves nothing behind, and where it does not begin."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from apps import letters
from currant.cli.bench import measure
from currant.cli.bench.measure import Bench, Stop, facts_of, remove_left_behind
from currant.cli.bench.model import Plan
from currant.client import default_client
from currant.errors import CurrantError
from currant.rust_bridge import RustBridge, new_id
from servers import PgBouncer
from support import CHECKOUT, WorkerProcess, child_environment, eventually

Run = Callable[..., subprocess.CompletedProcess[str]]
Db = psycopg.Connection[dict[str, Any]]
SHORT = ("--tasks", "500", "--seconds", "2")
RATES = ("enqueue_one_by_one", "enqueue_concurrent", "enqueue_bulk", "drain")
TIMES = ("commit", "pick_up")


def everything(db: Db) -> dict[str, list[dict[str, Any]]]:
    """All rows of Currant's tables, and the names of these. Heartbeats apart, which are the workers' own."""
    names = [
        row["name"]
        for row in db.execute(
            "select c.relname as name from pg_class c where c.relnamespace = 'currant'::regnamespace"
            " and c.relkind in ('r', 'p') order by 1"
        ).fetchall()
    ]
    rows = {}
    for name in names:
        text = "to_jsonb(t) - 'last_heartbeat' - 'sleep_until' - 'swept_at'"
        rows[name] = db.execute(f"select ({text})::text as row from currant.{name} t order by 1").fetchall()
    return rows


@pytest.fixture
def users_rows(db: Db) -> dict[str, list[dict[str, Any]]]:
    """A database that somebody uses; gives all that is in it."""
    letters.write.queue_many_sync([(str(number),) for number in range(20)])
    letters.correspond.queue_sync("dear")
    RustBridge.update_heartbeat(str(uuid.uuid4()), "somebody", ["letters"])
    return everything(db)


def check_figures(report: dict[str, Any], sides: tuple[str, ...] = ("bare", "currant")) -> None:
    """They are there, positive, and fit each other."""
    for name in RATES:
        measure = report["measures"][name]
        for side in sides:
            assert min(measure[side]["rate"], measure[side]["count"]) > 0, (name, measure)
    for name in TIMES:
        measure = report["measures"][name]
        for side in sides:
            assert 0 < measure[side]["p50"] <= measure[side]["p95"] <= measure[side]["p99"], (name, measure)
    if len(sides) == 2:
        for name in (*RATES, *TIMES):
            measure = report["measures"][name]
            key = "rate" if name in RATES else "p50"
            assert measure["ratio"] == pytest.approx(measure["currant"][key] / measure["bare"][key])


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Its only line, an error."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# What it finds


def test_it_measures_both_sides_and_leaves_the_database_as_it_was(
    run_currant: Run, db: Db, users_rows: dict[str, Any]
) -> None:
    done = run_currant("bench", *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check_figures(report)
    assert 1 <= report["measures"]["drain"]["currant"]["count"] <= 750  # as many as there was time for
    assert 1 <= report["measures"]["drain"]["bare"]["count"] <= 750  # as many as there was time for
    assert report["measures"]["round_trip"]["bare"]["p50"] > 0
    assert (report["no_limit"], report["notifications"]) == (None, True)
    assert [note["key"] for note in report["notes"] if note["key"] == "currant"] == ["currant"]
    assert everything(db) == users_rows


def test_people_get_a_table_and_hear_before_it_begins_what_it_will_do(run_currant: Run, database: str) -> None:
    done = run_currant(
        "bench", *SHORT, "--database-url", database, WORKFLOWS_DATABASE_URL="postgresql://nobody@nowhere/x"
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b[" not in done.stdout + done.stderr
    titles = [line.partition("  ")[0] for line in done.stdout.splitlines()[:8]]
    assert (titles[0], titles[6]) == ("measure", "drain by one worker")
    assert "One worker runs " in done.stdout
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"up to about 2 s on the database {urlsplit(database).path[1:]} (PostgreSQL ")
    for line, words in zip(rest, ("currant-bench-", "currant.bench_", "removed"), strict=True):
        assert words in line


def test_a_durable_server_is_told_from_one_that_is_not(run_currant: Run, database: str) -> None:
    durable = RustBridge(database)
    with closing(durable), psycopg.connect(database) as connection:
        (fsync,) = connection.execute("show fsync").fetchone() or ("",)
    notes = json.loads(run_currant("bench", *SHORT, "--json").stdout)["notes"]
    assert ("fsync" in [note["key"] for note in notes]) == (fsync == "off")


# It leaves nothing behind


def start_bench(database: str) -> subprocess.Popen[str]:
    """A long one, in the background."""
    command = [sys.executable, "-m", "currant", "bench", "--tasks", "20000", "--seconds", "10"]
    environment = child_environment(database)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=CHECKOUT, **pipes)


SCRATCH = "select 1 from pg_class where relname like 'bench\\_%' and relkind = 'r'"
ENQUEUED = "select 1 from currant.executions where queue like 'currant-bench-%' offset 50"
DRAINS = "select 1 from currant.executions where queue like 'currant-bench-%' and state <> 'pending'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [SCRATCH, ENQUEUED, DRAINS], ids=["bare SQL", "enqueues", "drain"])
def test_it_removes_everything_also_when_it_is_interrupted(
    number: signal.Signals, moment: str, database: str, db: Db, users_rows: dict[str, Any]
) -> None:
    with start_bench(database) as process:
        eventually(lambda: db.execute(moment).fetchone() or process.poll() is not None, 60)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (128 + number, "")
    assert errors.splitlines()[-1] == "ended early; nothing of it is left"
    assert "Traceback" not in errors
    assert everything(db) == users_rows


async def test_what_a_killed_one_left_is_removed_by_the_next_once_it_must_have_ended(
    database: str, db: Db, users_rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_bench(database) as process:
        eventually(lambda: db.execute(DRAINS).fetchone() or process.poll() is not None, 60)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = everything(db)
    assert left.keys() > users_rows.keys()
    facts = await facts_of(default_client(), False)
    assert await remove_left_behind(default_client(), facts) == 0
    assert everything(db).keys() == left.keys()  # another one may be under way
    in_two_hours = str(uuid.UUID(int=uuid.UUID(new_id()).int + (7_200_000 << 80)))
    monkeypatch.setattr(measure, "new_id", lambda: in_two_hours)
    assert await remove_left_behind(default_client(), facts) == 1
    assert everything(db) == users_rows


async def test_it_removes_everything_also_when_no_task_runs(
    db: Db, users_rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "FIRST_TASK", 0.5)
    db.execute("alter function currant.select_claimable rename to select_claimable_not")
    facts = await facts_of(default_client(), False)
    with pytest.raises(CurrantError, match=r"no task ran within 0\.5 s .* 0 ran, 500 are ready, 0 are claimed"):
        await Bench(facts, Plan(500, 2.0), lambda what: None, Stop()).run()
    assert everything(db) == users_rows


def refuse(db: Db, verb: str, message: str) -> None:
    """From now on the server refuses that verb on executions."""
    db.execute(
        f"create function refuse() returns trigger language plpgsql as $$ begin raise '{message}'; end $$;"
        f"create trigger refuse before {verb} on currant.executions for each statement execute function refuse()"
    )


def test_an_enqueue_that_the_server_refuses_is_one_line_and_leaves_nothing(
    db: Db, run_currant: Run, users_rows: dict[str, Any]
) -> None:
    refuse(db, "insert", "not today")
    done = run_currant("bench", *SHORT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "error: not today"
    assert "Traceback" not in done.stderr
    assert everything(db) == users_rows


def test_it_says_so_when_something_could_not_be_removed(db: Db, run_currant: Run) -> None:
    refuse(db, "delete", "it stays")
    done = run_currant("bench", *SHORT)
    assert (done.returncode, done.stdout) == (1, "")
    (queue,) = re.findall(r"on the queue (\S+),", done.stderr)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: what this self-test wrote could not be removed (it stays)")
    assert queue in last
    assert db.execute("select 1 from currant.executions where queue = %s", [queue]).rowcount >= 500


# Beside what the user has


def test_the_worker_of_a_pod_is_not_ended_by_a_self_test_in_its_container(
    run_currant: Run, worker_process: Callable[..., WorkerProcess], bridge: RustBridge
) -> None:
    pod = {"WORKFLOWS_POD_UID": str(uuid.uuid4()), "WORKFLOWS_POOL": "shop/orders", "WORKFLOWS_HTTP_PORT": "18093"}
    worker = worker_process("letters", "apps.letters", **pod)
    done = run_currant("bench", *SHORT, **pod)
    assert done.returncode == 0, done.stderr
    assert [row["pid"] for row in bridge.workers()] == [worker.pid]
    assert letters.write.queue_sync("still here").result_sync(timeout=30) == "still here"
    assert worker.running


def define(bridge: RustBridge, **changes: Any) -> None:
    """A definition that nothing is due for soon."""
    item = {"function": "apps.letters.write", "owner": "shop/letters", "suspended": False, **changes}
    (answer,) = bridge.apply_definitions([item])
    assert answer["status"] == "applied", answer


SCHEDULE = {
    "name": "s",
    "cron": "0 0 1 1 *",
    "time_zone": "UTC",
    "args": {},
    "overlap": "Allow",
    "catch_up": "None",
    "suspended": False,
}


@pytest.mark.parametrize("changes", [{"schedules": [SCHEDULE]}, {"retention": 60}])
def test_what_only_a_worker_would_do_is_not_done_unless_the_user_says_yes(
    changes: dict[str, Any], run_currant: Run, bridge: RustBridge, db: Db
) -> None:
    define(bridge, **changes)
    before = everything(db)
    assert "--yes" in one_line(run_currant("bench", *SHORT))
    assert everything(db) == before
    assert run_currant("bench", *SHORT, "--yes").returncode == 0
    assert everything(db) == before


# Where it does not begin, and where it can do less


def test_no_schema_is_one_line_that_says_what_to_run(run_currant: Run, empty_database: str) -> None:
    assert "run `currant migrate`" in one_line(run_currant("bench", WORKFLOWS_DATABASE_URL=empty_database))


def test_a_database_that_is_not_there_is_one_line(run_currant: Run) -> None:
    one_line(run_currant("bench", WORKFLOWS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x?connect_timeout=1"))


@pytest.mark.parametrize(("option", "value"), [("--tasks", "1000000"), ("--tasks", "0"), ("--seconds", "100000")])
def test_its_size_is_bounded(option: str, value: str, run_currant: Run) -> None:
    done = run_currant("bench", option, value)
    assert done.returncode == 2
    assert f"Invalid value for '{option}'" in done.stderr
    assert "is not in the range" in done.stderr


def execute(url: str, statement: str, *names: str) -> None:
    """Run one statement, with `{}` for each name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def make_role(database: str, server_url: str) -> Iterator[Callable[..., str]]:
    """Make a role that may do what clients and workers do, and no more; gives its URL. `settings` are of its sessions."""
    roles = []

    def make(*, remove: bool = True, **settings: str) -> str:
        name, password = f"currant_test_{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
        execute(server_url, f"create role {{}} login password '{password}'", name)
        roles.append(name)
        rights = "select, insert, update, delete" if remove else "select, insert, update"
        execute(database, "grant usage on schema currant to {}", name)
        execute(database, f"grant {rights} on all tables in schema currant to {{}}", name)
        for setting, value in settings.items():
            execute(database, f"alter role {{}} set {setting} = '{value}'", name)
        parts = urlsplit(database)
        return parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()

    yield make
    for name in roles:
        execute(database, "drop owned by {}", name)
        execute(server_url, "drop role {}", name)


def test_a_role_that_may_not_create_tables_gets_currants_own_figures(
    run_currant: Run, make_role: Callable[..., str], db: Db, users_rows: dict[str, Any]
) -> None:
    done = run_currant("bench", *SHORT, "--json", WORKFLOWS_DATABASE_URL=make_role())
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check_figures(report, ("currant",))
    assert {measure["bare"] for name, measure in report["measures"].items() if name != "round_trip"} == {None}
    assert "may not create tables" in report["no_limit"]
    assert "bench_" not in done.stderr
    assert everything(db) == users_rows


def test_a_role_that_could_not_remove_its_rows_does_not_write_any(
    run_currant: Run, make_role: Callable[..., str], db: Db, users_rows: dict[str, Any]
) -> None:
    assert "no right to delete" in one_line(run_currant("bench", WORKFLOWS_DATABASE_URL=make_role(remove=False)))
    assert everything(db) == users_rows


def test_a_read_only_server_is_refused(run_currant: Run, make_role: Callable[..., str]) -> None:
    url = make_role(default_transaction_read_only="on")
    assert "read-only" in one_line(run_currant("bench", WORKFLOWS_DATABASE_URL=url))


# Behind a pooler


def test_behind_a_pooler_it_works_and_says_that_notifications_do_not_come(
    run_currant: Run, pgbouncer: PgBouncer, database: str, db: Db, users_rows: dict[str, Any]
) -> None:
    done = run_currant("bench", *SHORT, "--json", WORKFLOWS_DATABASE_URL=pgbouncer.url(database))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["server"]["pooler"]
    assert not report["notifications"]
    assert report["notes"][-1]["key"] == "notifications"
    assert report["measures"]["pick_up"]["bare"] is None
    assert report["measures"]["drain"]["bare"]["rate"] > 0
    assert report["measures"]["drain"]["currant"]["rate"] > 0
    assert everything(db) == users_rows


def test_with_a_direct_url_notifications_go_past_the_pooler(
    run_currant: Run, pgbouncer: PgBouncer, database: str
) -> None:
    url = pgbouncer.url(database, direct_url=quote(database, safe=""))
    report = json.loads(run_currant("bench", *SHORT, "--json", WORKFLOWS_DATABASE_URL=url).stdout)
    assert report["notifications"]
    check_figures(report)
