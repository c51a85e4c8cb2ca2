# mypy: disable-error-code="import-not-found"
"""PgQueuer: a queue of tasks in Postgres. A finished job's row is deleted and its end logged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from bench.candidates import base
from bench.peers.base import WORKER, TaskClient, command, tallied, versions
from bench.sql import connect

BATCH = 200
POOL = 16
NAMES = {"queued": "pending", "picked": "running", "successful": "completed"}


class Client(TaskClient):
    """`Queries.enqueue`."""

    def __init__(self, queries: Any) -> None:
        self._queries = queries

    async def enqueue(self, index: int) -> None:
        """One job."""
        await self._queries.enqueue("noop", b"%d" % index)

    async def enqueue_timed(self, index: int) -> None:
        """One job; its trigger notifies."""
        await self._queries.enqueue("pickup", b"%d" % index)

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """A list of jobs in one statement."""
        count = len(indices)
        await self._queries.enqueue(["noop"] * count, [b"%d" % index for index in indices], [0] * count)


class Candidate(base.Candidate):
    """PgQueuer."""

    workloads = frozenset({"W1", "W2", "W3", "W8"})

    def settings(self) -> dict[str, str]:
        """As its page on performance says: asyncpg, large batches for short jobs, its autovacuum settings."""
        return {
            "version": versions("pgqueuer"),
            "worker": f"pgqueuer.run(..., batch_size={BATCH}), uvloop, one asyncpg connection",
            "installed with": "pgq install (durability durable), pgq autovac",
            "client": f"AsyncpgPoolDriver, at most {POOL} connections",
        }

    def _command(self) -> list[str]:
        return command("bench.peers.pgqueuer_worker", str(BATCH))

    async def prepare(self, url: str) -> None:
        """`pgq install` and `pgq autovac`."""
        async with connect(url) as connection:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            await queries.optimize_autovacuum()

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """A pool, as it is advised for producers."""
        async with asyncpg.create_pool(url, min_size=1, max_size=POOL) as pool:
            yield Client(Queries(AsyncpgPoolDriver(pool)))

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """`pgqueuer.run`, which is `pgq run` without its command line."""
        return self._command(), {WORKER: url}

    async def unfinished(self, connection: Any) -> bool:
        """By the partial indexes of its two states."""
        return bool(
            await connection.fetchval(
                "select exists (select from pgqueuer where status = 'queued')"
                " or exists (select from pgqueuer where status = 'picked')"
            )
        )

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of the queue, and of the log entries that say how a job ended."""
        rows = await connection.fetch(
            "select status::text, count(*) from pgqueuer group by 1"
            " union all select status::text, count(*) from pgqueuer_log"
            " where status not in ('queued', 'picked') group by 1"
        )
        return tallied(rows, NAMES)


candidate = Candidate()
