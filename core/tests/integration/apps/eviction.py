"""Workflows for test_eviction.py. What they note is of this process: `EVENTS`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from currant import WorkflowSuspendException, send_signal, side_effect, sleep, task, wait_for_signal, workflow

EVENTS: list[str] = []


@task
async def double(number: int) -> int:
    return number * 2


@workflow(queue="q")
async def waiter(number: int) -> int:
    first = await double.run(number)
    await wait_for_signal("go", timeout=3600)
    return await double.run(first)


@workflow(queue="q")
async def woken_by_timer() -> int:
    await double.run(1)
    await sleep(1.5)
    return await double.run(2)


@task(queue="later")
async def from_another_worker(number: int) -> int:
    return number


@workflow(queue="q")
async def woken_by_child() -> int:
    return await from_another_worker.run(7)


@workflow(queue="q")
async def unwinds() -> str:
    """Everything that may happen while the exception passes through."""
    try:
        try:
            try:
                await wait_for_signal("go")
            except Exception:
                EVENTS.append("except Exception")
                raise
        except WorkflowSuspendException:
            EVENTS.append("suspended")
            raise
    finally:
        EVENTS.append("finally")
        for call in (lambda: double.run(1), lambda: sleep(0.01), lambda: wait_for_signal("more")):
            try:
                await call()
                EVENTS.append("went on")
            except WorkflowSuspendException:
                EVENTS.append("refused")
        try:
            side_effect(lambda: EVENTS.append("side effect"))
        except WorkflowSuspendException:
            EVENTS.append("refused")
    return "done"


async def ticks() -> AsyncIterator[int]:
    try:
        for number in range(100):
            yield number
            await wait_for_signal("tick")
    finally:
        EVENTS.append("generator closed")


@workflow(queue="q")
async def many_branches() -> list[Any]:
    async def branch(name: str) -> str:
        try:
            return str(await wait_for_signal(name))
        finally:
            EVENTS.append(name)

    async def listen() -> int:
        async for number in ticks():
            if number == 1:
                return number
        return -1

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch(name)) for name in ("a", "b")]
        ticker = group.create_task(listen())
    return [*(task.result() for task in tasks), ticker.result()]


@workflow(queue="q")
async def stubborn() -> str:
    """Catches what it should let pass, and waits for something else."""
    try:
        return str(await wait_for_signal("go"))
    except BaseException:
        for _ in range(1_000):
            try:
                await asyncio.Event().wait()
            except BaseException:
                EVENTS.append("caught")
        raise


@workflow(queue="q")
async def swallows(target: str) -> str:
    """Lets its main task return at the eviction: that result counts for nothing."""
    try:
        await wait_for_signal("go")
    except WorkflowSuspendException:
        return "swallowed"
    await send_signal(target, "go")
    return "heard"
