"""What the peers have in common."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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


def command(module: str, *arguments: str) -> list[str]:
    """The command line `python -m module ...` with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def as_user_types_it(command: Sequence[str]) -> str:
    """The command line without this machine's path to Python."""
    return " ".join(["python", *command[1:]])


def versions(*packages: str) -> str:
    """What is installed of these, in words."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def tallied(rows: Sequence[tuple[str, int]], names: dict[str, str]) -> dict[str, int]:
    """How many are in each state by the suite's names; a state of another name keeps its own."""
    counts: dict[str, int] = {}
    for state, count in rows:
        name = names.get(state, state)
        counts[name] = counts.get(name, 0) + count
    return counts
