"""Currant, as a user has it: its Python SDK, its worker command, every setting at its default."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import currant
from bench import functions
from bench.candidates import base

# W5 and W5r: so that a turn does not consist of waiting; how long that is, is told apart from the rest anyway.
KILLED = {"WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "2", "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5"}

# W7 and W11: rows as `queue_many` and a worker leave them; every column that they set. $2: a queue, or several in turn.
NEW = "id, root_id, kind, function, queue, args"
ARGS = """convert_to(format('{"args":[%s],"kwargs":{}}', c.i), 'UTF8')"""
TASK = f"c.id, c.id, 'task', 'bench.functions.noop', $2::text, {ARGS}"
IN_TURN = "($2::text[])[c.i % cardinality($2::text[]) + 1]"
MANY = "(select currant.new_id() as id, i from generate_series(0, $1::bigint - 1) i) c"
BACKLOG = f"insert into currant.executions ({NEW}, ready_xid) select {TASK}, currant.xid() from {MANY}"
SPREAD = f"""insert into currant.executions ({NEW}, ready_xid)
select c.id, c.id, 'task', 'bench.functions.noop', {IN_TURN}, {ARGS}, currant.xid() from {MANY}"""
SUSPENDED = f"""with runs as (
    insert into currant.executions ({NEW}, state, lease, build, run_at, suspended_at, started_at)
    select c.id, c.id, 'workflow', 'bench.functions.waiting', {IN_TURN}, {ARGS}, 'suspended', 2,
        '4eb107e89abd8ab4-py3.11', clock_timestamp() + interval '1 day', clock_timestamp(), clock_timestamp()
    from {MANY}
    returning id, run_at)
insert into currant.steps (execution_id, epoch, key, kind, due_at, after_seq)
select runs.id, 0, '1', 'timer', runs.run_at, 0 from runs"""
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

    async def enqueue_into(self, queue: str, index: int) -> None:
        """`.options` and `.queue` of a task."""
        await functions.noop.options(queue=queue).queue(index)


class Candidate(base.Candidate):
    """Currant."""

    workloads = frozenset({"W1", "W2", "W3", "W4", "W5", "W5r", "W6", "W7", "W8", "W10", "W11", "soak", "memory"})
    statements = MappingProxyType(
        {
            "claim": ("currant.claim(",),
            "commit": ("currant.commit_batch(",),
            "heartbeat": ("currant.heartbeat(",),
        }
    )
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
        command, variables = self.worker_of(url, [functions.QUEUE])
        return command, {**variables, **(KILLED if workload.startswith("W5") else {})}

    def worker_of(self, url: str, queues: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The worker command with a `-q` for each queue."""
        options = [option for queue in queues for option in ("-q", queue)]
        command = [sys.executable, "-m", "currant", "worker", *options, "-m", functions.__name__]
        return command, {"WORKFLOWS_DATABASE_URL": url}

    async def unfinished(self, connection: Any) -> bool:
        """By the claims of what runs, and by the partial indexes of what waits."""
        waits = (
            "ready_xid is not null and not poison_suspect and not awaiting_permit",
            "ready_xid is not null and poison_suspect",
            "awaiting_permit",
            "run_at is not null",
            "suspended_at is not null",
        )
        questions = [f"exists (select from currant.executions where queue = 'bench' and {wait})" for wait in waits]
        runs = "exists (select from currant.claims)"
        return bool(await connection.fetchval(f"select {' or '.join([runs, *questions])}"))

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

    async def fill_queues(self, connection: Any, queues: Sequence[str], count: int) -> None:
        """By one INSERT."""
        await connection.execute(SPREAD, count, queues)

    async def fill_suspended(self, connection: Any, queues: Sequence[str], count: int) -> None:
        """By INSERTs of runs and their timers."""
        await connection.execute(SUSPENDED, count, queues)

    async def keep(self, url: str, seconds: float) -> None:
        """`currant retention set`."""
        await asyncio.to_thread(lambda: currant.RustBridge(url).set_queue_retention(functions.QUEUE, seconds))


candidate = Candidate()
