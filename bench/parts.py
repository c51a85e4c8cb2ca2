"""The parts of workloads: a turn, and waiting for its workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.board import Boards, faults
from bench.candidates.base import Candidate, Client
from bench.meters import JUDGE
from bench.processes import Workers
from bench.sql import connect

POLL = 0.002
FILL = 5_000


class Void(Exception):
    """The turn does not count; the message says why."""


@dataclass
class Turn:
    """One candidate at one workload, in a fresh database."""

    workload: str
    items: int
    candidate: Candidate
    url: str
    admin_url: str  # the server's own database: what is asked there does not count as the candidate's
    directory: Path
    patience: float
    series: dict[str, list[float]] = field(default_factory=dict)  # figures of each minute, for workloads that have some
    notes: list[str] = field(default_factory=list)  # what was left out, for the results

    async def checkpoint(self) -> None:
        """A checkpoint, so that no turn pays for the writes of another."""
        async with connect(self.admin_url) as admin:
            await admin.execute("checkpoint")

    def workers(self, count: int, items: int) -> Workers:
        """A number of worker processes with a board."""
        return self._workers(self.candidate.worker(self.url, self.workload), count, items)

    def fleet(self, count: int, items: int, queues: Sequence[str]) -> Workers:
        """The same, of workers that serve these queues."""
        return self._workers(self.candidate.worker_of(self.url, queues), count, items)

    def _workers(self, call: tuple[list[str], dict[str, str]], count: int, items: int) -> Workers:
        command, variables = call
        return Workers(command, variables, Boards(self.directory, items, count), count, self.directory)

    async def check_states(self, completed: int, pending: int = 0, suspended: int = 0) -> None:
        """Raise `Void` unless the tables hold exactly this; what has ended counts only where it stays."""
        async with connect(self.url) as connection:
            found = await self.candidate.tally(connection)
        kept = completed if self.candidate.keeps_ended else 0
        states = (("completed", kept), ("pending", pending), ("suspended", suspended))
        wanted = {state: number for state, number in states if number}
        if found != wanted:
            raise Void(f"the database holds {found}, not {wanted}")

    async def check_no_other_state(self, state: str) -> None:
        """Raise `Void` unless all that the tables hold is in this state, however much that is."""
        async with connect(self.url) as connection:
            found = await self.candidate.tally(connection)
        if set(found) - {state}:
            raise Void(f"the database holds {found}, not only {state}")


def batches(items: int, size: int) -> Iterable[range]:
    """The indices from 0 on, so many at a time."""
    return (range(start, min(start + size, items)) for start in range(0, items, size))


async def fill(turn: Turn) -> None:
    """Enqueue `items` tasks."""
    async with turn.candidate.client(turn.url) as client:
        for batch in batches(turn.items, FILL):
            await client.enqueue_many(batch)


async def finish(turn: Turn, workers: Workers, items: int) -> int:
    """Wait until every function has run and nothing in the database is unfinished; gives that time.

    Raises `Void` when items ran not exactly once, or when it takes too long.
    """
    async with connect(turn.url) as connection:
        await connection.execute(f"set role {JUDGE}")
        await connection.execute("set enable_seqscan = off")  # the question is asked often: by index
        await wait_for(lambda: workers.count >= items, workers, turn.patience, f"{items} runs")
        await wait_until_finished(turn, workers, connection)
    end = time.monotonic_ns()
    check_board(workers, items)
    return end


async def wait_until_finished(turn: Turn, workers: Workers, connection: Any) -> None:
    """Wait until nothing in the database is unfinished. Raises `Void` when it takes too long."""
    limit = time.monotonic() + turn.patience
    while await turn.candidate.unfinished(connection):
        workers.check()
        if time.monotonic() > limit:
            states = await turn.candidate.tally(connection)
            raise Void(f"all functions have run, but the database still holds {states}")
        await asyncio.sleep(POLL)


def check_board(workers: Workers, items: int) -> None:
    """Raise `Void` unless each item ran exactly once."""
    found = faults([board.marks for board in workers.boards()], items)
    if found:
        raise Void("; ".join(found))


async def wait_for(condition: Callable[[], bool], workers: Workers, patience: float, what: str) -> None:
    """Poll a condition that costs nothing. Raises `Void` when it takes too long or a worker has ended."""
    limit = time.monotonic() + patience
    while not condition():
        workers.check()
        if time.monotonic() > limit:
            raise Void(f"{what}: not within {patience:g} s; {workers.count} runs were marked")
        await asyncio.sleep(POLL)


@asynccontextmanager
async def idle_worker(turn: Turn, items: int) -> AsyncIterator[tuple[Workers, Client]]:
    """A worker that has run one task, the last of `items`, and waits; and a client. What comes next is timed."""
    with turn.workers(1, items) as workers:
        await wait_for(lambda: workers.started, workers, turn.patience, "the worker's start")
        async with turn.candidate.client(turn.url) as client:
            await client.enqueue_timed(items - 1)
            await finish_first(turn, workers)
            await turn.checkpoint()
            yield workers, client


async def finish_first(turn: Turn, workers: Workers) -> None:
    """Wait until the one task that shows that a worker works is done."""
    await wait_for(lambda: workers.count == 1, workers, turn.patience, "the first pick-up")
    async with connect(turn.url) as connection:
        await wait_until_finished(turn, workers, connection)
