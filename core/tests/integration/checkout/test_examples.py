"""Every example does what it says, on a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from currant import ExecutionFailed, send_signal
from currant.embedded import stop_left_behind
from currant.rust_bridge import RustBridge
from examples import fan_out, saga, signal_example, simple_example, timers
from examples.data.make_orders import PATH, make_csv
from support import CHECKOUT, WorkerProcess, child_environment

StartWorker = Callable[..., WorkerProcess]
A_DAY = 86_400.0


def steps_of(id: str) -> list[tuple[str, str]]:
    """The function and the state of each step, in the order they were made."""
    rows = [row for row in RustBridge.show(id)["executions"] if row["parent_id"] == id]
    return [
        (row["function"].rpartition(".")[2], row["state"]) for row in sorted(rows, key=lambda row: row["created_at"])
    ]


def test_the_two_terminal_flow_of_simple_example_and_enqueue_example(
    worker_process: StartWorker, database: str
) -> None:
    worker_process(["orders", "notifications"], "examples.simple_example")
    script = [sys.executable, "examples/enqueue_example.py"]
    done = subprocess.run(
        script, cwd=CHECKOUT, env=child_environment(database), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    enqueued, result = done.stdout.splitlines()
    assert enqueued.startswith("enqueued ")
    assert result == "result   {'order_id': 'order-1', 'payment_id': 'pay-order-1', 'notified': True}"


async def test_a_step_without_a_queue_of_its_own_runs_in_the_queue_of_its_workflow(worker_process: StartWorker) -> None:
    worker_process(["orders", "notifications"], "examples.simple_example")
    handle = await simple_example.process_order.queue("o-1", "ann", 100)
    await handle.result(timeout=30)
    queues = {row["function"].rpartition(".")[2]: row["queue"] for row in RustBridge.show(str(handle))["executions"]}
    assert queues == {"process_order": "orders", "charge_card": "orders", "send_notification": "notifications"}


async def test_signal_example_pays_what_is_approved_and_refuses_the_rest(worker_process: StartWorker) -> None:
    worker_process("approvals", "examples.signal_example")
    small = await signal_example.approve_expense.queue("small", 5_000)
    approved = await signal_example.approve_expense.queue("approved", 90_000)
    refused = await signal_example.approve_expense.queue("refused", 90_000)
    silent = await signal_example.approve_expense.queue("silent", 90_000, wait_seconds=0.1)
    await send_signal(approved, "approval", {"approved": True, "by": "ann"})
    await send_signal(refused, "approval", {"approved": False, "by": "bob"})
    assert await small.result(timeout=30) == "paid 50.00 for small"
    assert await approved.result(timeout=30) == "paid 900.00 for approved"
    assert await refused.result(timeout=30) == "refused refused: bob said no"
    assert await silent.result(timeout=30) == "refused silent: nobody answered"


async def test_fan_out_totals_every_page_and_reports_those_that_fail(worker_process: StartWorker) -> None:
    worker_process("reports", "examples.fan_out")
    handle = await fan_out.build_report.queue(100)
    report = await handle.result(timeout=60)
    readable = [page for page in range(100) if page not in (39, 79)]
    assert report == fan_out.Report(pages=98, lines=980, cents=sum(readable) * 100, unreadable=[39, 79])


async def test_saga_undoes_what_is_booked_in_reverse_order_when_a_later_booking_fails(
    worker_process: StartWorker,
) -> None:
    worker_process("trips", "examples.saga")
    assert await (await saga.book_trip.queue("t-1", "Rome")).result(timeout=30) == [
        "flight-t-1",
        "hotel-t-1",
        "car-t-1",
    ]
    handle = await saga.book_trip.queue("t-2", "Atlantis")
    with pytest.raises(ExecutionFailed, match="no car in Atlantis"):
        await handle.result(timeout=30)
    made = steps_of(str(handle))
    assert made == [
        ("book", "completed"),
        ("book", "completed"),
        ("book", "failed"),
        ("cancel_booking", "completed"),
        ("cancel_booking", "completed"),
    ]
    undone = [
        row["args"]["args"]
        for row in sorted(RustBridge.show(str(handle))["executions"], key=lambda row: row["created_at"])
        if row["function"] == "examples.saga.cancel_booking"
    ]
    assert undone == [["hotel-t-2"], ["flight-t-2"]]


async def test_timers_mails_at_the_start_before_the_end_and_at_the_end(worker_process: StartWorker) -> None:
    worker_process("timers", "examples.timers")
    handle = await timers.trial_period.queue("ann", days=0.5 / A_DAY)
    sent = await handle.result(timeout=30)
    assert sent == ["welcome -> ann", "your trial ends soon -> ann", "your trial has ended -> ann"]


async def test_timers_gives_a_step_a_deadline(worker_process: StartWorker) -> None:
    worker_process("timers", "examples.timers")
    quick = await timers.import_or_apologise.queue("ann", 0.05, 30)
    slow = await timers.import_or_apologise.queue("bob", 60, 0.2)
    assert await quick.result(timeout=30) == "imported 42 rows"
    assert await slow.result(timeout=30) == "sorry, the import takes too long -> bob"


async def test_timers_reminds_beside_the_work(worker_process: StartWorker) -> None:
    worker_process("timers", "examples.timers")
    handle = await timers.remind_until_done.queue("ann", 1.0, 0.3)
    assert await handle.result(timeout=30) >= 1


async def test_transactional_enqueue_starts_a_workflow_for_each_row_and_none_without(
    worker_process: StartWorker, database: str, db: psycopg.Connection[dict[str, Any]]
) -> None:
    from examples.transactional_enqueue import app, lifespan

    worker_process("shop", "examples.transactional_enqueue")
    async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as http:
        accepted = await http.post("/orders", json={"order_id": "o-1", "cents": 4_200})
        assert accepted.status_code == 202
        again = await http.post("/orders", json={"order_id": "o-1", "cents": 4_200})
        assert again.status_code == 409
        async with asyncio.timeout(30):
            while (await http.get("/orders/o-1")).json()["state"] != "completed":
                await asyncio.sleep(0.05)
        assert (await http.get("/orders/o-2")).status_code == 404
    rows = db.execute("select id::text from currant.runs").fetchall()
    assert [row["id"] for row in rows] == [accepted.json()["execution_id"]]


def test_the_orders_are_those_that_their_script_makes() -> None:
    assert PATH.read_text(encoding="ascii") == make_csv()


def test_the_demo_accounts_for_every_order_though_a_worker_is_killed(server_directory: Path) -> None:
    directory = server_directory / "demo"
    command = [sys.executable, "-m", "examples.demo", "--orders", "300", "--directory", str(directory)]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=110, env=dict(os.environ))
    finally:
        stop_left_behind(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed worker demo-1" in done.stdout
    assert "the database and the ledger agree" in done.stdout
    lines = [json.loads(line) for line in (directory / "ledger.jsonl").read_text().splitlines()]
    assert len({line["order"] for line in lines}) == 300
