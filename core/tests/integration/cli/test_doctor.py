"""currant doctor on a database where things are wrong on purpose, one after the other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from apps import letters
from currant.rust_bridge import Call, RustBridge, new_id
from support import AT_MIDNIGHT, eventually

Db = psycopg.Connection[dict[str, Any]]
Run = Callable[..., subprocess.CompletedProcess[str]]
Doctor = Callable[..., dict[str, list[str]]]


@pytest.fixture
def doctor(run_currant: Run) -> Doctor:
    """What `currant doctor --json` found, by check; the exit code says whether it is anything."""

    def ask(*options: str) -> dict[str, list[str]]:
        done = run_currant("doctor", "--json", *options)
        answer = json.loads(done.stdout)
        assert done.returncode == (0 if answer["healthy"] else 1), done
        found: dict[str, list[str]] = {}
        for finding in answer["findings"]:
            assert finding["advice"]
            found.setdefault(finding["check"], []).append(finding["problem"])
        return found

    return ask


def call(function: str = "f", queue: str = "q", kind: str = "task") -> Call:
    return Call(kind, function, queue, 5, b"{}", '{"retry": {"max_attempts": 1}}')


def test_where_all_is_well_it_says_so(doctor: Doctor, run_currant: Run, database: str) -> None:
    assert doctor() == {}
    done = run_currant("doctor")
    assert done.returncode == 0
    assert done.stdout.count("\nok ") == 9
    assert "wrong" not in done.stdout


def test_a_queue_that_nobody_serves_and_work_that_waits_too_long(doctor: Doctor, bridge: RustBridge, db: Db) -> None:
    bridge.create_execution(call())
    assert "no worker serves queue q, where 1 are ready" in doctor()["queues"][0]
    bridge.update_heartbeat(new_id(), queues=["q"])
    assert doctor() == {}
    db.execute("update currant.executions set ready_at = now() - interval '10 min'")
    assert "waited 10 min" in doctor()["queues"][0]
    assert doctor("--ready", "3600") == {}


def test_a_dead_worker_and_what_runs_on_one_that_is_gone(doctor: Doctor, bridge: RustBridge, db: Db) -> None:
    worker = new_id()
    id = bridge.create_execution(call())
    bridge.update_heartbeat(worker, name="bob", queues=["q"])
    assert bridge.claim_execution(worker, ["q"]) is not None
    db.execute("update currant.workers set last_heartbeat = now() - interval '5 min'")
    (problem,) = doctor()["dead workers"]
    assert "bob" in problem
    assert "silent for 5 min" in problem
    assert "1 executions run on it" in problem
    db.execute("update currant.workers set stopped_at = now()")
    assert id in doctor()["orphans"][0]


def test_a_function_that_no_worker_has_and_a_run_that_is_incompatible(
    doctor: Doctor, bridge: RustBridge, db: Db
) -> None:
    db.execute("insert into currant.workers (id, name, queues, tasks) values (gen_random_uuid(), 'w', '{q}', '{g}')")
    bridge.create_execution(call("g"))
    assert doctor() == {}
    bridge.create_execution(call("f"))
    assert doctor()["unknown functions"] == ["1 of f wait in queue q, and no worker there has that function"]
    error = '{"type": "NonDeterminismError", "message": "asked for \\u0000 something else"}'
    id = bridge.create_execution(call("g", kind="workflow"))
    db.execute(
        "update currant.executions set state = 'suspended', suspended_at = now(), ready_xid = null, incompatible = true,"
        " refused_builds = '{b}', error = convert_to(%s, 'UTF8') where id = %s",
        [error, id],
    )
    (problem,) = doctor()["incompatible"]
    assert id in problem
    assert "asked for" in problem


def test_who_keeps_rows_and_who_waits_for_whom(doctor: Doctor, database: str, bridge: RustBridge, db: Db) -> None:
    id = bridge.create_execution(call())
    with psycopg.connect(database, application_name="psql of ann") as holder, psycopg.connect(database) as waiter:
        holder.execute("update currant.executions set priority = 6 where id = %s", [id])
        waiter.pgconn.send_query(b"select 1 from currant.executions for update")
        eventually(lambda: db.execute("select 1 from pg_locks where not granted and waitstart is not null").fetchone())
        found = doctor("--transaction", "0")
        assert any("psql of ann" in problem and "transaction open" in problem for problem in found["pins"])
        eventually(lambda: "lock waits" in doctor(), 30, 0.5)
        assert f"held by pid {holder.info.backend_pid} (psql of ann, idle in transaction)" in doctor()["lock waits"][0]
        holder.rollback()
        while waiter.pgconn.get_result():
            pass


def test_when_autovacuum_begins_is_told_by_the_settings_of_the_table(bridge: RustBridge, db: Db) -> None:
    tables = "array['currant.executions', 'currant.workers']::regclass[]"
    db.execute(f"update pg_class set reltuples = 1000 where oid = any ({tables})")
    due = {table["name"]: table["due"] for table in bridge.doctor()["tables"]}
    assert (due["executions"], due["workers"]) == (100, 250)


def test_a_schedule_that_is_late_and_one_that_fails(doctor: Doctor, bridge: RustBridge, db: Db) -> None:
    bridge.apply_definitions([{"function": "f", "owner": "o", "suspended": False, "schedules": [AT_MIDNIGHT]}])
    assert doctor() == {}
    db.execute("update currant.schedules set last_outcome = 'failed: no such zone'")
    assert doctor()["schedules"] == ["schedule s of f failed: no such zone"]
    db.execute("update currant.schedules set due_at = now() - interval '2 min'")
    assert "schedule s of f is 2 min" in doctor()["schedules"][0]


def test_a_task_that_each_worker_hands_back_is_noted_and_is_no_error(
    doctor: Doctor, run_currant: Run, bridge: RustBridge, db: Db
) -> None:
    """It may be a long task in three roll-outs, or one that ends its workers: the database cannot tell."""
    id = bridge.create_execution(call("f"))
    for times in (1, 2, 3):
        worker = new_id()
        bridge.update_heartbeat(worker, name="w", queues=["q"])
        assert bridge.claim_execution(worker, ["q"]) is not None
        assert [back["times"] for back in bridge.doctor()["handed_back"]] == []
        db.execute("select currant.stop_worker(%s)", [worker])
        assert [back["times"] for back in bridge.doctor()["handed_back"]] == ([3] if times == 3 else [])
    bridge.update_heartbeat(new_id(), name="w", queues=["q"])
    assert doctor() == {}
    assert f"note   f {id} was handed back 3 times at no cost" in run_currant("doctor").stdout


def test_a_task_that_failed_often_was_not_handed_back(bridge: RustBridge, db: Db) -> None:
    bridge.create_execution(call("f")._replace(options='{"retry": {"max_attempts": 9, "initial": 0}}'))
    worker = new_id()
    bridge.update_heartbeat(worker, name="w", queues=["q"])
    for _ in range(5):
        claimed = eventually(lambda: bridge.claim_execution(worker, ["q"]))
        bridge.fail_execution(worker, claimed.id, claimed.lease, b'{"type": "E", "message": "", "traceback": ""}')
    eventually(lambda: bridge.claim_execution(worker, ["q"]))
    assert bridge.doctor()["handed_back"] == []


def test_it_says_what_it_cannot_see_and_what_the_schema_is(run_currant: Run, database: str, bridge: RustBridge) -> None:
    shown = run_currant("doctor").stdout
    version = bridge.schema_version()
    assert f"schema version {version}, this Currant needs {version}" in shown
    assert bridge.doctor()["schema"]["sees_all"]


def test_a_worker_of_the_sdk_knows_its_functions(doctor: Doctor, worker_process: Callable[..., Any]) -> None:
    worker_process("letters", "apps.letters")
    letters.correspond.queue_sync("x")
    eventually(lambda: RustBridge.queues()[0]["running"] + RustBridge.queues()[0]["suspended"] == 1)
    assert doctor() == {}
