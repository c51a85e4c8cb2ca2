"""Orders of three steps. Every attempt of a step leaves a line in JOURNAL, so that what ran is known without the database."""

from __future__ import annotations

import asyncio
import os
import time

import currant
from currant import task, workflow

held = asyncio.Event()  # what `hold` waits for: each test has its own


def note(id: str) -> None:
    """One line: the execution and when its attempt began. One write each, so that lines of several workers do not mix."""
    descriptor = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{id} {time.time_ns()}\n".encode())
    finally:
        os.close(descriptor)


@task(queue="outage")
async def step(order: str, number: int) -> int:
    note(currant.current().id)
    await asyncio.sleep(0.01)
    return number


@task(queue="outage")
async def hold(number: int) -> int:
    await held.wait()
    return number


@workflow(queue="outage")
async def three_steps(order: str) -> list[int]:
    return [await step.run(order, number) for number in range(3)]


@workflow(queue="outage")
async def two_steps(number: int) -> list[int]:
    return [await hold.run(number), await step.run("second", 0)]


@workflow(queue="outage")
async def step_after_signal(order: str) -> list[int]:
    before = [await step.run(order, number) for number in range(2)]
    return [*before, await step.run(order, await currant.wait_for_signal("go on", type=int))]
