"""Functions for test_locks.py."""

from __future__ import annotations

import asyncio

import currant
from apps.board import note, passed
from currant import send_signal, task, wait_for_signal, workflow

QUEUE = "locks"


@task(queue=QUEUE, retries=5)
async def held_up(board: str, name: str) -> str:
    """Wait for the gate, then end."""
    note(board, f"start {name}")
    await passed(board, name)
    return name


@workflow(queue=QUEUE)
async def two_steps(board: str, first: str, second: str) -> list[str]:
    """Two steps, one after the other."""
    return [await held_up.run(board, first), await held_up.run(board, second)]


@workflow(queue=QUEUE)
async def leaves_one_behind(board: str) -> str:
    """Two steps at once, of which one is awaited; the other is cancelled when the run ends."""
    left = asyncio.create_task(held_up.run(board, "left"))
    await held_up.run(board, "awaited")
    return "done" if not left.done() else "late"


@workflow(queue=QUEUE)
async def listens() -> str:
    """Wait for one signal."""
    return str(await wait_for_signal("go"))


@workflow(queue=QUEUE)
async def sends(target: str) -> str:
    """Send one signal."""
    await send_signal(target, "go", "hello")
    return "sent"


@workflow(queue=QUEUE)
async def asks(target: str) -> str:
    """Give the result of another execution."""
    return str(await currant.get_handle(target).result())
