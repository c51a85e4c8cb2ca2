"""Functions whose errors do what they like, for test_user_errors.py."""

from __future__ import annotations

import asyncio
import signal
import sys

from currant import sleep, task, workflow
from hostile_errors import HOSTILE


@task(queue="orders", retries=0)
async def raises(name: str) -> None:
    """Raise this error."""
    raise HOSTILE[name]()


@task(queue="orders", retries=0)
def raises_in_a_thread(name: str) -> None:
    """The same as a `def`."""
    raise HOSTILE[name]()


@task(queue="orders", retries=0)
async def raises_in_the_background(name: str) -> None:
    """The error ends the event loop, and reaches this task by the way of `gather` only then."""

    async def background() -> None:
        raise HOSTILE[name]()

    await asyncio.gather(background())


def _too_late(number: int, frame: object) -> None:
    raise TimeoutError("too late")


@task(queue="orders", retries=0)
async def leaves_the_loop(how: str) -> str:
    """End the event loop of the worker from a callback."""
    loop = asyncio.get_running_loop()
    if how == "alarm":
        signal.signal(signal.SIGALRM, _too_late)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        await asyncio.sleep(0.5)
    else:
        loop.call_soon({"exit": sys.exit, "stop": loop.stop}[how])
        await asyncio.sleep(0.01)
    return "here"


@workflow(queue="orders")
async def flow_raises(name: str) -> None:
    """Raise this error after a wait."""
    await sleep(0.001)
    raise HOSTILE[name]()


@task(queue="orders")
def fine(n: int) -> int:
    """Work."""
    return n
