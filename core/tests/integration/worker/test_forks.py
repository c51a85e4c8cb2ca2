"""Processes that tasks start: their signals are their own, and none of them goes on as a worker (docs/use/workers.md)."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.board import Connection, row
from apps.forks import (
    comes_back_in_a_thread,
    comes_back_on_the_loop,
    ends_its_worker,
    in_a_thread,
    leaves_a_child,
    on_the_loop,
    plain,
)
from currant.decorators import Function
from support import WorkerProcess, without_uvloop

Start = Callable[..., WorkerProcess]

ENDS = {
    "fork": [-15, -15],
    "spawn": [-15, -15],
    "forkserver": [-15, -15],
    "pool, fork": [0, 2, 4, 6],
    "pool, spawn": [0, 2, 4, 6],
    "os.fork, SIGTERM": [-15, -15],
    "os.fork, SIGINT": [-2, -2],
    "command": [-15, -15],
    "command, preexec_fn": [-15, -15],
    "pending": [-1, 0, 1, 0],  # no wake-up descriptor, nothing blocked, the default handler
    "client": [36],
    "worker": [5],
}


@pytest.fixture(params=["uvloop", "asyncio"])
def worker(worker_process: Start, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that must go on, and then stops when it is told to."""
    variables = without_uvloop(tmp_path) if request.param == "asyncio" else {}
    worker = worker_process("orders", "apps.forks", PYTHONWARNINGS="ignore::DeprecationWarning", **variables)
    yield worker
    assert worker.running
    assert plain.queue_sync(7).result_sync(timeout=20) == 7
    assert " received" not in worker.log  # a signal
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.parametrize("function", [in_a_thread, on_the_loop])
def test_processes_of_tasks_end_by_their_signals_and_the_worker_goes_on(
    worker: WorkerProcess, db: Connection, function: Function[[str], list[Any]]
) -> None:
    for what, ends in ENDS.items():
        run = function.queue_sync(what)
        assert (what, run.result_sync(timeout=30)) == (what, ends)
        assert row(db, run)["lease"] == 1


@pytest.mark.parametrize("function", [comes_back_in_a_thread, comes_back_on_the_loop])
@pytest.mark.parametrize(("how", "code"), [("exits", 7), ("exits with text", 1), ("raises", 1), ("returns", 0)])
def test_a_forked_child_that_comes_back_ends_as_a_script_would_and_answers_nothing(
    worker: WorkerProcess, db: Connection, function: Function[[str, str], list[int]], how: str, code: int
) -> None:
    run = function.queue_sync(how, "")
    assert run.result_sync(timeout=20) == [code]
    assert row(db, run)["lease"] == 1
    if how == "raises":
        assert "ValueError: in the child" in worker.log


def test_a_task_that_ends_one_worker_after_the_other_by_a_signal_is_named(
    worker_process: Start, db: Connection
) -> None:
    run = ends_its_worker.queue_sync("")
    said = f"{ends_its_worker.name} {run} is handed back for the {{}}. time"
    for number in (1, 2, 3, 4):
        worker = worker_process("orders", "apps.forks", WORKFLOWS_WORKER_SHUTDOWN_GRACE="0.2")
        assert worker.wait(timeout=30) == 0
        assert (row(db, run)["state"], row(db, run)["attempt"]) == ("pending", 0)  # a roll-out would look the same
        assert (said.format(number) in worker.log) is (number >= 3)
        assert f"{ends_its_worker.name} {run} is handed back" in worker.log


def test_a_child_that_outlives_its_worker_does_not_keep_the_worker_s_port(worker_process: Start, port: int) -> None:
    variables = {"WORKFLOWS_HTTP_PORT": str(port)}
    worker = worker_process("orders", "apps.forks", **variables)
    child = leaves_a_child.queue_sync().result_sync(timeout=20)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200  # the worker itself goes on to serve it
        worker.kill()
        worker_process("orders", "apps.forks", **variables)
        assert plain.queue_sync(7).result_sync(timeout=20) == 7
    finally:
        os.kill(child, signal.SIGKILL)
