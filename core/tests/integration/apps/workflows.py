"""Workflows for test_workflows.py: combinators, children, failures, values, retries."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from currant import ExecutionFailed, Retry, send_signal, sleep, task, wait_for_signal, workflow
from support import note


@task(retries=0)
async def double(number: int) -> int:
    return number * 2


@task(retries=0)
async def noted(text: str) -> str:
    note(text)
    return text


@task(retries=0)
async def after(seconds: float, value: str) -> str:
    await asyncio.sleep(seconds)
    return value


@task(retries=0)
async def broken(text: str) -> None:
    raise KeyError(text)


@task(retries=0)
async def flaky(text: str) -> str:
    """Fails while the file named by BROKEN exists."""
    note(text)
    if os.path.exists(os.environ["BROKEN"]):
        raise ConnectionError("the shop is closed")
    return text


@task(retries=0)
async def mends_itself(text: str) -> str:
    """Fails, and removes the file named by BROKEN, which makes it fail, so that the next run of it goes well."""
    note(text)
    broken = Path(os.environ["BROKEN"])
    if broken.exists():
        broken.unlink()
        raise ConnectionError("the shop is closed")
    return text


@workflow(queue="q")
async def sequence(start: int) -> list[int]:
    numbers = [start]
    for _ in range(5):
        numbers.append(await double.run(numbers[-1]))
    return numbers


@workflow(queue="q")
async def gathered() -> list[Any]:
    steps = double.run(1), double.run(2), broken.run("gone"), double.run(3)
    return [getattr(one, "type", one) for one in await asyncio.gather(*steps, return_exceptions=True)]


@workflow(queue="q")
async def first_completed() -> list[str]:
    slow = asyncio.create_task(wait_for_signal("never"))
    done, pending = await asyncio.wait({asyncio.ensure_future(double.run(4)), slow}, return_when="FIRST_COMPLETED")
    slow.cancel()
    return [str(len(done)), str(len(pending)), str(done.pop().result())]


@workflow(queue="q")
async def in_group() -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double.run(number)) for number in range(4)]
    return [task.result() for task in tasks]


@workflow(queue="q")
async def broken_group() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(broken.run("gone"))
            group.create_task(sleep(3600))
    except ExceptionGroup as group_of:
        return ", ".join(f"{type(error).__name__} {error.type}" for error in group_of.exceptions)
    return "no failure"


@workflow(queue="q")
async def as_they_come() -> list[str]:
    steps = [after.run(seconds, value) for seconds, value in ((0.6, "last"), (0.0, "first"), (0.3, "second"))]
    return [await step for step in asyncio.as_completed(steps)]


@workflow(queue="q")
async def timed() -> list[str]:
    seen = []
    try:
        await asyncio.wait_for(wait_for_signal("never"), 0.05)
    except TimeoutError as error:
        seen.append(type(error).__name__)
    try:
        async with asyncio.timeout(0.05):
            await after.run(3600, "never")
    except TimeoutError as error:
        seen.append(type(error).__name__)
    seen.append(await asyncio.wait_for(after.run(0, "in time"), 3600))
    return seen


@workflow(queue="q")
async def queued_inside() -> list[int]:
    """asyncio's own Queue, Event and Lock between branches."""
    numbers: asyncio.Queue[int] = asyncio.Queue()
    ready, lock, results = asyncio.Event(), asyncio.Lock(), []

    async def consume() -> None:
        await ready.wait()
        while True:
            number = await numbers.get()
            async with lock:
                results.append(await double.run(number))
            numbers.task_done()

    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    for number in range(6):
        numbers.put_nowait(number)
    ready.set()
    await numbers.join()
    for consumer in consumers:
        consumer.cancel()
    return sorted(results)


# Failures


@workflow(queue="q")
async def catches() -> dict[str, Any]:
    try:
        await broken.run("gone")
    except ExecutionFailed as error:
        return {"id": error.id, "type": error.type, "message": error.message, "in": "broken" in error.traceback}
    return {}


