# mypy: disable-error-code="import-not-found"
"""Procrastinate: a queue of tasks in Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bench.candidates import base
from bench.peers.base import WORKER, TaskClient, as_user_types_it, command, tallied, versions
from bench.peers.procrastinate_worker import CONNECTIONS, QUEUE, app_of

CONCURRENCY = 20
NAMES = {"todo": "pending", "doing": "running", "succeeded": "completed"}


class Client(TaskClient):
    """`defer_async` of its tasks."""

    def __init__(self, app: Any) -> None:
        self._noop = app.tasks["noop"]
        self._pickup = app.tasks["pickup"]

    async def enqueue(self, index: int) -> None:
        """One job."""
        await self._noop.defer_async(index=index)

    async def enqueue_timed(self, index: int) -> None:
        """One job; its trigger notifies."""
        await self._pickup.defer_async(index=index)

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """`batch_defer_async`: one statement."""
        await self._noop.batch_defer_async(*({"index": index} for index in indices))


class Candidate(base.Candidate):
    """Procrastinate."""

    workloads = frozenset({"W1", "W2", "W3", "W8"})

    def settings(self) -> dict[str, str]:
        """A worker that runs many tasks at a time needs connections for them."""
        return {
            "version": versions("procrastinate"),
            "worker": as_user_types_it(self._command()),
            "connections": f"psycopg pool of {CONNECTIONS}, in the worker and in the client",
            "finished jobs": "kept (default)",
        }

    def _command(self) -> list[str]:
        app = "bench.peers.procrastinate_worker.app"
        concurrency = str(CONCURRENCY)
        # Only warnings: it would log three lines for each job
        options = ["--log-level", "warning", "--app", app]
        return command("procrastinate", *options, "worker", "--queues", QUEUE, "--concurrency", concurrency)

    async def prepare(self, url: str) -> None:
        """`procrastinate schema --apply`."""
        async with app_of(url).open_async() as app:
            await app.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """The app, opened."""
        async with app_of(url).open_async() as app:
            yield Client(app)

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """Its worker command."""
        return self._command(), {WORKER: url}

    async def unfinished(self, connection: Any) -> bool:
        """By the partial indexes of its two states."""
        return bool(
            await connection.fetchval(
                "select exists (select from procrastinate_jobs where status = 'todo')"
                " or exists (select from procrastinate_jobs where status = 'doing')"
            )
        )

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of all jobs."""
        rows = await connection.fetch("select status::text, count(*) from procrastinate_jobs group by 1")
        return tallied(rows, NAMES)


candidate = Candidate()
