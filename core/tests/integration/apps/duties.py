"""A little of everything that a worker does for a workflow, to be run under a role of least privilege."""

from __future__ import annotations

import currant
from apps.board import passed
from currant import Retry, get_version, side_effect, sleep, task, wait_for_signal, workflow


@task(queue="duties", retry=Retry(max_attempts=2, initial=0.01))
async def count(number: int) -> int:
    if currant.current().attempt == 1:
        raise ValueError("once more")
    return number + 1


@task(queue="duties")
async def tick() -> None: ...


@task(queue="duties")
async def wait_for(board: str, gate: str) -> str:
    await passed(board, gate)
    return gate


@workflow(queue="duties")
async def below(number: int) -> int:
    return await count.run(number)


@workflow(queue="duties")
async def listen() -> str:
    return await wait_for_signal("word", type=str)


@workflow(queue="duties")
async def everything(listener: str) -> list[int]:
    """Steps, a child workflow, a timer, a detached start, and the verbs that workflows have."""
    get_version("since", 1, 2)
    first = side_effect(lambda: 1)
    second = await below.run(first)
    await sleep(0.01)
    await currant.send_signal(listener, "word", "from a workflow")
    said = await currant.get_handle(listener).result()
    await tick.queue()
    await tick.options(idempotency_key="once").queue()
    return [first, second, len(said)]
