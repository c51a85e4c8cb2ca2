"""The common parts of the peers."""

from __future__ import annotations

import asyncio
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import version

from bench.candidates import base

WORKER = "BENCH_URL"  # variable that tells a worker process its database


class TaskClient(base.Client):
    """A client of a system that has tasks only; bulk enqueues are one after the other unless it has a call for them."""

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """To fill a queue before a drain."""
        for index in indices:
            await self.enqueue(index)

    async def enqueue_workflows(self, indices: Sequence[int]) -> None:
        """Not asked for: W4 is not among its workloads."""
        raise NotImplementedError


class NamedClient(base.Client):
    """A client of a system that calls functions by their names, has workflows, and no call for many at a time."""

    @abstractmethod
    async def call(self, name: str, argument: int) -> None:
        """Enqueue a call of the function `noop`, `pickup`, `chain`, `long_chain` or `fan_out`."""

    async def enqueue(self, index: int) -> None:
        """One that does nothing."""
        await self.call("noop", index)

    async def enqueue_timed(self, index: int) -> None:
        """One that notes the time."""
        await self.call("pickup", index)

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """Many at a time, to fill a queue."""
        await asyncio.gather(*(self.call("noop", index) for index in indices))

    async def enqueue_workflows(self, indices: Sequence[int]) -> None:
        """Many at a time, to fill a queue."""
        await asyncio.gather(*(self.call("chain", index) for index in indices))

    async def enqueue_chain(self, steps: int, held: bool = False) -> None:
        """One of many steps."""
        await self.call("long_chain", steps)

    async def enqueue_fan_out(self, children: int) -> None:
        """One with children."""
        await self.call("fan_out", children)


def time_each(enqueue_here: Callable[[int], None], items: int) -> tuple[int, float]:
    """`Candidate.enqueue_one_by_one` by a call that blocks: there is nothing else to do in this process."""
    enqueue_here(0)  # connects
    start = time.perf_counter()
    for index in range(1, items):
        enqueue_here(index)
    return items, (time.perf_counter() - start) * items / (items - 1)


def command(module: str, *arguments: str) -> list[str]:
    """The command line `python -m module ...` with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def as_user_types_it(command: Sequence[str]) -> str:
    """The command line without this machine's path to Python."""
    return " ".join(["python", *command[1:]])


def versions(*packages: str) -> str:
    """The installed ones of these, in words."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def tallied(rows: Sequence[tuple[str, int]], names: dict[str, str]) -> dict[str, int]:
    """How many are in each state by the suite's names; a state of another name keeps its own."""
    counts: dict[str, int] = {}
    for state, count in rows:
        name = names.get(state, state)
        counts[name] = counts.get(name, 0) + count
    return counts
