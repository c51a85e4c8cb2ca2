"""The command line on a real database, in a pipe."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from currant.cli.output import parse_time, seconds_between
from currant.rust_bridge import RustBridge
from support import CHECKOUT, WorkerProcess, child_environment, eventually

NOBODY = "00000000-0000-7000-8000-000000000001"
TRIP = "examples.saga.book_trip"
EXPENSE = "examples.signal_example.approve_expense"

Run = Callable[..., subprocess.CompletedProcess[str]]
StartWorker = Callable[..., WorkerProcess]


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, text: str) -> None:
    """It ended with this code, and said one line on standard error that holds this text."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
    assert done.stderr.startswith("error: ")
    assert text in done.stderr


@pytest.fixture
def trips(worker_process: StartWorker) -> WorkerProcess:
    """A worker of the trips queue."""
    return worker_process("trips", "examples.saga")


def test_migrate_makes_the_schema_and_may_be_repeated(empty_database: str, run_currant: Run) -> None:
    for _ in range(2):
        done = run_currant("migrate", WORKFLOWS_DATABASE_URL=empty_database)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(
            r"the schema is at version \d+: (nothing to do|\d+ of its functions were created anew)\n", done.stdout
        )


def test_migrate_says_that_a_newer_release_s_functions_stay(
    database: str, db: psycopg.Connection[dict[str, Any]], run_currant: Run
) -> None:
    db.execute("update currant.schema_info set functions_release = '99.1.0', functions_digest = 'x'")
    done = run_currant("migrate", WORKFLOWS_DATABASE_URL=database)
    assert (done.returncode, done.stderr) == (0, "")
    assert "its functions are those of Currant 99.1.0, which is newer than this one" in done.stdout


@pytest.mark.parametrize(
    "command", [["list"], ["queues"], ["workers"], ["status", NOBODY], ["cancel", NOBODY]], ids=" ".join
)
def test_a_database_without_the_schema_is_one_line_that_says_what_to_run(
    command: list[str], empty_database: str, run_currant: Run
) -> None:
    done = run_currant(*command, WORKFLOWS_DATABASE_URL=empty_database)
    assert_one_line(done, 1, "currant migrate")


@pytest.mark.parametrize(
    "command",
    [["status", NOBODY], ["show", NOBODY], ["cancel", NOBODY], ["retry", NOBODY], ["signal", NOBODY, "go"]],
    ids=" ".join,
)
def test_an_execution_that_is_not_there_is_one_line_and_exit_code_1(command: list[str], run_currant: Run) -> None:
    assert_one_line(run_currant(*command), 1, NOBODY)


def test_queue_prints_the_id_and_with_wait_the_result(run_currant: Run, trips: WorkerProcess) -> None:
    done = run_currant("queue", TRIP, '["t-1", "Rome"]', "--wait")
    assert done.returncode == 0
    assert json.loads(done.stdout) == ["flight-t-1", "hotel-t-1", "car-t-1"]
    id = done.stderr.strip()
    status = run_currant("status", id)
    assert (status.returncode, status.stdout) == (0, "completed\n")


def test_a_failed_run_is_exit_code_1_and_one_line(run_currant: Run, trips: WorkerProcess) -> None:
    done = run_currant("queue", TRIP, '{"trip_id": "t-2", "city": "Atlantis"}', "--wait")
    assert (done.returncode, done.stdout) == (1, "")
    id, error = done.stderr.splitlines()
    assert "no car in Atlantis" in error
    status = run_currant("status", id)
    assert (status.returncode, status.stdout) == (1, "failed\n")
    assert "no car in Atlantis" in status.stderr


