"""Workflows for test_cancel.py."""

from __future__ import annotations

import asyncio
from typing import Any

from currant import ExecutionCancelled, current, sleep, task, wait_for_signal, workflow
from support import note


@task(timeout=600)
async def endless(name: str) -> None:
    """Runs until it is cancelled, and notes that it was told."""
    note(f"{name} started")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note(f"{name} told {current().cancelled}")
        raise


@task(queue="nobody")
async def never_claimed() -> None:
    raise AssertionError("nobody serves this queue")


@task
async def noted(text: str) -> str:
    note(text)
    return text


@workflow(queue="q")
async def inner(name: str) -> None:
    await asyncio.gather(endless.run(name), never_claimed.run(), sleep(86_400), wait_for_signal("never"))


@workflow(queue="q")
async def tree() -> None:
    await asyncio.gather(inner.run("left"), inner.run("right"), never_claimed.run())


@workflow(queue="q")
async def cleans_up(name: str, seconds: float) -> None:
    try:
        await endless.run(name)
    except asyncio.CancelledError:
        await sleep(seconds)
        await noted.run(f"{name} refunded")
        await noted.run(f"{name} mailed")
        raise
    finally:
        note(f"{name} finally")


@workflow(queue="q")
async def with_a_side_branch() -> None:
    """Cleans up for as long as it likes; a branch of it waits for a step meanwhile."""
    branch = asyncio.create_task(endless.run("branch"))
    try:
        await wait_for_signal("never")
    except asyncio.CancelledError:
        await wait_for_signal("cleaned")
        try:
            await branch
        except ExecutionCancelled:
            pass
        raise


@workflow(queue="q", timeout=0.5)
async def too_long(name: str) -> None:
    try:
        await endless.run(name)
    except asyncio.CancelledError:
        await noted.run(f"{name} cleaned")
        raise


@workflow(queue="q", timeout=1)
async def too_long_asleep() -> None:
    await wait_for_signal("never")


@workflow(queue="q", timeout=0.3)
async def in_spite_of_it() -> str:
    try:
        await wait_for_signal("never")
    except asyncio.CancelledError:
        return "done all the same"
    return "signal"


@workflow(queue="q")
async def refuses() -> str:
    try:
        await wait_for_signal("never")
    except asyncio.CancelledError:
        pass
    return await noted.run("went on")


@workflow(queue="q")
async def watches() -> list[Any]:
    """Its child is cancelled by somebody else."""
    try:
        await inner.run("watched")
    except ExecutionCancelled as error:
        return [type(error).__name__, await noted.run("noticed")]
    return []


@workflow(queue="q")
async def waits() -> Any:
    return await wait_for_signal("go")
