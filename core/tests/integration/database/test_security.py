"""Guarantee 17: nothing in the database makes a worker import or run code that it did not register; no password is shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

import currant
from apps import letters
from currant import ExecutionFailed, Worker
from currant.rust_bridge import RustBridge
from servers import Gate, at_port, free_port
from support import CHECKOUT, WorkerProcess, child_environment, eventually

Db = psycopg.Connection[dict[str, Any]]
StartWorker = Callable[..., WorkerProcess]

TRAP = """
import os, pathlib
pathlib.Path(os.environ["TRAP"]).write_text("imported")
from currant import task
@task(queue="letters", name="{name}")
async def spring() -> str: return "sprung"
"""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A module that can be imported in `tmp_path` and would leave a file there."""
    (tmp_path / "trap_module.py").write_text(TRAP.format(name="trap_module.spring"))
    return tmp_path / "imported"


def enqueue(db: Db, function: str, kind: str = "task", args: str = "{}") -> str:
    """As somebody would who may write to the database."""
    row = db.execute(
        "select currant.enqueue(%s, %s, jsonb_build_object('queue', 'letters', 'kind', %s::text, 'retries', 0))::text as id",
        [function, args, kind],
    ).fetchone()
    assert row is not None
    return str(row["id"])


def test_no_name_in_the_database_makes_a_worker_import_or_call_anything(
    db: Db, trap: Path, tmp_path: Path, worker_process: StartWorker
) -> None:
    worker = worker_process("letters", "apps.letters", cwd=tmp_path, TRAP=str(trap))
    names = ("os.system", "builtins.eval", "trap_module.spring", "trap_module:spring", "trap_module", "../trap_module")
    args = f'{{"args": ["touch {trap}"]}}'
    for name in names:
        with pytest.raises(ExecutionFailed, match="UnknownFunction"):
            currant.get_handle(enqueue(db, name, args=args)).result_sync(timeout=30)
    held = [enqueue(db, name, "workflow", args) for name in names]
    states = "select state, incompatible from currant.executions where id = any (%s)"
    eventually(lambda: all(row["incompatible"] for row in db.execute(states, [held]).fetchall()))
    assert letters.write.queue_sync("still here").result_sync(timeout=30) == "still here"
    assert not trap.exists()
    assert worker.running


def test_the_trap_would_have_been_sprung_by_an_import(trap: Path, tmp_path: Path) -> None:
    """Else the test above proves nothing."""
    environment = {**child_environment("postgresql://nobody@nowhere/x"), "TRAP": str(trap)}
    subprocess.run([sys.executable, "-c", "import trap_module"], cwd=tmp_path, env=environment, check=True)
    assert trap.read_text() == "imported"


async def test_a_registered_name_of_another_kind_or_an_attribute_of_it_is_not_called(db: Db) -> None:
    async with Worker(queues=["letters"]):
        for name in ("apps.letters.write.plain", "apps.letters", "write", "apps.letters.WRITE", "apps.letters.write "):
            with pytest.raises(ExecutionFailed, match="UnknownFunction"):
                await currant.get_handle(enqueue(db, name)).result(timeout=30)


async def test_values_in_the_database_are_data_and_never_objects(db: Db) -> None:
    """No pickle: what looks like one, or like a class, comes as the plain JSON that it is."""
    async with Worker(queues=["letters"]):
        for text in (
            "gASVEAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOULg==",
            "!!python/object/apply:os.system",
            '{\\"py/object\\": 1}',
        ):
            id = enqueue(db, "apps.letters.write", args=f'{{"args": ["{text}"]}}')
            assert await currant.get_handle(id).result(timeout=30) == text.replace("\\", "")


async def test_names_with_sql_in_them_are_only_names(db: Db, bridge: RustBridge) -> None:
    name = "x'; drop table currant.executions; --"
    handle = await letters.write.options(queue=name, idempotency_key=name).queue(name)
    assert bridge.list_executions(queue=name, function="apps.letters.write")[0]["id"] == str(handle)
    waiting = await letters.correspond.queue("x")
    await currant.send_signal(waiting, name, name)
    async with Worker(queues=[name]):
        assert await handle.result(timeout=30) == name


SECRET = "s3cr3t-p4ss"


def with_password(url: str, password: str = SECRET, user: str | None = None) -> str:
    """The URL with another password."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user or parts.username or 'currant'}:{password}@{place}").geturl()


def bad_urls(database: str) -> dict[str, str]:
    """Ways for a connection to fail, each with the password in the URL."""
    secret = with_password(database)
    return {
        "unreachable": at_port(secret, free_port()) + "?connect_timeout=0.2",
        "no such host": f"postgresql://currant:{SECRET}@no-such-host.invalid/x?connect_timeout=0.2",
        "no such database": secret.rpartition("/")[0] + "/nothing_here",
        "no such role": with_password(database, user="nobody_here"),
        "bad parameter": secret + "?sslmode=perhaps",
        "bad port": secret.replace(f":{urlsplit(secret).port}/", ":port/"),
        "bad scheme": secret.replace("postgresql://", "mysql://"),
        "bad root certificate": secret + "?sslmode=verify-full&sslrootcert=/no/such/file&connect_timeout=0.2",
    }


def use(url: str) -> None:
    """Configure this database and enqueue."""
    currant.configure(database_url=url)
    letters.write.queue_sync("x")


@pytest.mark.parametrize("way", bad_urls("postgresql://h:1/d"))
def test_no_error_shows_a_password(way: str, database: str) -> None:
    url = bad_urls(database)[way]
    environment = {**child_environment(url), "RUST_LOG": "trace", "WORKFLOWS_LOG_LEVEL": "DEBUG"}
    command = [sys.executable, "-m", "currant", "list"]
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2), done
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stdout + done.stderr
    with pytest.raises(currant.CurrantError) as caught:
        use(url)
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__cause__} {caught.value.__context__}"


def test_no_log_of_a_worker_shows_the_password(database: str, worker_process: StartWorker, db: Db) -> None:
    """At the start, while the database is away, and at the end, with everything logged."""
    own = with_password(database, urlsplit(database).password or SECRET)
    secret = urlsplit(own).password or ""
    gate = Gate(own)
    worker = worker_process(
        "letters", "apps.letters", WORKFLOWS_DATABASE_URL=gate.url, WORKFLOWS_LOG_LEVEL="DEBUG", RUST_LOG="trace"
    )
    with pytest.raises(ExecutionFailed, match="bad paper"):
        letters.tear.queue_sync("bad paper").result_sync(timeout=30)
    gate.shut()
    eventually(lambda: RustBridge.workers()[0]["state"] == "stale")
    gate.open()
    assert letters.write.queue_sync("x").result_sync(timeout=30) == "x"
    worker.terminate()
    assert worker.wait() == 0
    gate.shut()
    assert "bad paper" in worker.log
    assert secret not in worker.log
    everything = db.execute("select to_jsonb(w)::text as line from currant.workers w").fetchall()
    assert all(secret not in row["line"] for row in everything)


def test_neither_handles_nor_clients_nor_workers_show_the_password(database: str) -> None:
    client = currant.configure(database_url=with_password(database))
    worker = Worker(queues=["letters"], client=client)
    for thing in (client, worker, currant.get_handle("00000000-0000-7000-8000-000000000001"), RustBridge()):
        assert SECRET not in f"{thing!r} {thing}"