def test_a_wait_that_takes_too_long_is_exit_code_1_and_the_run_goes_on(run_currant: Run) -> None:
    done = run_currant("queue", TRIP, '["t-3", "Rome"]', "--wait", "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (1, "")
    id, error = done.stderr.splitlines()
    assert "has not ended within 0.2 s" in error
    assert run_currant("status", id).stdout == "pending\n"


def test_a_function_of_a_module_that_cannot_be_imported_here_is_found_with_m(run_currant: Run, tmp_path: Path) -> None:
    (tmp_path / "odd_names.py").write_text(
        "from currant import task\n@task(name='tidy-up')\nasync def tidy() -> None: ...\n"
    )
    assert_one_line(run_currant("queue", "tidy-up", cwd=tmp_path), 1, "no task or workflow tidy-up")
    done = run_currant("queue", "tidy-up", "-m", "odd_names", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run_currant("status", done.stdout.strip()).stdout == "pending\n"


def test_queue_takes_the_options_of_a_call(run_currant: Run) -> None:
    options = {
        "--queue": "elsewhere",
        "--priority": "9",
        "--delay": "1h",
        "--retries": "2",
        "--run-timeout": "1m30s",
        "--idempotency-key": "trip-1",
    }
    words = [word for pair in options.items() for word in pair]
    done = run_currant("queue", TRIP, '["t-1", "Rome"]', *words)
    assert done.returncode == 0, done.stderr
    id = done.stdout.strip()
    row = RustBridge.get_execution(id)
    kept = ("queue", "priority", "max_attempts", "timeout", "state")
    assert [row[name] for name in kept] == ["elsewhere", 9, 3, 90, "pending"]
    assert (seconds_between(row["created_at"], row["run_at"]) or 0) == pytest.approx(3600, abs=60)
    assert run_currant("queue", TRIP, '["t-1", "Rome"]', "--idempotency-key", "trip-1").stdout.strip() == id
    later = run_currant("queue", TRIP, '["t-2", "Rome"]', "--run-at", "2999-01-31T10:00:00+01:00").stdout.strip()
    assert parse_time(RustBridge.get_execution(later)["run_at"]) == parse_time("2999-01-31T09:00:00Z")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--priority", "11"), "priority must be from 0 to 10, not 11"),
        (("--delay", "1h", "--run-at", "2999-01-31T10:00:00Z"), "give delay or run_at, not both"),
        (("-q", ""), "queue must have 1 to 200 characters, not 0"),
        (("--delay", "1 hour"), "--delay: write a duration such as 30s, 5m, 1h30m or 7d, not '1 hour'"),
        (("--run-at", "tomorrow"), "--run-at: write a time such as 2026-01-31T10:00:00+01:00, not 'tomorrow'"),
        (("--run-at", "2999-01-31T10:00:00"), "run_at needs a time zone: 2999-01-31T10:00:00 could be meant in any"),
    ],
)
def test_an_option_of_a_call_that_cannot_be_meant_is_one_line(
    options: tuple[str, ...], said: str, run_currant: Run
) -> None:
    assert_one_line(run_currant("queue", TRIP, '["t-1", "Rome"]', *options), 2, said)


def test_show_prints_the_run_as_a_tree_with_steps_attempts_and_errors(run_currant: Run, trips: WorkerProcess) -> None:
    id = run_currant("queue", TRIP, '["t-4", "Atlantis"]', "--wait").stderr.splitlines()[0]
    done = run_currant("show", id)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{TRIP}  failed  ")
    steps = [line.split()[1:3] for line in lines if line.startswith("  [")]
    assert steps == [
        ["examples.saga.book", "completed"],
        ["examples.saga.book", "completed"],
        ["examples.saga.book", "failed"],
        ["examples.saga.cancel_booking", "completed"],
        ["examples.saga.cancel_booking", "completed"],
    ]
    assert "no car in Atlantis" in done.stdout
    tree = json.loads(run_currant("show", id, "--json").stdout)
    assert len(tree["executions"]) == 6
    assert (tree["steps"], tree["signals"]) == ([], [])


def test_list_shows_newest_first_and_filters(run_currant: Run) -> None:
    ids = [run_currant("queue", TRIP, f'["t-{n}", "Rome"]').stdout.strip() for n in range(3)]
    other = run_currant("queue", EXPENSE, '["e-1", 5]').stdout.strip()
    everything = json.loads(run_currant("list", "--json").stdout)
    assert [row["id"] for row in everything] == [other, *reversed(ids)]
    wanted = {"id", "function", "queue", "state", "attempt", "created_at", "started_at", "finished_at"}
    assert wanted <= everything[0].keys()

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in json.loads(run_currant("list", "--json", *options).stdout)]

    assert listed("--queue", "trips", "--limit", "2") == [ids[2], ids[1]]
    assert listed("--function", EXPENSE) == [other]
    assert listed("--state", "completed") == []
    assert listed("--held") == []
    lines = run_currant("list", "-q", "approvals").stdout.splitlines()
    assert lines[0].split() == ["id", "function", "queue", "state", "attempt", "created", "took"]
    assert lines[1].split()[:5] == [other, EXPENSE, "approvals", "pending", "0"]


