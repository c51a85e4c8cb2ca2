"""Workers in pods of Kubernetes: who they say they are, a container that restarts, a module that does not import."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.board import Board, Connection, row
from apps.takeover import held_up
from currant.rust_bridge import RustBridge
from support import WorkerProcess, eventually

StartWorker = Callable[..., WorkerProcess]
POD = {"WORKFLOWS_POOL": "shop/orders", "WORKFLOWS_POD_NAME": "orders-7", "WORKFLOWS_POD_UID": "uid-7"}
# Longer than this test's life: only the restart itself can tell that the worker is dead.
SLOW_TO_NOTICE = {"WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "600"}


def test_a_worker_says_in_which_pod_it_runs(
    worker_process: StartWorker, bridge: RustBridge, run_currant: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    worker_process("orders", "apps.takeover", options=("--name", "orders-7"), **POD)
    (worker,) = bridge.workers()
    assert (worker["pool"], worker["pod_name"], worker["pod_uid"]) == ("shop/orders", "orders-7", "uid-7")
    fleet = bridge.fleet([{"key": "shop/orders", "queues": ["orders"]}])
    (live,) = fleet["workers"]
    assert (live["name"], live["pool"], live["pod_uid"]) == ("orders-7", "shop/orders", "uid-7")
    assert "apps.takeover.held_up" in live["tasks"]
    assert fleet["pools"] == {"shop/orders": {"ready": 0, "due": 0, "running": 0, "oldest_ready_seconds": 0}}
    assert "shop/orders  orders-7" in run_currant("workers").stdout


@pytest.mark.usefixtures("set_environment")
async def test_a_container_that_restarts_takes_over_at_once_what_its_predecessor_ran(
    worker_process: StartWorker, db: Connection, board: Board, bridge: RustBridge
) -> None:
    dead = worker_process("orders", "apps.takeover", **POD, **SLOW_TO_NOTICE)
    run = await held_up.queue(board.path)
    eventually(lambda: board.notes == ["start gate 1"])
    dead.kill()
    board.open("gate")
    again = worker_process("orders", "apps.takeover", **POD, **SLOW_TO_NOTICE)
    assert await run.result(timeout=30) == 2
    assert row(db, run)["worker_losses"] == 1
    assert [worker["pid"] for worker in bridge.workers()] == [again.pid]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
        ("value = {}['missing']", "KeyError: 'missing'"),
        ("raise RuntimeError('several\\nlines')", "RuntimeError: several lines"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_module_that_fails_to_import_ends_the_worker_and_its_last_line_says_why(
    source: str, expected: str, tmp_path: Path, run_currant: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "shop_tasks.py").write_text(source)
    done = run_currant("worker", "-q", "q", "-m", "shop_tasks", cwd=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert done.returncode != 0
    assert "shop_tasks" in last
    assert expected in last


def test_a_module_that_is_not_there_ends_the_worker_and_its_last_line_says_so(
    run_currant: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_currant("worker", "-q", "q", "-m", "shop.not_there")
    assert done.returncode != 0
    assert "ModuleNotFoundError: no module shop.not_there" in done.stderr.splitlines()[-1]
