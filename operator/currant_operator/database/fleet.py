"""The pools of one database: what waits and runs in their queues, which workers they have, what they are sized by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from currant_operator import metrics
from currant_operator.database.bridge import Notify, Row
from currant_operator.database.connection import Connection
from currant_operator.database.database_answers import numbers_shown, pool_load, queue_stats, shown, worker
from currant_operator.plan.kinds import Key
from currant_operator.plan.observations import PoolLoad, QueueStats, Worker

NUMBERS_INTERVAL = 10.0  # seconds between two notices that only a pool's numbers have changed


@dataclass
class _Pool:
    queues: tuple[str, ...]
    horizon: float | None = None  # None if it is not sized by the queues
    busy: bool = False
    numbers: tuple[Any, ...] = ()
    due: float = -1e9  # monotonic seconds at which the last notice of its numbers was due
    served: tuple[Any, ...] = ()
    incompatible: Row = field(default_factory=dict)


class Fleet:
    """`use` and `leave` say which pools there are; `fetch` asks the database about all of them in one statement."""

    def __init__(self, notify: Notify, served_changed: Callable[[Key], None], pooled: bool) -> None:
        """`pooled`: the URL leads to a pooler, so that what the server has left of connections says nothing."""
        self._notify, self._served_changed, self._pooled = notify, served_changed, pooled
        self._pools: dict[Key, _Pool] = {}
        self._queues: dict[str, QueueStats] | None = None
        self._workers: dict[str, tuple[Worker, ...]] | None = None
        self._load: Row | None = None
        self._fetched = 0.0  # monotonic seconds

    def __bool__(self) -> bool:
        """Whether there are pools."""
        return bool(self._pools)

    @property
    def pools(self) -> dict[Key, tuple[str, ...]]:
        """The pools, each with its queues."""
        return {pool: known.queues for pool, known in self._pools.items()}

    def use(self, pool: Key, queues: Sequence[str], horizon: float | None) -> bool:
        """Count a pool's queues from now on; returns whether they are other queues than before.

        `horizon`: seconds ahead in which work that comes due counts, where the pool is sized by its queues.
        """
        known = self._pools.get(pool)
        if known is None:
            self._pools[pool] = _Pool(tuple(queues), horizon)
            return True
        known.horizon = horizon
        changed = known.queues != tuple(queues)
        known.queues = tuple(queues)
        return changed

    def leave(self, pool: Key) -> None:
        """Stop counting a pool's queues."""
        self._pools.pop(pool, None)

    def forget_answers(self) -> None:
        """Forget all answers: the database does not answer any more."""
        self._queues = self._workers = self._load = None

    # Answers that a reconcile reads

    def queue(self, pool: Key) -> QueueStats | None:
        """The counts of a pool's queues, or None if not known."""
        return None if self._queues is None else self._queues.get(_name(pool))

    def workers(self, pool: Key) -> tuple[Worker, ...] | None:
        """The live workers of a pool, or None if not known."""
        return None if self._workers is None else self._workers.get(_name(pool), ())

    def incompatible(self, pool: Key) -> dict[str, int] | None:
        """The incompatible runs in a pool's queues, by function, or None if not known."""
        if self._load is None:
            return None
        return dict((self._load.get("incompatible") or {}).get(_name(pool)) or {})

    def load(self, pool: Key) -> PoolLoad | None:
        """The load by which a pool is sized, or None if not known."""
        if self._load is None:
            return None
        return pool_load(self._load, _name(pool), time.monotonic() - self._fetched, self._pooled)

    def idle_queues(self) -> tuple[str, ...]:
        """The queues of pools at zero in which nothing is ready: no worker would hear when something becomes so."""
        idle = (known.queues for pool, known in self._pools.items() if known.horizon is not None and self._idle(pool))
        return tuple(sorted({queue for queues in idle for queue in queues}))

    # The work

    async def fetch(self, connection: Connection) -> int:
        """Ask about every pool and notify of what has changed. Returns the schema's version, 0 if not known."""
        asked = [
            {"key": _name(pool), "queues": list(known.queues), "horizon": known.horizon or 0.0}
            for pool, known in self._pools.items()
        ]
        answer = await connection.call("scaling", lambda bridge: bridge.scaling(asked))
        self._load, self._fetched = answer, time.monotonic()
        self._queues = {key: queue_stats(row) for key, row in answer["pools"].items()}
        workers: dict[str, list[Worker]] = {}
        for row in answer["workers"]:
            workers.setdefault(str(row.get("pool")), []).append(worker(row))
        self._workers = {key: tuple(rows) for key, rows in workers.items()}
        for pool, known in list(self._pools.items()):
            self._notify_of_changes(pool, known)
            metrics.show_incompatible(pool, self.incompatible(pool) or {})
            if (queue := self.queue(pool)) is not None:
                metrics.show_queue(pool, queue.ready, queue.due, queue.running, queue.oldest_ready_seconds)
        return int(answer.get("schema_version") or 0)

    def _idle(self, pool: Key) -> bool:
        queue = self.queue(pool)
        return queue is not None and queue.ready == 0 and not self.workers(pool)

    def _notify_of_changes(self, pool: Key, known: _Pool) -> None:
        """Notify of what has changed in a pool: at once of its workers, every `NUMBERS_INTERVAL` of its numbers."""
        served = tuple(sorted(shown(each) for each in self.workers(pool) or ()))
        numbers = numbers_shown(self.queue(pool))
        busy = bool(self.workers(pool)) or any(numbers[:3])
        if known.horizon is not None and (busy or known.busy):
            self._notify(pool)
        known.busy = busy
        if served != known.served:
            known.served = served
            self._notify(pool)
            self._served_changed(pool)
        incompatible = self.incompatible(pool) or {}
        if incompatible != known.incompatible:
            known.incompatible = incompatible
            self._notify(pool)
            self._served_changed(pool)
        if numbers != known.numbers:
            now = time.monotonic()
            known.numbers, known.due = numbers, max(now, known.due + NUMBERS_INTERVAL)
            self._notify(pool, known.due - now)


def _name(pool: Key) -> str:
    return f"{pool.namespace}/{pool.name}"
