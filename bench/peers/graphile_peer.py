"""graphile-worker: a queue of tasks in Postgres, on Node.js. A finished job's row is deleted."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from bench.candidates import base
from bench.peers import NODE_MODULES
from bench.peers.base import WORKER, TaskClient

NAME = "graphile-worker"
HERE = Path(__file__).parent
# As its page on performance has them.
SETTINGS = {
    "concurrentJobs": 24,
    "maxPoolSize": 25,
    "localQueue": {"size": 500},
    "completeJobBatchDelay": 0,
    "failJobBatchDelay": 0,
}
POOL = 16

ADD = "select from graphile_worker.add_job($1, json_build_object('index', $2::int))"
ADD_MANY = """select count(*) from graphile_worker.add_jobs(array(
    select ('noop', json_build_object('index', i), null, null, null, null, null, null)::graphile_worker.job_spec
    from unnest($1::int[]) i))"""


class Client(TaskClient):
    """Its SQL functions, on connections of a pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def enqueue(self, index: int) -> None:
        """One job by `add_job`."""
        await self._pool.execute(ADD, "noop", index)

    async def enqueue_timed(self, index: int) -> None:
        """One job; `add_job` notifies."""
        await self._pool.execute(ADD, "pickup", index)

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """Jobs together by `add_jobs`."""
        await self._pool.fetchval(ADD_MANY, list(indices))


class Candidate(base.Candidate):
    """graphile-worker."""

    workloads = frozenset({"W1", "W2", "W3", "W8"})
    keeps_ended = False

    def settings(self) -> dict[str, str]:
        """Batches in both directions, as its page on performance has them."""
        package = json.loads((NODE_MODULES / NAME / "package.json").read_text())
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        return {
            "version": f"{NAME} {package['version']}, Node.js {node}",
            "worker": f"run({{preset: {{worker: {json.dumps(SETTINGS)}}}}}); NO_LOG_SUCCESS=1",
            "client": f"SQL: graphile_worker.add_job, add_jobs for many; asyncpg, a pool of {POOL} connections",
            "finished jobs": "deleted (it has no other way), so only the board shows that they ran",
        }

    async def prepare(self, url: str) -> None:
        """`graphile-worker --schema-only`."""
        call: list[str] = [str(NODE_MODULES / ".bin" / NAME), "--schema-only", "--connection", url]
        await asyncio.to_thread(lambda: subprocess.run(call, check=True, stdout=subprocess.DEVNULL))

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """A pool that, as those on Node.js, gives connections back as they are."""
        async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL, reset=leave) as pool:
            yield Client(pool)

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """Its library in a script; without a line of log for each job."""
        command = ["node", str(HERE / "graphile_worker.mjs"), json.dumps(SETTINGS)]
        return command, {WORKER: url, "NO_LOG_SUCCESS": "1"}

    async def unfinished(self, connection: Any) -> bool:
        """Every row is a job that has not finished."""
        return bool(await connection.fetchval("select exists (select from graphile_worker._private_jobs)"))

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of what is there."""
        return dict(
            await connection.fetch(
                "select case when locked_at is null then 'pending' else 'running' end, count(*)"
                " from graphile_worker._private_jobs group by 1"
            )
        )


async def leave(connection: Any) -> None:
    """Reset nothing."""


candidate = Candidate()
