"""The interface of a candidate. The workloads are the same for all; see bench.workloads."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import MappingProxyType
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

    async def enqueue_chain(self, steps: int, held: bool = False) -> None:
        """W5: enqueue one workflow of so many awaited steps, one after the other; step `k` marks `k` with its time.

        `held`, for W5r: the last step marks `steps - 1` and never ends where `board.first_ever()` is true (its worker
        will be killed); where it is not, it marks `steps`.
        """
        raise NotImplementedError

    async def enqueue_fan_out(self, children: int) -> None:
        """W6: enqueue one workflow that starts so many children at once and waits for all; child `k` marks `k`."""
        raise NotImplementedError

    async def enqueue_waiting(self, indices: Sequence[int]) -> None:
        """memory-waiting: enqueue workflows that mark their index by a first step and then wait for some minutes."""
        raise NotImplementedError

    async def enqueue_into(self, queue: str, index: int) -> None:
        """W11: as `enqueue`, into this queue; an idle worker must be woken."""
        raise NotImplementedError


class Candidate(ABC):
    """A system under test, in a database of its own."""

    # The workloads that it can do, by id or group; W9 comes with W2 and W4. These need only the abstract methods.
    workloads: frozenset[str] = frozenset({"W1", "W2", "W3", "W4", "W8"})

    # Whether what has ended stays in its tables; otherwise the board alone shows that it ran.
    keeps_ended: bool = True

    # W11: the texts by which its statements that claim, commit and tell that a worker is alive are known.
    statements: Mapping[str, Sequence[str]] = MappingProxyType({})

    # W5r: seconds without a sign of life after which its workers call another one dead, as set for W5.
    death_timeout: float = 0.0

    def does(self, workload: str) -> bool:
        """Whether it can do the workload of that id."""
        return workload in self.workloads or workload.partition("-")[0] in self.workloads

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The settings that it runs with: settings that a user can set."""

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

    async def taken_over(self, connection: Any) -> bool | None:
        """W5r: whether the death of a worker has been noticed and its run given back; None: it cannot be told."""
        return None

    async def fill_history(self, connection: Any, completed: int, pending: int) -> None:
        """W7: write so many completed tasks, as they are when a worker is done, and pending ones of another queue.

        `unfinished` must not count those of the other queue.
        """
        raise NotImplementedError

    def worker_of(self, url: str, queues: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """W11: as `worker`, for one that serves these queues."""
        raise NotImplementedError

    async def fill_queues(self, connection: Any, queues: Sequence[str], count: int) -> None:
        """W11: write so many pending tasks that do nothing, in turn into these queues."""
        raise NotImplementedError

    async def fill_suspended(self, connection: Any, queues: Sequence[str], count: int) -> None:
        """W11: write so many workflows, in turn into these queues, as they are in a sleep that outlasts the turn."""
        raise NotImplementedError

    async def keep(self, url: str, seconds: float) -> None:
        """Have ended runs deleted so long after their end. Raises `NotImplementedError` for what cannot."""
        raise NotImplementedError

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
