"""Workflows for test_timers.py."""

from __future__ import annotations

import asyncio

import currant
from currant import sleep, task, wait_for_signal, workflow


@task
async def ping() -> str:
    return "pong"


@workflow(queue="q")
async def sleeper(seconds: float) -> float:
    """How long it slept, by its own clock."""
    begin = currant.now()
    await sleep(seconds)
    return (currant.now() - begin).total_seconds()


@workflow(queue="q")
async def in_order() -> list[str]:
    woken: list[str] = []

    async def nap(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        woken.append(name)

    await asyncio.gather(nap(0.3, "third"), nap(0.1, "first"), nap(0.2, "second"))
    return woken


@workflow(queue="q")
async def long_then_short() -> str:
    """Given up: a timer that is far away keeps nobody waiting."""
    far = asyncio.create_task(sleep(86_400))
    await sleep(0.05)
    far.cancel()
    await wait_for_signal("go")
    return "done"
