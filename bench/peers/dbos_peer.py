# mypy: disable-error-code="import-not-found"
"""DBOS Transact: durable workflows in Postgres as a library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSClient

from bench.candidates import base
from bench.peers.base import WORKER, NamedClient, command, tallied, time_each, versions

# The worker's module joins the board: its constants are told here, not imported.
NAME = QUEUE = "bench"
STEPS = "'step', 'step_timed'"
POLL_INTERVAL = "BENCH_POLL_INTERVAL"
CONCURRENCY = 100
CONNECTIONS = 20

POLL, IDLE_POLL = 0.01, 1.0
NAMES = {"ENQUEUED": "pending", "PENDING": "running", "SUCCESS": "completed"}


class Client(NamedClient):
    """`DBOSClient`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, name: str, argument: int) -> None:
        """Enqueue a call of a function."""
        await self._client.enqueue_async({"workflow_name": name, "queue_name": QUEUE}, argument)

    def enqueue_here(self, index: int) -> None:
        """As `enqueue`, in this thread."""
        self._client.enqueue({"workflow_name": "noop", "queue_name": QUEUE}, index)


class Candidate(base.Candidate):
    """DBOS."""

    # Not W5r: without its Conductor nobody notices that an executor has died.
    workloads = frozenset({"W1-seq", "W1-conc", "W2", "W3", "W4", "W5", "W6", "W8"})

    def settings(self) -> dict[str, str]:
        """A short interval of polling, and a worker that takes many workflows at a time."""
        return {
            "version": versions("dbos"),
            "worker": f"DBOS.launch(); sys_db_pool_size={CONNECTIONS}",
            "queue": f"worker_concurrency={CONCURRENCY}, polling_interval_sec={POLL:g} (W8: default, {IDLE_POLL:g})",
            "client": f"DBOSClient, {CONNECTIONS} connections; one after the other by enqueue, else by enqueue_async",
        }

    async def prepare(self, url: str) -> None:
        """`dbos migrate`."""
        await asyncio.to_thread(DBOS.migrate, url)

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """A client with a pool."""
        client = DBOSClient(system_database_url=url, system_database_pool_size=CONNECTIONS, application_name=NAME)
        try:
            yield Client(client)
        finally:
            await asyncio.to_thread(client.destroy)

    async def enqueue_one_by_one(self, url: str, items: int, directory: Path) -> tuple[int, float]:
        """By the synchronous call: there is nothing else to do in this process."""
        async with self.client(url) as client:
            assert isinstance(client, Client)
            return time_each(client.enqueue_here, items)

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """The application."""
        interval = IDLE_POLL if workload == "W8" else POLL
        return command("bench.peers.dbos_worker"), {WORKER: url, POLL_INTERVAL: str(interval)}

    async def unfinished(self, connection: Any) -> bool:
        """By the partial index of what is in flight."""
        return bool(
            await connection.fetchval(
                "select exists (select from dbos.workflow_status"
                f" where queue_name = '{QUEUE}' and status in ('ENQUEUED', 'PENDING'))"
            )
        )

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of all workflows, and of the steps that have a result."""
        rows = await connection.fetch(
            "select status, count(*) from dbos.workflow_status group by 1 union all"
            f" select 'SUCCESS', count(*) from dbos.operation_outputs where function_name in ({STEPS})"
            " having count(*) > 0"
        )
        return tallied(rows, NAMES)


candidate = Candidate()
