"""Functions for the sweep through all that the SDK offers: types, threads, combinators, recorded time and chance."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
from pydantic import BaseModel

import currant
from currant import Retry, SignalTimeout, task, wait_for_signal, workflow


class Colour(Enum):
    RED = "red"


@dataclass
class Parcel:
    weight: Decimal
    colour: Colour
    tags: list[str]


class Label(msgspec.Struct):
    text: str
    printed: datetime


class Address(BaseModel):
    street: str
    since: date


@task(queue="contract")
async def same_types(
    parcel: Parcel, label: Label, address: Address, id: UUID, wait: timedelta, blob: bytes, price: Decimal
) -> tuple[Parcel, Label, Address, UUID, timedelta, bytes, Decimal]:
    assert isinstance(parcel, Parcel)
    assert isinstance(label, Label)
    assert isinstance(address, Address)
    return parcel, label, address, id, wait, blob, price


@task(queue="contract")
async def who() -> list[Any]:
    me = currant.current()
    return [me.id, me.attempt, me.workflow_id, me.queue, me.cancelled]


@task(queue="contract")
def in_a_thread() -> list[Any]:
    me = currant.current()
    return [threading.current_thread() is threading.main_thread(), me.id, me.attempt]


@task  # no queue of its own
async def where() -> str:
    return currant.current().queue


@task(queue="contract", retry=Retry(max_attempts=4, initial=0.01, multiplier=1, jitter=0))
async def third_time(counts: bool = True) -> int:
    attempt = currant.current().attempt
    if attempt < 3:
        raise ConnectionError("not yet")
    return attempt


@task(queue="contract", retry=Retry(max_attempts=4, initial=0.01, non_retryable=(LookupError,)))
async def never_again() -> None:
    raise KeyError("a KeyError is a LookupError")


@task(queue="contract")
async def number(value: int, seconds: float = 0) -> int:
    await asyncio.sleep(seconds)
    return value


@workflow(queue="contract", version=2, timeout=600)
async def queues_of_steps() -> list[str]:
    return [await where.run(), await where.options(queue="other").run(), (await who.run())[3]]


@workflow(queue="contract")
async def knows_its_task() -> list[Any]:
    return await who.run()


@workflow(queue="contract")
async def combinators() -> dict[str, Any]:
    """Every asyncio tool that may be used in a workflow, with steps in it."""
    found: dict[str, Any] = {"gather": await asyncio.gather(number.run(1), number.run(2))}
    done, pending = await asyncio.wait(
        [asyncio.create_task(number.run(1)), asyncio.create_task(number.run(2, 60))],
        return_when=asyncio.FIRST_COMPLETED,
    )
    found["wait"] = [each.result() for each in done]
    for each in pending:
        each.cancel()
    try:
        await asyncio.wait_for(number.run(1, 60), 0.05)
    except TimeoutError:
        found["wait_for"] = "timeout"
    try:
        async with asyncio.timeout(0.05):
            await asyncio.sleep(60)
    except TimeoutError:
        found["timeout"] = "timeout"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(number.run(n)) for n in range(3)]
    found["task_group"] = [each.result() for each in tasks]
    found["as_completed"] = sorted([await each for each in asyncio.as_completed([number.run(5), number.run(6)])])
    found.update(await queue_event_and_lock())
    return found


async def queue_event_and_lock() -> dict[str, Any]:
    letters: asyncio.Queue[int] = asyncio.Queue()
    ready, lock = asyncio.Event(), asyncio.Lock()

    async def producer() -> None:
        async with lock:
            await letters.put(await number.run(7))
            ready.set()

    producing = asyncio.create_task(producer())
    await ready.wait()
    await producing
    return {"queue": await letters.get(), "locked": lock.locked()}


@workflow(queue="contract")
async def time_and_chance() -> list[Any]:
    """What is recorded or derived is the same before and behind a wait in which the run is evicted from memory."""
    first = [currant.now(), currant.uuid4(), currant.random(), currant.side_effect(lambda: id(object()))]
    replaying = [currant.is_replaying()]
    version = currant.get_version("change", 1, 2)
    await wait_for_signal("go")
    return [str(value) for value in first] + [replaying, currant.is_replaying(), version]


@workflow(queue="contract")
async def waits_for_nobody() -> str:
    try:
        await wait_for_signal("approved", timeout=0.05)
    except SignalTimeout as error:
        return f"{isinstance(error, TimeoutError)}"
    return "signal"


@workflow(queue="contract")
async def starts_others() -> list[str]:
    """A detached execution, a keyed one twice, verbs on them, and a catch of a failed step."""
    detached = await number.queue(1)
    keyed = [str(await number.options(idempotency_key="k").queue(2)) for _ in range(2)]
    result = await detached.result()
    try:
        await never_again.run()
    except currant.ExecutionFailed as error:
        kind = error.type
    return [str(detached), *keyed, f"{result}", await detached.status(), kind]


@workflow(queue="contract")
async def breaks_the_rules(which: str) -> str:
    """Each is refused where it is written, with a message that says what to do instead; gives the message."""
    try:
        if which == "queue_sync":
            number.queue_sync(1)
        elif which == "connection":
            await number.options(connection=object()).queue(1)
        elif which == "result_sync":
            currant.get_handle("00000000-0000-7000-8000-000000000001").result_sync()
        elif which == "send_signal_sync":
            currant.send_signal_sync("00000000-0000-7000-8000-000000000001", "x")
    except currant.CurrantError as error:
        return str(error)
    return "nothing was refused"
