"""Functions for test_queues.py."""

from __future__ import annotations

import asyncio

import currant
from apps.board import note
from currant import Retry, task


@task(queue="orders")
async def mark(board: str, name: str) -> str:
    """Leave its name."""
    note(board, name)
    return name


@task(queue="orders")
async def echo(number: int) -> int:
    """Give the number back."""
    return number


@task(queue="orders", retry=Retry(max_attempts=3, initial=0.05))
async def restless(board: str, number: int) -> int:
    """Now and then fail at the first attempt; take a moment."""
    if number % 3 == 0 and currant.current().attempt == 1:
        raise ConnectionError("not yet")
    await asyncio.sleep(0.01)
    note(board, str(number))
    return number
