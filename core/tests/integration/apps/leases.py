"""Functions for test_leases.py."""

from __future__ import annotations

import asyncio

import currant
from apps.board import note, passed
from currant import task, workflow


@task(queue="orders")
async def held_up(board: str, gate: str = "gate") -> int:
    """Wait for the gate, whatever comes, and give the number of the attempt."""
    attempt = currant.current().attempt
    note(board, f"start {attempt}")
    try:
        await passed(board, gate)
    except asyncio.CancelledError:
        note(board, f"cancelled {attempt}")
        raise
    note(board, f"end {attempt}")
    return attempt


@task
async def double(number: int) -> int:
    """A short step."""
    return 2 * number


@workflow(queue="orders")
async def waits(board: str) -> int:
    """A step that waits for the gate, then another."""
    return await double.run(await held_up.run(board))


@workflow(queue="orders")
async def sums(number: int) -> int:
    """Three steps, two of them at once."""
    one, two = await asyncio.gather(double.run(number), double.run(number + 1))
    return await double.run(one + two)
