"""Small functions that the tests of clients, transactions and idempotency enqueue."""

from __future__ import annotations

import asyncio

import currant
from currant import task, wait_for_signal, workflow


@task(queue="letters")
async def write(text: str, copies: int = 1) -> str:
    return text * copies


@task(queue="letters", retries=0)
async def tear(reason: str) -> str:
    raise ValueError(reason)


@task(queue="letters", timeout=60)
async def linger(seconds: float) -> None:
    await asyncio.sleep(seconds)


@task(queue="letters")
def file_away(text: str) -> str:
    return f"filed {text} for attempt {currant.current().attempt}"


@workflow(queue="letters")
async def correspond(text: str) -> str:
    """Waits for an answer before it writes."""
    answer = await wait_for_signal("answer", type=str)
    return await write.run(f"{text}: {answer}")
