"""What runs through PgBouncer: a workflow with every kind of step."""

from __future__ import annotations

import asyncio

from currant import sleep, task, wait_for_signal, workflow


@task(queue="pooled")
async def double(number: int) -> int:
    return number * 2


@workflow(queue="pooled")
async def everything(number: int) -> list[int]:
    """Steps at once, a timer, a signal, and a step after them."""
    pair = await asyncio.gather(double.run(number), double.run(number + 1))
    await sleep(0.1)
    more = await wait_for_signal("more", timeout=60, type=int)
    return [*pair, await double.run(more)]
