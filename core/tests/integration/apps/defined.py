"""Functions that definitions speak of."""

from __future__ import annotations

import os

from apps.board import note, passed
from currant import Retry, sleep, task, wait_for_signal, workflow


@task
async def touch(board: str, line: str) -> None:
    """A step that notes."""
    note(board, line)


@task
async def limited(board: str, number: int) -> int:
    """Notes when it begins and ends."""
    note(board, f"+ {os.getpid()} {number}")
    note(board, f"- {os.getpid()} {number}")
    return number


@workflow
async def limited_run(board: str, number: int) -> int:
    """Begins and ends by steps, with a wait between them."""
    await touch.run(board, f"+ {number}")
    await sleep(0.01)
    await touch.run(board, f"- {number}")
    return number


@task
async def held(board: str, gate: str) -> str:
    """Ends when the test opens the gate."""
    note(board, f"begins {gate}")
    await passed(board, gate)
    return gate


@workflow
async def waiting(board: str, name: str) -> str:
    """Waits for a signal."""
    await touch.run(board, f"waits {name}")
    return str(await wait_for_signal("go"))


@task(queue="coded", priority=3, timeout=33, retry=Retry(max_attempts=3, initial=3))
async def described(amount: int, currency: str = "EUR", *notes: str, **more: str) -> str:
    """Its decorator says everything."""
    return f"{amount} {currency}"


@task
async def plain(amount: int) -> int:
    """Its decorator says nothing."""
    return amount


@workflow(queue="runs")
async def caller() -> None:
    """Starts both as steps, and one detached."""
    await described.queue(7)
    await described.options(queue="given", priority=9).run(1)
    await plain.run(2)
    await described.run(3)
