"""What the pods of these tests run: it is mounted from a ConfigMap, as a user may do with small modules."""

import asyncio
import os

from currant import task, workflow

POD = os.environ.get("WORKFLOWS_POD_NAME", "")


@task(retries=0)
async def work(number: int, seconds: float = 0.0) -> str:
    """Take this long; tells which pod did it. No retries: an attempt that is cut shows as a failure."""
    await asyncio.sleep(seconds)
    return POD


@workflow()
async def order(number: int, seconds: float = 0.0, steps: int = 2) -> list[str]:
    """So many steps, one after another; tells which pods did them."""
    return [await work.run(number, seconds) for _ in range(steps)]


@workflow()
async def limited(number: int, seconds: float = 0.0) -> str:
    """For a limit of its own."""
    return await work.run(number, seconds)


@workflow()
async def held(number: int) -> str:
    """For being suspended."""
    return await work.run(number)


@workflow()
async def ticking(number: int = 0) -> str:
    """For a schedule."""
    return await work.run(number)


@workflow()
async def contested(number: int) -> str:
    """For two owners."""
    return await work.run(number)
