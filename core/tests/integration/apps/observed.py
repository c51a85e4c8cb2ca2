"""What the tests of metrics, logs and traces run."""

from __future__ import annotations

import logging

from currant import sleep, task, wait_for_signal, workflow

log = logging.getLogger("apps.observed")


@task(queue="seen", retries=0)
async def double(number: int) -> int:
    log.info("doubling %d", number)
    return 2 * number


@task(queue="seen", retries=0)
def halve(number: int) -> int:
    log.info("halving %d", number)
    return number // 2


@task(queue="seen", retries=0)
async def fail() -> None:
    raise ValueError("as it should")


@workflow(queue="seen")
async def both(number: int) -> int:
    log.info("both of %d", number)
    doubled = await double.run(number)
    await sleep(0.01)
    return await halve.run(doubled)


@workflow(queue="seen")
async def fails() -> None:
    await fail.run()


@workflow(queue="seen")
async def parent(number: int) -> int:
    return await both.run(number)


@workflow(queue="seen")
async def waits(number: int) -> int:
    doubled = await double.run(number)
    return doubled + int(await wait_for_signal("go", type=int))


@task(queue="seen", retries=0)
async def hands_on(number: int) -> str:
    return str(await both.queue(number))