@workflow(queue="q")
async def child_that_fails() -> None:
    await double.run(1)
    raise LookupError("no such order")


@workflow(queue="q")
async def child_that_lets_through() -> None:
    await broken.run("gone")


@workflow(queue="q")
async def parent_that_waits(deep: bool) -> None:
    await (child_that_lets_through.run() if deep else child_that_fails.run())


@workflow(queue="q")
async def parent_that_catches() -> list[str]:
    kinds = []
    for child in (child_that_fails, child_that_lets_through):
        try:
            await child.run()
        except ExecutionFailed as error:
            kinds.append(error.type)
    return kinds


@workflow(queue="q")
async def reads_a_socket() -> str:
    try:
        await asyncio.open_connection("127.0.0.1", 1)
    except Exception as error:
        return str(error)
    return ""


# Fan-out


@workflow(queue="branches")
async def branch(number: int, width: int) -> int:
    leaf = double.options(queue="leaves")
    return sum(await asyncio.gather(*(leaf.run(number * width + place) for place in range(width))))


@workflow(queue="roots")
async def root(branches: int, width: int) -> list[int]:
    return await asyncio.gather(*(branch.run(number, width) for number in range(branches)))


# Values


@dataclass
class Order:
    id: UUID
    total: Decimal
    made: datetime
    scan: bytes


@task
async def taxed(order: Order) -> Order:
    assert isinstance(order.total, Decimal)
    assert isinstance(order.scan, bytes)
    return Order(order.id, order.total * Decimal("1.19"), order.made, order.scan + b"\x00\xff")


@task
async def anything() -> Any:
    return {"pair": (1, 2)}


@task
async def undeclared() -> Any:
    return {"when": datetime(2026, 1, 1, tzinfo=UTC)}


SHARED: list[int] = []


@task
async def shared_list() -> list[int]:
    return SHARED


@workflow(queue="q")
async def values(order: Order) -> list[str]:
    """What the workflow sees of its steps' results, before and after it was evicted from memory."""
    back = await taxed.run(order)
    plain = await anything.run()
    try:
        plain["when"] = await undeclared.run()
    except ExecutionFailed as error:
        plain["when"] = error
    mine = await shared_list.run()
    mine.append(1)
    await wait_for_signal("go")
    seen = [type(value).__name__ for value in (back, back.id, back.total, back.made, back.scan)]
    return [*seen, str(back.total), back.scan.hex(), type(plain["pair"]).__name__, plain["when"].type, str(mine)]


# Retries


@workflow(queue="q", retry=Retry(max_attempts=2, initial=0.01))
async def twice(name: str) -> str:
    """Its first attempt fails behind a step and a signal, with a child workflow outstanding."""
    child = asyncio.create_task(waits_for_ever.run())
    number = await noted.run(f"{name} step")
    await wait_for_signal("go")
    await mends_itself.run(f"{name} flaky")
    return number if not child.done() else "the child ended"


@workflow(queue="q")
async def waits_for_ever() -> None:
    await wait_for_signal("never")


@workflow(queue="q")
async def purchase(name: str) -> list[str]:
    first = await noted.run(f"{name} 1")
    second = await flaky.run(f"{name} 2")
    return [first, second, await noted.run(f"{name} 3")]


@workflow(queue="q")
async def mixed(target: str) -> list[Any]:
    """Its failure is the first outcome; those of the other steps come later, and then it fails."""
    steps = flaky.run("flaky"), wait_for_signal("go"), send_signal(target, "hello", 1), sleep(1), noted.run("mixed")
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


@workflow(queue="q")
async def outer(name: str) -> list[str]:
    return [await noted.run(f"{name} 0"), *await purchase.run(name)]


@workflow(queue="q", retry=Retry(max_attempts=3, initial=0.01))
async def fails_when_cancelled() -> None:
    note("started")
    try:
        await wait_for_signal("never")
    finally:
        raise ValueError("the clean-up broke")
