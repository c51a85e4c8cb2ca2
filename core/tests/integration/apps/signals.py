"""Workflows for test_signals.py."""

from __future__ import annotations

import asyncio
from typing import Any

from currant import SignalTimeout, current, send_signal, sleep, task, wait_for_signal, workflow


@workflow(queue="q")
async def collect(name: str, count: int) -> list[Any]:
    """The next `count` signals of that name."""
    return [await wait_for_signal(name) for _ in range(count)]


@workflow(queue="q")
async def two_lines(count: int) -> list[list[Any]]:
    """Signals of two names, waited for in turn."""
    lines: list[list[Any]] = [[], []]
    for _ in range(count):
        lines[0].append(await wait_for_signal("left"))
        lines[1].append(await wait_for_signal("right"))
    return lines


@workflow(queue="q")
async def waits_at_once(count: int) -> list[Any]:
    return await asyncio.gather(*(wait_for_signal("go") for _ in range(count)))


@workflow(queue="q")
async def late(delay: float) -> Any:
    await sleep(delay)
    return await wait_for_signal("go")


@workflow(queue="q")
async def impatient(seconds: float) -> list[Any]:
    """A wait that may end without its signal, and one that takes what is left."""
    try:
        return ["signal", await wait_for_signal("go", timeout=seconds), None]
    except SignalTimeout as error:
        assert isinstance(error, TimeoutError)
        return ["timeout", None, await wait_for_signal("go")]


@workflow(queue="q")
async def gives_up() -> Any:
    """The signal that a wait which was given up would have got goes to the next one."""
    waits = [asyncio.create_task(wait_for_signal("go")) for _ in range(2)]
    await wait_for_signal("choose")
    waits[0].cancel()
    return await waits[1]


@task(retries=0)
async def answer(value: Any) -> None:
    workflow_id = current().workflow_id
    assert workflow_id is not None
    await send_signal(workflow_id, "answer", value)


@task(retries=0)
def answer_from_a_thread(value: Any) -> None:
    from currant import send_signal_sync

    workflow_id = current().workflow_id
    assert workflow_id is not None
    send_signal_sync(workflow_id, "answer", value)


@workflow(queue="q")
async def asks() -> list[Any]:
    tasks = [asyncio.create_task(answer.run("async"))]
    first = await wait_for_signal("answer")
    tasks.append(asyncio.create_task(answer_from_a_thread.run("thread")))
    second = await wait_for_signal("answer")
    await asyncio.gather(*tasks)
    return [first, second]


@workflow(queue="senders")
async def tells(target: str, count: int) -> int:
    for number in range(count):
        await send_signal(target, "go", number)
    return count


@workflow(queue="q")
async def tells_nobody(target: str) -> str:
    try:
        await send_signal(target, "go")
    except Exception as error:
        return type(error).__name__
    return "sent"


@workflow(queue="q")
async def typed() -> int:
    number: int = await wait_for_signal("number", type=int)
    return number + 1
