"""The answers of the database's verbs, as observations; and the part of them that is worth a reconcile."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from currant.scaling.observations import function_load, services
from currant_operator.database.bridge import Row
from currant_operator.plan.observations import PoolLoad, QueueStats, Worker, WorkerLoad, WorkflowStats

_COUNTS = ("pending", "running", "suspended", "completed", "failed", "cancelled")


def queue_stats(row: Row) -> QueueStats:
    """The counts of a pool's queues."""
    return QueueStats(row["ready"], row["due"], row["running"], float(row.get("oldest_ready_seconds") or 0))


def worker(row: Row) -> Worker:
    """A live worker."""
    lists = {name: tuple(row.get(name) or ()) for name in ("queues", "tasks", "workflows")}
    known: dict[str, Any] = {name: row[name] for name in Worker.__dataclass_fields__ if row.get(name) is not None}
    return Worker(**{**known, **lists})


def shown(worker: Worker) -> tuple[Any, ...]:
    """The part of a worker whose change is worth a reconcile."""
    return (worker.id, worker.pod_uid or "", worker.draining, worker.queues, worker.tasks, worker.workflows)


def pool_load(row: Row, pool: str, age: float, pooled: bool) -> PoolLoad:
    """The load of one pool, from the answer about all pools."""
    now = int(row.get("now") or 0)
    functions = tuple(function_load(each) for each in (row.get("work") or {}).get(pool) or ())
    service = services(row.get("service") or {})
    workers = {
        id: WorkerLoad(
            max(0.0, (now - each["started"]) / 1e6),
            None if each.get("asked") is None else max(0.0, (now - each["asked"]) / 1e6),
            int(each.get("attempts") or 0),
        )
        for id, each in (row.get("drains") or {}).items()
    }
    return PoolLoad(age, functions, service, workers, None if pooled else row.get("connections"))


def workflow_stats(row: Row) -> WorkflowStats:
    """The runs and the schedules' times of a function."""
    counts = {name: int(row.get(name) or 0) for name in _COUNTS}
    last, following = (_moment(row.get(name)) for name in ("last_schedule", "next_schedule"))
    return WorkflowStats(**counts, last_schedule=last, next_schedule=following)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def numbers_shown(queue: QueueStats | None) -> tuple[Any, ...]:
    """The part of a pool's numbers whose change is worth a reconcile. The age of the oldest counts in steps of 25 %."""
    if queue is None:
        return ()
    step = 0 if queue.oldest_ready_seconds <= 1 else int(math.log(queue.oldest_ready_seconds, 1.25))
    return queue.ready, queue.due, queue.running, step