@pytest.mark.parametrize("command", [["list", "-q", "no-such-queue"], ["queues", "no-such-queue"]], ids=" ".join)
def test_an_unknown_queue_is_said_with_those_that_exist(command: list[str], run_currant: Run) -> None:
    run_currant("queue", TRIP, '["t-1", "Rome"]')
    assert_one_line(run_currant(*command), 1, "no queue no-such-queue")
    assert "there are trips" in run_currant(*command).stderr


def test_queues_and_workers_show_who_serves_what(run_currant: Run, trips: WorkerProcess) -> None:
    run_currant("queue", EXPENSE, '["e-1", 5]')
    rows = {row["queue"]: row for row in json.loads(run_currant("queues", "--json").stdout)}
    assert (rows["approvals"]["ready"], rows["approvals"]["workers"]) == (1, 0)
    assert (rows["trips"]["ready"], rows["trips"]["workers"]) == (0, 1)
    assert run_currant("queues", "approvals").stdout.splitlines()[1].split()[:2] == ["approvals", "1"]
    worker = json.loads(run_currant("workers", "--json").stdout)
    assert [(row["pid"], row["state"], row["queues"]) for row in worker] == [(trips.pid, "alive", ["trips"])]
    assert str(trips.pid) in run_currant("workers").stdout


def test_signal_reaches_a_waiting_run_and_a_finished_one_refuses_it(
    run_currant: Run, worker_process: StartWorker
) -> None:
    worker_process("approvals", "examples.signal_example")
    id = run_currant("queue", EXPENSE, '["e-1", 90000]').stdout.strip()
    sent = run_currant("signal", id, "approval", '{"approved": true, "by": "ann"}')
    assert (sent.returncode, sent.stdout) == (0, f"signal approval sent to {id}\n")
    eventually(lambda: RustBridge.get_execution(id)["state"] == "completed")
    assert_one_line(run_currant("signal", id, "approval"), 1, id)


def test_cancel_ends_a_run_and_retry_runs_it_again(run_currant: Run, worker_process: StartWorker) -> None:
    id = run_currant("queue", TRIP, '["t-1", "Rome"]').stdout.strip()
    assert run_currant("cancel", id).returncode == 0
    eventually(lambda: RustBridge.get_execution(id)["state"] == "cancelled")
    assert_one_line(run_currant("cancel", id), 1, id)
    assert run_currant("retry", id).returncode == 0
    worker_process("trips", "examples.saga")
    eventually(lambda: RustBridge.get_execution(id)["state"] == "completed")
    assert_one_line(run_currant("retry", id), 1, id)


def test_force_ends_a_run_that_nobody_works_on(run_currant: Run) -> None:
    id = run_currant("queue", TRIP, '["t-1", "Rome"]').stdout.strip()
    assert run_currant("cancel", id, "--force").returncode == 0
    assert run_currant("status", id).stdout == "cancelled\n"


def test_a_worker_without_anything_to_run_says_so(run_currant: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing_here.py").write_text("")
    done = run_currant("worker", "-q", "trips", "-m", "nothing_here", cwd=tmp_path)
    assert_one_line(done, 2, "no task or workflow is registered")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WORKFLOWS_WORKER_POLL_INTERVAL", "often"), ("WORKFLOWS_LOG_LEVEL", "LOUD"), ("WORKFLOWS_DEFAULT_RETRIES", "-1")],
)
def test_a_setting_that_cannot_be_used_is_one_line_that_names_it(variable: str, value: str, run_currant: Run) -> None:
    done = run_currant("worker", "-q", "trips", "-m", "examples.saga", **{variable: value})
    assert_one_line(done, 2, variable)


def test_a_worker_ends_at_sigterm_with_exit_code_0(trips: WorkerProcess) -> None:
    trips.terminate()
    assert trips.wait() == 0
    assert "Traceback" not in trips.log


