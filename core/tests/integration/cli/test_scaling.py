"""What a pool is sized by, as real workers tell it; how they make way; what stands on the work of a pod that ended."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from apps.board import Board, Connection, row
from apps.takeover import held_up, patient
from currant.rust_bridge import RustBridge
from support import WorkerProcess, eventually

StartWorker = Callable[..., WorkerProcess]
Run = Callable[..., subprocess.CompletedProcess[str]]
POD = {"WORKFLOWS_POOL": "shop/orders", "WORKFLOWS_POD_NAME": "orders-7", "WORKFLOWS_POD_UID": "uid-7"}
# Longer than these tests' lives: what happens here is told, not noticed.
SLOW = {"WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "600"}
POOL = [{"key": "shop/orders", "queues": ["orders"], "horizon": 30}]


def of_pod(bridge: RustBridge, uid: str = "uid-7") -> dict[str, Any]:
    return next(worker for worker in bridge.scaling(POOL)["workers"] if worker["pod_uid"] == uid)


@pytest.mark.usefixtures("set_environment")
async def test_a_worker_that_is_asked_to_drain_finishes_what_it_has_takes_nothing_and_goes_on_when_asked(
    worker_process: StartWorker, db: Connection, board: Board, bridge: RustBridge
) -> None:
    worker_process("orders", "apps.takeover", **POD, **SLOW)
    running, asleep = await held_up.queue(board.path), await patient.queue(board.path)
    eventually(lambda: sorted(board.notes) == ["asleep", "start gate 1"])
    bridge.ask_to_drain(["uid-7"], True)
    eventually(lambda: of_pod(bridge)["draining"])
    late = await held_up.queue(board.path)
    # The workflow that waits is evicted from memory, not waited for; the task is left to run.
    eventually(lambda: row(db, asleep)["state"] == "suspended")
    assert of_pod(bridge)["running"] == 1
    board.open("gate")
    assert await running.result(timeout=30) == 1
    eventually(lambda: of_pod(bridge)["running"] == 0)
    assert row(db, late)["state"] == "pending"
    bridge.ask_to_drain(["uid-7"], False)
    assert await late.result(timeout=30) == 1
    assert not of_pod(bridge)["draining"]


@pytest.mark.usefixtures("set_environment")
async def test_what_ran_in_a_pod_that_was_killed_for_its_memory_is_taken_over_at_once_and_says_so(
    worker_process: StartWorker, board: Board, bridge: RustBridge, run_currant: Run
) -> None:
    dead = worker_process("orders", "apps.takeover", **POD, **SLOW)
    run = await held_up.queue(board.path)
    eventually(lambda: board.notes == ["start gate 1"])
    dead.kill()
    bridge.end_pods([("uid-7", "OOMKilled")])
    assert "worker pod OOMKilled: orders-7" in run_currant("show", str(run)).stdout
    board.open("gate")
    worker_process("orders", "apps.takeover", **{**POD, "WORKFLOWS_POD_UID": "uid-8"}, **SLOW)
    assert await run.result(timeout=30) == 2


@pytest.mark.usefixtures("set_environment")
async def test_the_command_line_explains_what_a_pool_should_be(
    worker_process: StartWorker, board: Board, run_currant: Run
) -> None:
    await held_up.queue_many([(board.path,)] * 8)
    nobody = run_currant("scale", "explain", "shop/orders")
    assert nobody.returncode == 2
    assert "name its queues with -q" in nobody.stderr
    asked = run_currant("scale", "explain", "shop/orders", "-q", "orders", "--set", "concurrency=2")
    assert asked.returncode == 0, asked.stderr
    assert "shop/orders: 0 pods are there, 4 should take work" in asked.stdout
    assert "8 executions ready to start (8 slots to start them within 30 s); a pod has 2 slots" in asked.stdout
    worker_process("orders", "apps.takeover", options=("--concurrency", "4"), **POD, **SLOW)
    eventually(lambda: len(board.notes) == 4)
    there = run_currant("scale", "explain", "shop/orders").stdout
    assert "shop/orders: 1 pods are there" in there
    assert "4 attempts running" in there
    assert "apps.takeover.held_up" in there


@pytest.mark.usefixtures("set_environment")
def test_the_command_line_explains_a_pool_whose_worker_has_not_said_its_concurrency(
    db: Connection, run_currant: Run
) -> None:
    db.execute(
        "insert into currant.workers (id, name, queues, pool, pod_uid)"
        " values (gen_random_uuid(), 'orders-7', array['orders'], 'shop/orders', 'uid-7')"
    )
    db.execute("select currant.enqueue('f', '{}', '{\"queue\": \"orders\"}')")
    told = run_currant("scale", "explain", "shop/orders")
    assert told.returncode == 0, told.stderr
    assert "shop/orders: 1 pods are there" in told.stdout
    assert "a pod has 100 slots" in told.stdout, "the default"


@pytest.mark.usefixtures("set_environment")
async def test_who_waits_for_work_is_told_of_an_enqueue_from_anywhere_and_is_no_worker(
    board: Board, bridge: RustBridge, database: str, db: Connection
) -> None:
    assert bridge.wait_for_work(["orders"], 0.0) is False
    with ThreadPoolExecutor(1) as thread, closing(RustBridge(database)) as other:

        def waiting() -> Future[bool]:
            found = thread.submit(other.wait_for_work, ["orders", "mail"], 600.0)
            eventually(lambda: count_asleep(db) == 1)
            return found

        first = waiting()
        assert bridge.workers() == []
        run = await held_up.queue(board.path)
        assert first.result(timeout=60)
        assert count_asleep(db) == 0
        assert thread.submit(other.wait_for_work, ["orders"], 600.0).result(timeout=60), "it is there already"
        await run.cancel()

        second = waiting()
        db.execute("select currant.enqueue('f', '{}', '{\"queue\": \"mail\"}')")
        assert second.result(timeout=60)
        db.execute("delete from currant.executions")

        third = waiting()
        other.close()
        assert third.result(timeout=60) is False


def count_asleep(db: Connection) -> int:
    found = db.execute(
        "select count(*) as number from currant.workers where sleep_until > clock_timestamp()"
    ).fetchone()
    return int(found["number"]) if found else 0
