"""Integration tests: a server for the session, a fresh database for each test, worker processes, the command line.

The server is that of WORKFLOWS_TEST_DATABASE_URL (a role that may create databases), or an embedded one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import currant
from apps.board import Board, rhythm
from currant.embedded import temporary_server
from currant.rust_bridge import RustBridge
from e2e.programs import needed
from servers import INVARIANTS, PgBouncer, execute, passable_directory, with_database
from support import CHECKOUT, QUICK, Ledger, WorkerProcess, child_environment, eventually


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of a server where databases can be created."""
    given = os.environ.get("WORKFLOWS_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with temporary_server() as url:
        yield url


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """The name of a migrated database that each test's own is copied from."""
    name = f"currant_template_{uuid.uuid4().hex[:12]}"
    execute(server_url, "create database {}", name)
    bridge = RustBridge(with_database(server_url, name))
    bridge.migrate()
    bridge.close()
    execute(with_database(server_url, name), INVARIANTS.read_text())
    # The copy needs a template without connections; those of a closed pool take a moment to go.
    execute(server_url, f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'")
    yield name
    execute(server_url, "drop database {} with (force)", name)


@pytest.fixture
def make_database(server_url: str) -> Iterator[Callable[..., str]]:
    """Make a database (`make_database(template=None)`: an empty one); gives its URL. They go when the test ends."""
    names = []

    def make(template: str | None = None) -> str:
        name = f"currant_test_{uuid.uuid4().hex[:12]}"
        if template is None:
            execute(server_url, "create database {}", name)
        else:
            execute(server_url, "create database {} template {}", name, template)
        names.append(name)
        return with_database(server_url, name)

    yield make
    for name in names:
        execute(server_url, "drop database {} with (force)", name)


@pytest.fixture
def empty_database(make_database: Callable[..., str]) -> str:
    """The URL of a database without Currant's schema."""
    return make_database()


@pytest.fixture
def database(make_database: Callable[..., str], template_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh migrated database, which is also this process's configured one."""
    url = make_database(template_database)
    monkeypatch.setenv("WORKFLOWS_DATABASE_URL", url)
    currant.configure(database_url=url)
    return url


@pytest.fixture(autouse=True)
def _no_database_is_left_configured() -> Iterator[None]:
    """What a test configured must not reach the tests behind it, unit tests among them."""
    yield
    currant.configure()


@pytest.fixture(scope="module")
def pgbouncer(server_url: str) -> Iterator[PgBouncer]:
    """PgBouncer in front of the server."""
    program = needed("pgbouncer", "apt-get install pgbouncer")
    with passable_directory() as directory:
        bouncer = PgBouncer(program, directory, server_url)
        yield bouncer
        bouncer.stop()


@pytest.fixture
def bridge(database: str) -> Iterator[RustBridge]:
    """The bridge to the test's database."""
    bridge = RustBridge(database)
    yield bridge
    bridge.close()


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """An autocommit connection to the test's database, to look behind the scenes; rows are dictionaries."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def worker_process(database: str, bridge: RustBridge, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start `python -m currant worker`: `worker_process(["orders"], "examples.simple_example", VARIABLE="value")`.

    Upper-case keywords are its environment; `options` are more arguments; `cwd` its directory (the checkout). It is
    returned when it has registered itself, unless `ready=False`. It is killed when the test ends, and its log printed.
    """
    started: list[WorkerProcess] = []

    def start(
        queues: list[str] | str,
        module: str,
        *,
        options: tuple[str, ...] = (),
        cwd: Path = CHECKOUT,
        ready: bool = True,
        **variables: str,
    ) -> WorkerProcess:
        lanes = [queues] if isinstance(queues, str) else queues
        environment = child_environment(database, **variables)
        worker = WorkerProcess(lanes, module, environment, tmp_path / f"worker-{len(started)}.log", list(options), cwd)
        started.append(worker)
        if ready:
            eventually(lambda: not worker.running or any(row["pid"] == worker.pid for row in bridge.workers()), 30)
            assert worker.running, f"the worker ended with {worker.process.returncode}:\n{worker.log}"
        return worker

    yield start
    for number, worker in enumerate(started):
        worker.kill()
        print(f"--- log of worker {number} (pid {worker.pid})\n{worker.log}")


@pytest.fixture
def local_worker(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., currant.Worker]:
    """A worker in the test's own process: `async with local_worker("orders", fn_1, fn_2, concurrency=1):`.

    Upper-case keywords are its settings, set until the test ends; heartbeats are quick. It serves only these functions.
    """

    def make(
        queues: list[str] | str,
        *functions: currant.Function[..., Any],
        concurrency: int | None = None,
        **variables: str,
    ) -> currant.Worker:
        for name, value in {**QUICK, **variables}.items():
            monkeypatch.setenv(name, value)
        lanes = [queues] if isinstance(queues, str) else queues
        return currant.Worker(lanes, concurrency, functions=functions)

    return make


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """What the functions of the test's workers noted (`support.note`), here and in worker processes."""
    ledger = Ledger(tmp_path / "ledger")
    monkeypatch.setenv("TEST_LEDGER", str(ledger.path))
    return ledger


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A directory where an embedded server may live. Not pytest's own: every session of pytest closes that to others."""
    with tempfile.TemporaryDirectory(prefix="currant-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def run_currant(database: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m currant ARGUMENTS...` on the test's database in a pipe; upper-case keywords are its variables."""

    def run(
        *arguments: str, cwd: Path = CHECKOUT, timeout: float = 60, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "currant", *arguments],
            env=child_environment(database, **variables),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def board(tmp_path: Path) -> Board:
    """Notes and gates shared with the functions that run in workers."""
    return Board(tmp_path / "board")


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Set the environment of the workers made in this process from now on; at first, that of quick ones."""

    def set_variables(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    set_variables(rhythm())
    return set_variables