class Dev:
    """A `currant dev` that a test started."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        environment = child_environment("")
        del environment["WORKFLOWS_DATABASE_URL"]
        self.log_path = directory / f"dev-{len(list(directory.glob('dev-*')))}.log"
        with self.log_path.open("wb") as log:
            command = [sys.executable, "-u", "-m", "currant", "dev", *arguments]
            self.process = subprocess.Popen(command, env=environment, cwd=directory, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def url(self) -> str:
        """The URL that it prints."""

        def printed() -> str | None:
            assert self.process.poll() is None, self.log
            found = re.search(r"export WORKFLOWS_DATABASE_URL=(\S+)\n", self.log)
            return found and found[1]

        return eventually(printed) or ""

    def interrupt(self) -> int:
        """Ctrl-C; give the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def start_dev(server_directory: Path) -> Iterator[Callable[..., Dev]]:
    """Start `currant dev` in the test's directory."""
    started: list[Dev] = []

    def start(*arguments: str) -> Dev:
        started.append(Dev(server_directory, *arguments))
        return started[-1]

    yield start
    for dev in started:
        if dev.process.poll() is None:
            dev.interrupt()
        print(dev.log)


def test_dev_runs_what_its_modules_register_and_goes_on_where_it_stopped(
    start_dev: Callable[..., Dev], run_currant: Run
) -> None:
    dev = start_dev("-m", "examples.saga")
    url = dev.url()
    done = run_currant("queue", TRIP, '["t-1", "Rome"]', "--wait", WORKFLOWS_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert dev.interrupt() in (0, 130)
    assert "Traceback" not in dev.log
    assert_one_line(run_currant("list", WORKFLOWS_DATABASE_URL=url), 1, "")

    again = start_dev()
    assert again.url() == url
    rows: list[dict[str, Any]] = json.loads(run_currant("list", "--roots", "--json", WORKFLOWS_DATABASE_URL=url).stdout)
    assert [row["id"] for row in rows] == [done.stderr.strip()]
    assert again.interrupt() in (0, 130)


@pytest.mark.parametrize("arguments", [(), ("-m", "examples.saga")], ids=["without a worker", "with a worker"])
def test_dev_whose_terminal_is_closed_leaves_no_server(
    start_dev: Callable[..., Dev], run_currant: Run, arguments: tuple[str, ...]
) -> None:
    dev = start_dev(*arguments)
    url = dev.url()
    dev.process.send_signal(signal.SIGHUP)
    assert dev.process.wait(30) in (0, 130)
    assert_one_line(run_currant("list", WORKFLOWS_DATABASE_URL=url), 1, "cannot be reached")


def test_a_second_dev_in_one_directory_is_one_line(start_dev: Callable[..., Dev]) -> None:
    first = start_dev()
    url = first.url()
    second = start_dev()
    assert second.process.wait(30) == 1
    assert second.log.count("\n") == 1
    assert f"in use by process {first.process.pid}" in second.log
    assert url in second.log


def test_python_m_currant_and_the_script_are_the_same() -> None:
    script = Path(sys.executable).with_name("currant")
    outputs = [
        subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, env=dict(os.environ)).stdout
        for command in ([sys.executable, "-m", "currant", "--help"], [script, "--help"])
    ]
    assert outputs[0] == outputs[1]
    assert "Usage: currant" in outputs[0]


def test_ended_runs_of_a_queue_stay_as_long_as_it_says(run_currant: Run) -> None:
    assert run_currant("retention", "set", "letters", "7d").stdout == "ended runs of letters stay 7 d 0 h\n"
    assert json.loads(run_currant("retention", "list", "--json").stdout) == [
        {"queue": "letters", "retention": 604800.0}
    ]
    assert "letters" in run_currant("retention", "list").stdout
    assert run_currant("retention", "unset", "letters").returncode == 0
    assert json.loads(run_currant("retention", "list", "--json").stdout) == []
    refused = run_currant("retention", "set", "letters", "a week")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "write a duration such as 30s, 5m, 1h30m or 7d, not 'a week'" in refused.stderr
    assert run_currant("retention", "set", "letters", "0s").returncode != 0
