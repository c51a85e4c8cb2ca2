"""The code that the pods of these tests run. A ConfigMap mounts it, as a user may do with small modules."""

import asyncio
import os
import time

from currant import current, task, workflow

POD = os.environ.get("WORKFLOWS_POD_NAME", "")


@task(retries=0)
async def work(number: int, seconds: float = 0.0) -> str:
    """Take this many seconds; returns the name of the pod. No retries: an attempt that is cut short shows as a failure."""
    await asyncio.sleep(seconds)
    return POD


@workflow()
async def order(number: int, seconds: float = 0.0, steps: int = 2) -> list[str]:
    """Run this many steps in sequence; returns the names of their pods."""
    return [await work.run(number, seconds) for _ in range(steps)]


@workflow()
async def limited(number: int, seconds: float = 0.0) -> str:
    """A workflow with a limit of its own."""
    return await work.run(number, seconds)


@workflow()
async def suspendable(number: int) -> str:
    """A workflow that a test suspends."""
    return await work.run(number)


@workflow()
async def ticking(number: int = 0) -> str:
    """A workflow with a schedule."""
    return await work.run(number)


@workflow()
async def contested(number: int) -> str:
    """A workflow that two Workflows claim."""
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
    """The same as `work` under another name, because a scaler learns how long each function takes."""
    await asyncio.sleep(seconds)
    return POD


@task(retries=3)
async def hungry(number: int, megabytes: int = 400, seconds: float = 0.0) -> str:
    """Take more memory than the pod may have, the first time; then take this many seconds. Returns the name of the pod."""
    if current().attempt == 1:
        ballast = bytearray(megabytes * 1024 * 1024)
        ballast[::4096] = b"x" * len(ballast[::4096])
        return str(len(ballast))
    await asyncio.sleep(seconds)
    return POD
