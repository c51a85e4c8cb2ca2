# mypy: disable-error-code="import-not-found"
"""Absurd: durable tasks with checkpoints, in SQL functions with a thin library."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from absurd_sdk import AsyncAbsurd
from psycopg import AsyncConnection

from bench.candidates import base
from bench.peers.base import WORKER, NamedClient, command, tallied, versions

# The worker's module joins the board: its constants are told here, not imported.
QUEUE, CHILDREN = "bench", "children"
POLL_INTERVAL = "BENCH_POLL_INTERVAL"
CONCURRENCY = 100

CONNECTIONS = 16
POLL, IDLE_POLL = 0.01, 0.25
NAMES = {"sleeping": "suspended"}


class Client(NamedClient):
    """`AsyncAbsurd.spawn`, in turn on several connections: each does one thing at a time."""

    def __init__(self, apps: Sequence[Any]) -> None:
        self._apps = apps
        self._turn = 0

    async def call(self, name: str, argument: int) -> None:
        """Enqueue a call of a function."""
        self._turn = (self._turn + 1) % len(self._apps)
        await self._apps[self._turn].spawn(name, argument, queue=QUEUE)


class Candidate(base.Candidate):
    """Absurd."""

    # Not W5r: a lease is in whole seconds, the take-over is its end, and nothing tells of it.
    workloads = frozenset({"W1-seq", "W1-conc", "W2", "W3", "W4", "W5", "W6", "W8"})

    def settings(self) -> dict[str, str]:
        """A short interval of polling, and a worker that takes many tasks at a time."""
        return {
            "version": versions("absurd-sdk", "absurdctl"),
            "worker": f"AsyncAbsurd.start_worker(concurrency={CONCURRENCY}); for W6 one more for the children's queue",
            "polls": f"poll_interval={POLL:g} (W8: default, {IDLE_POLL:g})",
            "client": f"AsyncAbsurd.spawn, {CONNECTIONS} connections",
        }

    async def prepare(self, url: str) -> None:
        """`absurdctl init` and `absurdctl create-queue`."""
        program = str(Path(sys.executable).parent / "absurdctl")
        for arguments in (["init"], ["create-queue", QUEUE], ["create-queue", CHILDREN]):
            call = [program, *arguments, "--database", url]
            await asyncio.to_thread(subprocess.run, call, check=True, stdout=subprocess.DEVNULL)

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """Several connections."""
        async with AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(await AsyncConnection.connect(url, autocommit=True))
                for _ in range(CONNECTIONS)
            ]
            yield Client([AsyncAbsurd(connection, queue_name=QUEUE) for connection in connections])

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """The application."""
        interval = IDLE_POLL if workload == "W8" else POLL
        return command("bench.peers.absurd_worker"), {WORKER: url, POLL_INTERVAL: str(interval)}

    async def unfinished(self, connection: Any) -> bool:
        """By its index of the runs' states."""
        return bool(
            await connection.fetchval(
                " union all ".join(
                    f"select exists (select from absurd.r_{queue} where state in ('pending', 'running', 'sleeping'))"
                    for queue in (QUEUE, CHILDREN)
                )
                + " order by 1 desc limit 1"
            )
        )

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of all tasks, and of steps with a checkpoint; not those by which a parent keeps its children."""
        rows = await connection.fetch(
            f"select state, count(*) from absurd.t_{QUEUE} group by 1"
            f" union all select state, count(*) from absurd.t_{CHILDREN} group by 1"
            f" union all select 'completed', count(*) from absurd.c_{QUEUE}"
            " where checkpoint_name like 'step-%' having count(*) > 0"
        )
        return tallied(rows, NAMES)


candidate = Candidate()
