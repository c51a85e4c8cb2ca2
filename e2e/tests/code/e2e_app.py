"""What the pods of these tests run: it is mounted from a ConfigMap, as a user may do with small modules."""

import asyncio
import os
import time

from currant import current, task, workflow

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


def process_started() -> float:
    """When this process started, in seconds since 1970; to a hundredth of a second."""
    with open("/proc/self/stat", encoding="utf-8") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    with open("/proc/uptime", encoding="utf-8") as uptime:
        running = float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - running


@task(retries=0)
async def started(number: int) -> float:
    """When the worker's process started."""
    return process_started()


@task(retries=0)
async def lasts(number: int, seconds: float) -> str:
    """As work, by another name: a scaler learns how long each function takes."""
    await asyncio.sleep(seconds)
    return POD


@task(retries=3)
async def hungry(number: int, megabytes: int = 400, seconds: float = 0.0) -> str:
    """Takes more memory than its pod may have, the first time; then this long. Tells which pod did it."""
    if current().attempt == 1:
        ballast = bytearray(megabytes * 1024 * 1024)
        ballast[::4096] = b"x" * len(ballast[::4096])
        return str(len(ballast))
    await asyncio.sleep(seconds)
    return POD
