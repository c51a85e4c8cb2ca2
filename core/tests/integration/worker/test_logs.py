"""Logs of a worker: an object a line that names its execution; an outage is told once, not a thousand times."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps import observed
from currant.rust_bridge import RustBridge
from servers import Gate, free_port
from support import WorkerProcess, eventually

StartWorker = Callable[..., WorkerProcess]


def lines(worker: WorkerProcess) -> list[dict[str, Any]]:
    """What it has logged, all of it JSON."""
    return [json.loads(line) for line in worker.log.splitlines()]


def about(worker: WorkerProcess, message: str) -> dict[str, Any]:
    """The line with that message."""

    def found() -> dict[str, Any] | None:
        return next((line for line in lines(worker) if line["message"] == message), None)

    line = eventually(found)
    assert line is not None
    return line


@pytest.fixture
def worker(worker_process: StartWorker) -> WorkerProcess:
    """A worker that logs JSON."""
    return worker_process("seen", "apps.observed", WORKFLOWS_LOG_FORMAT="json")


def test_every_line_is_an_object_with_time_level_and_logger(worker: WorkerProcess) -> None:
    for line in eventually(lambda: lines(worker)):
        assert line.keys() >= {"time", "level", "logger", "message"}


@pytest.mark.parametrize(("function", "message"), [(observed.double, "doubling 4"), (observed.halve, "halving 4")])
def test_what_a_task_logs_names_its_execution(worker: WorkerProcess, function: Any, message: str) -> None:
    handle = function.queue_sync(4)
    line = about(worker, message)
    assert (line["execution_id"], line["attempt"], line["queue"]) == (str(handle), 1, "seen")
    assert (line["level"], line["logger"]) == ("info", "apps.observed")
    assert "workflow_id" not in line


def test_what_workflow_and_steps_log_names_the_run(worker: WorkerProcess) -> None:
    run = str(observed.both.queue_sync(4))
    line = about(worker, "both of 4")
    assert (line["execution_id"], line["queue"], line["function"]) == (run, "seen", "apps.observed.both")
    assert about(worker, "halving 8")["workflow_id"] == run


def test_a_failure_names_its_execution(worker: WorkerProcess) -> None:
    id = str(observed.fail.queue_sync())
    line = about(worker, f"apps.observed.fail {id} attempt 1 failed: ValueError: as it should")
    assert (line["execution_id"], line["attempt"], line["queue"], line["level"]) == (id, 1, "seen", "warning")
    assert line["function"] == "apps.observed.fail"


def failed_tries(port: int) -> int:
    """How often the worker has failed to reach its database."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    name = 'currant_worker_database_errors_total{reason="unavailable"}'
    return int(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))


@pytest.fixture
def gate(database: str) -> Iterator[Gate]:
    """The worker's way to the database."""
    gate = Gate(database)
    yield gate
    gate.shut()


def test_an_outage_is_told_once_and_once_when_it_is_over(
    worker_process: StartWorker, gate: Gate, bridge: RustBridge
) -> None:
    port = free_port()
    # A schedule that is due all the time: it cannot be fired meanwhile.
    schedule = {"name": "often", "cron": "* * * * * *"}
    definition = {"function": "apps.observed.double", "owner": "test", "schedules": [schedule]}
    assert bridge.apply_definitions([definition])[0]["status"] == "applied"
    worker = worker_process(
        "seen",
        "apps.observed",
        WORKFLOWS_DATABASE_URL=gate.url,
        WORKFLOWS_HTTP_PORT=str(port),
        WORKFLOWS_LOG_FORMAT="json",
    )
    gate.shut()
    eventually(lambda: failed_tries(port) >= 6)
    gate.open()
    handle = observed.both.queue_sync(4)
    assert handle.result_sync(timeout=30) == 4
    warnings = [line["message"] for line in lines(worker) if line["level"] in ("warning", "error")]
    told = [message for message in warnings if "failed: TypeError" not in message]  # the schedule gives no arguments
    assert len(told) == 2, told
    assert "the worker waits and goes on by itself" in told[0]
    assert "the database answers again" in told[1]
    assert "Traceback" not in worker.log


def test_a_format_that_is_not_known_is_refused(run_currant: Callable[..., Any]) -> None:
    done = run_currant("worker", "-q", "seen", "-m", "apps.observed", WORKFLOWS_LOG_FORMAT="xml")
    assert done.returncode == 2
    assert "WORKFLOWS_LOG_FORMAT cannot be 'xml': write one of text, json" in done.stderr
