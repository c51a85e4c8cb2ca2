"""Functions for test_retries.py."""

from __future__ import annotations

import time

import currant
from apps.board import note
from currant import ExecutionFailed, Retry, task, workflow


class CardDeclined(Exception):
    """An error that another try does not fix."""


class CardExpired(CardDeclined):
    """A kind of it."""


@task(queue="orders")
async def flaky(board: str, failures: int) -> int:
    """Fail so many times, then give the number of the attempt."""
    attempt = currant.current().attempt
    note(board, f"{attempt} {time.time()}")
    if attempt <= failures:
        raise ConnectionError(f"attempt {attempt}")
    return attempt


@task(queue="orders")
async def quick() -> str:
    """Something else to do."""
    return "done"


@task(queue="orders", retry=Retry(max_attempts=5, initial=0.01, non_retryable=(CardDeclined, "LookupError")))
async def pay(board: str, how: str) -> None:
    """Fail in the way that is named."""
    note(board, how)
    raise {"declined": CardDeclined, "expired": CardExpired, "key": KeyError, "network": ConnectionError}[how](how)


@workflow(queue="orders")
async def paying(board: str, how: str) -> list[str]:
    """Hears how its payment failed."""
    try:
        await pay.run(board, how)
    except ExecutionFailed as error:
        return [error.type.rpartition(".")[2], error.message]
    return []


@workflow(queue="orders")
async def persistent(board: str, failures: int) -> int:
    """Waits for a step that fails at first."""
    return await flaky.options(retry=Retry(max_attempts=3, initial=0.01)).run(board, failures)


@workflow(queue="orders")
async def faulty(board: str) -> None:
    """Raises at once."""
    note(board, "faulty")
    raise ValueError("a fault in the workflow itself")
