"""What a candidate must be able to do. The workloads are the same for all; see bench.workloads."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any


class Client(ABC):
    """A connected client. Item `index` must mark `index` on the board when it runs; a returned enqueue is committed."""

    @abstractmethod
    async def enqueue(self, index: int) -> None:
        """Enqueue one task that does nothing."""

    @abstractmethod
    async def enqueue_timed(self, index: int) -> None:
        """Enqueue one task that notes the time of its first line; an idle worker must be woken."""

    @abstractmethod
    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """Enqueue tasks that do nothing, together."""

    @abstractmethod
    async def enqueue_workflows(self, indices: Sequence[int]) -> None:
        """Enqueue workflows of five awaited steps; step `k` of workflow `i` marks `5 * i + k`."""


class Candidate(ABC):
    """A system under test, in a database of its own."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """What it is run with: settings that a user can set."""

    @abstractmethod
    async def prepare(self, url: str) -> None:
        """Make its schema in an empty database."""

    @abstractmethod
    def client(self, url: str) -> AbstractAsyncContextManager[Client]:
        """A client in this process."""

    @abstractmethod
    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """The command line of a worker process, and variables of its environment."""

    @abstractmethod
    async def unfinished(self, connection: Any) -> bool:
        """Whether anything in the database is not finished; cheap, since it is polled."""

    @abstractmethod
    async def tally(self, connection: Any) -> dict[str, int]:
        """How many tasks and workflows there are in each state, by counting rows; steps of workflows included."""

    async def enqueue_one_by_one(self, url: str, items: int, directory: Path) -> tuple[int, float]:
        """Enqueue one after the other; gives how many, and the seconds from the first call to the last return."""
        async with self.client(url) as client:
            await client.enqueue(0)  # connects
            start = time.perf_counter()
            for index in range(1, items):
                await client.enqueue(index)
            return items, (time.perf_counter() - start) * items / (items - 1)

    async def enqueue_concurrently(self, url: str, items: int, in_flight: int, directory: Path) -> tuple[int, float]:
        """As `enqueue_one_by_one` with so many in flight."""
        async with self.client(url) as client:
            await client.enqueue(0)
            indices = iter(range(1, items))

            async def lane() -> None:
                for index in indices:
                    await client.enqueue(index)

            start = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(lane())
            return items, (time.perf_counter() - start) * items / (items - 1)
