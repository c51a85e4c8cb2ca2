"""Functions for test_shutdown.py."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

import currant
from apps.board import note, passed, passed_sync
from currant import Retry, task, wait_for_signal, worker, workflow

if "STUCK" in os.environ:
    worker._STUCK = float(os.environ["STUCK"])  # seconds after the last time-out; ten are long for a test


@task(queue="orders")
async def held_up(board: str, gate: str = "gate") -> int:
    """Wait for the gate, and give the number of the attempt."""
    attempt = currant.current().attempt
    note(board, f"start {gate} {attempt}")
    await passed(board, gate)
    note(board, f"end {gate} {attempt}")
    return attempt


@task(queue="orders")
def held_up_in_a_thread(board: str, gate: str = "gate") -> int:
    """The same as a `def`."""
    attempt = currant.current().attempt
    note(board, f"start {gate} {attempt}")
    passed_sync(board, gate)
    return attempt


@task(queue="orders")
def endless(board: str) -> None:
    """Never return, and let nobody stop it."""
    note(board, f"endless {currant.current().attempt}")
    while True:
        time.sleep(60)


@task(queue="orders")
async def endless_elsewhere(board: str) -> None:
    """The same in a thread of the event loop's executor."""
    note(board, f"endless {currant.current().attempt}")
    await asyncio.to_thread(time.sleep, 600)


@task(queue="orders")
def endless_in_an_executor(board: str) -> None:
    """The same in a thread of an executor of its own."""
    note(board, f"endless {currant.current().attempt}")
    with ThreadPoolExecutor(1) as executor:
        executor.submit(time.sleep, 600).result()


@task(queue="orders", retries=0, timeout=0.3)
def overdue(board: str) -> None:
    """Return long after its time-out, when the gate opens."""
    note(board, "start overdue")
    passed_sync(board, "gate")
    note(board, f"end overdue, cancelled: {currant.current().cancelled}")


@task(queue="orders", retries=0, timeout=0.3)
async def deaf(board: str) -> str:
    """Catch its cancellation and go on until the gate opens."""
    note(board, "start deaf")
    while True:
        try:
            await passed(board, "gate")
            break
        except asyncio.CancelledError:
            note(board, "not cancelled")
    note(board, "end deaf")
    return "too late"


@task(queue="orders", retry=Retry(max_attempts=1), timeout=0.3)
def stuck(board: str) -> None:
    """Time out and never return."""
    note(board, "stuck")
    while True:
        time.sleep(60)


@workflow(queue="orders")
async def waiting(board: str) -> str:
    """A step, then a signal."""
    await held_up.run(board, "step")
    note(board, "waits")
    return await wait_for_signal("go")
