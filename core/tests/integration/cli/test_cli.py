"""The command line as a contract: commands, `--json` of every read, exit codes, a terminal and a pipe."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from apps import letters
from currant.rust_bridge import RustBridge
from support import CHECKOUT, WorkerProcess, child_environment, eventually
from terminals import on_a_terminal

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = [
    "migrate",
    "worker",
    "dev",
    "queue",
    "status",
    "show",
    "list",
    "cancel",
    "retry",
    "signal",
    "queues",
    "workers",
    "schedules",
    "bench",
]
EXECUTION = {"id", "function", "queue", "state", "attempt", "created_at", "started_at", "finished_at"}


@pytest.fixture
def currant_json(run_currant: Run) -> Callable[..., Any]:
    """Run a read with `--json`; give what it says."""

    def run(*arguments: str, code: int = 0) -> Any:
        done = run_currant(*arguments, "--json")
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.count("\n") == 1  # one line in a pipe
        return json.loads(done.stdout)

    return run


@pytest.fixture
def worker(worker_process: Callable[..., WorkerProcess]) -> WorkerProcess:
    """A worker of the queue `letters`."""
    return worker_process("letters", "apps.letters", options=("--concurrency", "7", "--name", "postman"))


def test_every_command_is_there_and_explains_itself(run_currant: Run) -> None:
    overview = run_currant("--help")
    assert (overview.returncode, overview.stderr) == (0, "")
    assert [name for name in COMMANDS if f"\n  {name} " not in overview.stdout] == []
    for name in ("worker", "queue"):  # the others are made in the same way
        assert run_currant(name, "-h").stdout.startswith(f"Usage: currant {name} ")
    assert run_currant("--version").stdout.startswith("currant")


def test_reads_as_json_have_the_names_of_the_contract(currant_json: Callable[..., Any], worker: WorkerProcess) -> None:
    handle = letters.correspond.queue_sync("dear")
    failed = letters.tear.queue_sync("bad paper")
    eventually(lambda: failed.status_sync() == "failed")
    eventually(lambda: RustBridge.show(str(handle))["steps"])
    listed = {row["id"]: row for row in currant_json("list")}
    assert listed.keys() == {str(handle), str(failed)}
    assert all(row.keys() >= EXECUTION for row in listed.values())
    assert datetime.fromisoformat(listed[str(failed)]["finished_at"]).tzinfo is not None
    error = listed[str(failed)]["error"]
    assert (error["type"], error["message"], listed[str(handle)]["error"]) == ("ValueError", "bad paper", None)
    assert currant_json("status", str(failed), code=1) == listed[str(failed)]
    shown = currant_json("show", str(handle))
    assert [row["id"] for row in shown["executions"]] == [str(handle)]
    assert [(row["kind"], row["name"], row["state"]) for row in shown["steps"]] == [("signal", "answer", "waiting")]
    (queue,) = currant_json("queues", "letters")
    assert queue.keys() >= {
        "queue",
        "ready",
        "delayed",
        "running",
        "suspended",
        "held",
        "oldest_ready_seconds",
        "workers",
    }
    (mine,) = currant_json("workers")
    assert (mine["name"], mine["concurrency"], mine["queues"], mine["pid"]) == ("postman", 7, ["letters"], worker.pid)


def test_reads_of_an_empty_database_are_empty_and_exit_code_0(
    currant_json: Callable[..., Any], run_currant: Run
) -> None:
    assert [currant_json(name) for name in ("list", "queues", "workers", "schedules")] == [[]] * 4
    assert run_currant("list").returncode == 0


def test_a_run_through_all_the_writes(run_currant: Run, worker: WorkerProcess) -> None:
    def ok(*arguments: str) -> str:
        done = run_currant(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert json.loads(ok("queue", "apps.letters.write", '{"text": "a", "copies": 3}', "--wait")) == "aaa"
    assert json.loads(ok("queue", "apps.letters.write", '{"args": ["a"], "kwargs": {"copies": 2}}', "--wait")) == "aa"
    id = ok("queue", "write", '["ü"]', "-m", "apps.letters")
    eventually(lambda: ok("status", id) == "completed")
    run = ok("queue", "apps.letters.correspond", '["dear"]')
    ok("signal", run, "answer", '"yes"')
    eventually(lambda: ok("status", run) == "completed")
    assert '"dear: yes"' in ok("show", run) or "dear: yes" in ok("show", run)
    other = ok("queue", "apps.letters.correspond", '["dear"]')
    ok("cancel", other)
    eventually(lambda: RustBridge.get_execution(other)["state"] == "cancelled")
    ok("retry", other)
    eventually(lambda: RustBridge.get_execution(other)["state"] in ("running", "suspended"))
    ok("cancel", other, "--force")
    assert ok("status", other) == "cancelled"


def test_a_pipe_gets_plain_text_and_a_terminal_gets_colour(database: str, run_currant: Run) -> None:
    letters.write.queue_sync("x")
    assert "\x1b[" not in run_currant("list").stdout
    environment = {**child_environment(database), "TERM": "xterm-256color", "COLUMNS": "200"}
    code, listed = on_a_terminal(["list"], environment)
    assert (code, "\x1b[" in listed) == (0, True)
    code, queues = on_a_terminal(["queues"], environment)
    assert (code, "ready" in queues) == (0, True)


def test_ctrl_c_while_waiting_is_silent_and_the_run_goes_on(database: str) -> None:
    command = [sys.executable, "-m", "currant", "queue", "apps.letters.write", '["x"]', "--wait"]
    with subprocess.Popen(
        command,
        env=child_environment(database),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        id = process.stderr.readline().strip()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in rest) == (130, False)
    assert RustBridge.get_execution(id)["state"] == "pending"


def test_a_reader_that_goes_away_gets_no_traceback(database: str) -> None:
    letters.write.queue_many_sync([(str(n),) for n in range(2_000)])
    command = f"{sys.executable} -m currant list --limit 2000 | head -n 1"
    environment = child_environment(database)
    done = subprocess.run(
        command, shell=True, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("id ")
    assert done.stderr == ""


def test_a_worker_that_is_told_twice_to_stop_stops_now(worker: WorkerProcess) -> None:
    handle = letters.linger.queue_sync(600)
    eventually(lambda: handle.status_sync() == "running")
    worker.terminate()
    eventually(lambda: "drains" in worker.log)
    worker.terminate()
    assert worker.wait() == 0
    assert handle.status_sync() == "pending"  # handed back, at no cost
    assert RustBridge.get_execution(str(handle))["attempt"] == 0
    assert "Traceback" not in worker.log
