"""Workflows for test_detached.py."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import currant
from currant import (
    ExecutionCancelled,
    ExecutionFailed,
    Handle,
    get_handle,
    send_signal,
    task,
    wait_for_signal,
    workflow,
)
from support import note


@task(queue="side")
async def side(name: str) -> str:
    note(f"side {name}")
    return f"done {name}"


@task(queue="side", retries=0)
async def broken() -> None:
    raise LookupError("nothing there")


@task
async def step(name: str) -> str:
    note(f"step {name}")
    return name


@workflow(queue="side")
async def listens() -> Any:
    return await wait_for_signal("go")


@task
async def stops_here() -> str:
    """Kills its worker the first time."""
    if currant.current().attempt == 1:
        os.kill(os.getpid(), 9)
    return "survived"


@workflow(queue="q")
async def starts_and_dies() -> list[str]:
    """Its worker dies behind a detached, a keyed and a batch enqueue."""
    one = await side.queue("one")
    keyed = await side.options(idempotency_key="k").queue("keyed")
    many = await side.queue_many([("many 1",), {"name": "many 2"}])
    await stops_here.run()
    ids = [str(handle) for handle in (one, keyed, *many)]
    return [*ids, *(await asyncio.gather(*(handle.result() for handle in (one, keyed, *many))))]


@workflow(queue="q")
async def starts(name: str) -> str:
    return str(await side.queue(name))


@workflow(queue="q")
async def starts_and_is_cancelled() -> str:
    handle = await listens.queue()
    note(str(handle))
    return str(await wait_for_signal("never"))


@workflow(queue="q")
async def keyed(key: str) -> list[str]:
    handles = [await side.options(idempotency_key=key).queue(f"{key} {number}") for number in range(2)]
    return [str(handle) for handle in handles]


@workflow(queue="q")
async def verbs() -> list[Any]:
    """Everything that a handle can do, in a workflow."""
    seen: list[Any] = []
    heard, unheard = await listens.queue(), await listens.queue()
    await send_signal(heard, "go", "hello")
    seen.append(await heard.result())
    seen.append(await heard.status())
    await unheard.cancel()
    try:
        await unheard.result()
    except ExecutionCancelled as error:
        seen.append(type(error).__name__)
    try:
        await (await broken.queue()).result()
    except ExecutionFailed as error:
        seen.append([error.type, error.message])
    again: Handle[Any] = get_handle(str(heard))
    seen.append(await again.result())
    try:
        async with asyncio.timeout(0.1):
            await (await listens.queue()).result()
    except TimeoutError:
        seen.append("timeout")
    for lost in ("status", "result", "cancel"):
        try:
            await getattr(get_handle("01900000-0000-7000-8000-000000000001"), lost)()
        except currant.NotFound:
            seen.append(f"no {lost}")
    return seen


@workflow(queue="q")
async def forces() -> str:
    handle = await stays.queue()
    while await handle.status() != "running" or not await step.run("looked"):
        await currant.sleep(0.05)
    await wait_for_signal("ready")
    await handle.cancel(force=True)
    return await handle.status()


@workflow(queue="side")
async def stays() -> str:
    try:
        return str(await wait_for_signal("never"))
    except asyncio.CancelledError:
        await wait_for_signal("never again")
        raise


@workflow(queue="q")
async def refused() -> list[str]:
    """What would block the workflow, or could not be done again."""
    seen = []
    handle = get_handle("01900000-0000-7000-8000-000000000001")
    for verb in (
        lambda: side.queue_sync("x"),
        lambda: side.queue_many_sync([("x",)]),
        lambda: side.options(connection=object()).queue("x"),
        lambda: side.options(connection=object()).queue_many([("x",)]),
        lambda: currant.send_signal_sync(handle, "go"),
        handle.result_sync,
        handle.status_sync,
        handle.cancel_sync,
    ):
        try:
            verb()
        except currant.CurrantError as error:
            seen.append(str(error))
    return seen
