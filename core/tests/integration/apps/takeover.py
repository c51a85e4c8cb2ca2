"""Functions for test_takeover.py."""

from __future__ import annotations

import asyncio
import ctypes
import os

import currant
from apps.board import note, passed
from currant import ExecutionFailed, Retry, sleep, task, workflow

EAGER = Retry(max_attempts=3, initial=0.01, jitter=0)


@task(queue="orders", retry=EAGER)
async def held_up(board: str, gate: str = "gate") -> int:
    """Wait for the gate, and give the number of the attempt."""
    attempt = currant.current().attempt
    note(board, f"start {gate} {attempt}")
    await passed(board, gate)
    return attempt


@workflow(queue="orders")
async def two_gates(board: str) -> list[int]:
    """Two steps, each held up at a gate of its own."""
    return [await held_up.run(board, "one"), await held_up.run(board, "two")]


@workflow(queue="orders")
async def patient(board: str) -> str:
    """Sleep for a day."""
    note(board, "asleep")
    await sleep(86_400)
    return "awake"


@task(queue="orders", retry=EAGER)
def grip(board: str, seconds: float) -> int:
    """Keep the interpreter to itself: no other thread of Python runs meanwhile, and no signal is heard."""
    note(board, "grip")
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return currant.current().attempt


@task(queue="orders", retries=0, max_worker_losses=1)
async def killer(board: str) -> None:
    """Take the worker along."""
    note(board, f"killer {os.getpid()}")
    os._exit(7)


@workflow(queue="orders")
async def careful(board: str) -> str:
    """Goes on after a step that kills its workers."""
    try:
        await killer.run(board)
    except ExecutionFailed as error:
        return error.type
    return "it returned"


@task(queue="orders", retries=0)
async def final(board: str) -> int:
    """As `held_up`; its own failures would be final."""
    return await held_up.plain(board)


@workflow(queue="orders")
async def with_a_final_step(board: str) -> int:
    """One step without retries."""
    return await final.run(board)


@task(queue="orders", retries=0, max_worker_losses=0)
async def at_most_once(board: str) -> int:
    """As `held_up`, and never started twice."""
    return await held_up.plain(board)


@workflow(queue="orders")
async def with_a_step_at_most_once(board: str) -> str:
    """Goes on after a step whose worker was lost."""
    try:
        await at_most_once.run(board)
    except ExecutionFailed as error:
        return error.type
    return "it returned"


@workflow(queue="orders", max_worker_losses=0)
async def once(board: str) -> int:
    """Not taken over when its worker is lost."""
    return await held_up.run(board)


@task(queue="orders", retries=0, timeout=0.2)
async def too_slow() -> None:
    """Take longer than it may."""
    await asyncio.sleep(3600)


@task(queue="orders", retry=Retry(max_attempts=2, initial=0.01, jitter=0), timeout=0.5)
async def slow_at_first(board: str) -> int:
    """Take too long at the first attempt only."""
    attempt = currant.current().attempt
    if attempt == 1:
        await passed(board, "never")
    return attempt
