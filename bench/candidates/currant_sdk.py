"""Currant, as a user has it: its Python SDK, its worker command, every setting at its default."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import currant
from bench import functions
from bench.candidates import base

# W5 and W5r: so that a turn does not consist of waiting; how long that is, is told apart from the rest anyway.
KILLED = {"WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "2", "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5"}

# W7: rows as `queue_many` and a worker leave them; every column that they set.
NEW = "id, root_id, kind, function, queue, args"
TASK = """c.id, c.id, 'task', 'bench.functions.noop', $2::text,
    convert_to(format('{"args":[%s],"kwargs":{}}', c.i), 'UTF8')"""
MANY = "(select currant.new_id() as id, i from generate_series(0, $1::bigint - 1) i) c"
BACKLOG = f"insert into currant.executions ({NEW}, ready_xid) select {TASK}, currant.xid() from {MANY}"
HISTORY = f"""insert into currant.executions ({NEW}, state, attempt, lease, worker_id, build, result,
    created_at, ready_at, started_at, attempt_at, finished_at)
select {TASK}, 'completed', 1, 1, w.id, '4eb107e89abd8ab4-py3.11', 'null', c.at, c.at, c.at, c.at, c.at
from (select *, clock_timestamp() as at from {MANY}) c, (select currant.new_id() as id offset 0) w"""


class Client(base.Client):
    """The SDK's verbs."""

    async def enqueue(self, index: int) -> None:
        """`.queue` of a task."""
        await functions.noop.queue(index)

    async def enqueue_timed(self, index: int) -> None:
        """`.queue` of a task that notes the time."""
        await functions.pickup.queue(index)

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """`.queue_many` of a task."""
        await functions.noop.queue_many([(index,) for index in indices])

    async def enqueue_workflows(self, indices: Sequence[int]) -> None:
        """`.queue_many` of a workflow."""
        await functions.chain.queue_many([(index,) for index in indices])

    async def enqueue_chain(self, steps: int, held: bool = False) -> None:
        """`.queue` of a workflow."""
        await functions.long_chain.queue(steps, held)

    async def enqueue_fan_out(self, children: int) -> None:
        """`.queue` of a workflow."""
        await functions.fan_out.queue(children)

    async def enqueue_waiting(self, indices: Sequence[int]) -> None:
        """`.queue_many` of a workflow that sleeps."""
        await functions.waiting.queue_many([(index,) for index in indices])


class Candidate(base.Candidate):
    """Currant."""

    workloads = frozenset({"W1", "W2", "W3", "W4", "W5", "W5r", "W6", "W7", "W8", "W10", "soak", "memory"})
    death_timeout = 2.0

    def settings(self) -> dict[str, str]:
        """Its defaults."""
        defaults = currant.Settings()
        return {
            "worker": "python -m currant worker -q bench -m bench.functions",
            "concurrency": f"{defaults.max_concurrent} (default)",
            "heartbeat interval": f"{defaults.heartbeat_interval:g} s (default)",
            "poll interval": f"{defaults.poll_interval:g} s (default)",
            "in W5 only": ", ".join(f"{name}={value}" for name, value in KILLED.items())
            + f" (defaults {defaults.heartbeat_timeout:g} and {defaults.heartbeat_interval:g})",
        }

    async def prepare(self, url: str) -> None:
        """`currant migrate`."""
        await asyncio.to_thread(lambda: currant.RustBridge(url).migrate())

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """The default client of this process, set to this database."""
        currant.configure(database_url=url)
        yield Client()

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """The worker command."""
        command = [sys.executable, "-m", "currant", "worker", "-q", functions.QUEUE, "-m", functions.__name__]
        return command, {"WORKFLOWS_DATABASE_URL": url, **(KILLED if workload.startswith("W5") else {})}

    async def unfinished(self, connection: Any) -> bool:
        """By the partial indexes of each state that is not an end."""
        return bool(
            await connection.fetchval(
                "select exists (select from currant.executions where state = 'running')"
                " or exists (select from currant.executions where queue = 'bench' and state = 'suspended')"
                " or exists (select from currant.executions where queue = 'bench' and run_at is not null)"
                " or exists (select from currant.executions"
                " where queue = 'bench' and state = 'pending' and run_at is null and poison_suspect)"
                " or exists (select from currant.executions"
                " where queue = 'bench' and state = 'pending' and run_at is null and not poison_suspect"
                " and not awaiting_permit)"
                " or exists (select from currant.executions where queue = 'bench' and awaiting_permit)"
            )
        )

    async def tally(self, connection: Any) -> dict[str, int]:
        """The counts of all executions."""
        return dict(await connection.fetch("select state, count(*) from currant.executions group by state"))

    async def taken_over(self, connection: Any) -> bool | None:
        """A worker was declared dead."""
        return bool(
            await connection.fetchval("select exists (select from currant.workers where stopped_at is not null)")
        )

    async def fill_history(self, connection: Any, completed: int, pending: int) -> None:
        """By INSERTs of their final state."""
        await connection.execute(HISTORY, completed, functions.QUEUE)
        await connection.execute(BACKLOG, pending, "other")

    async def keep(self, url: str, seconds: float) -> None:
        """`currant retention set`."""
        await asyncio.to_thread(lambda: currant.RustBridge(url).set_queue_retention(functions.QUEUE, seconds))


candidate = Candidate()
