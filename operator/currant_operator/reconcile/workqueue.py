"""A queue of keys, as Kubernetes controllers use it: each waits at most once and is worked on by one worker at a time.

A key added while it is being worked on is worked on again afterwards. Keys may be added for later, and come back after
a failure with a delay that grows. Semantics and names follow client-go's `util/workqueue`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from currant_operator.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class Observer(Protocol):
    """Called for what the queue does; `metrics.QueueMetrics` is one."""

    def depth(self, waiting: int) -> None:
        """Note the new number of keys that wait."""

    def added(self) -> None:
        """Note that a key has begun to wait."""

    def started(self, waited: float) -> None:
        """Note that work on a key begins, and the seconds for which the key waited."""

    def retried(self) -> None:
        """Note that a key has failed and is to be tried again."""


class WorkQueue(Generic[K]):
    """The queue. Use it from one event loop.

    `run(work)` starts `concurrency` workers that call `await work(key)`; an exception that leaves `work` counts as a
    failure of the key, which is added again after a back-off; otherwise its failures are forgotten.
    """

    def __init__(self, observer: Observer, backoff: Backoff | None = None) -> None:
        self._observer = observer
        self._backoff = backoff or Backoff()
        self._waiting: OrderedDict[K, float] = OrderedDict()  # key -> since when
        self._working: set[K] = set()
        self._again: set[K] = set()  # added while being worked on
        self._later: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._ready = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether no key waits and none is being worked on; keys for later do not count."""
        return not self._waiting and not self._working

    def add(self, key: K) -> None:
        """Have the key worked on as soon as a worker is free; does nothing when it waits already."""
        if self._stopping:
            return
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().time()
            self._ready.set()
            self._observer.added()
            self._observer.depth(len(self._waiting))

    def add_after(self, key: K, delay: float) -> None:
        """Add the key in `delay` seconds; of several requests for one key the earliest counts."""
        if self._stopping:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, delay)
        planned = self._later.get(key)
        if planned is not None:
            if planned.when() <= due:
                return
            planned.cancel()
        self._later[key] = loop.call_at(due, self._due, key)

    def discard(self, key: K) -> None:
        """Forget the key's failures and what was asked for later: its object is gone."""
        self._failures.pop(key, None)
        planned = self._later.pop(key, None)
        if planned is not None:
            planned.cancel()

    async def run(self, work: Callable[[K], Awaitable[None]], concurrency: int) -> None:
        """Work on keys until `stop`; returns when what was being worked on then is finished."""
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._worker(work))

    def stop(self) -> None:
        """Let no worker begin with another key, and take no more."""
        self._stopping = True
        for planned in self._later.values():
            planned.cancel()
        self._later.clear()
        self._ready.set()

    def _due(self, key: K) -> None:
        self._later.pop(key, None)
        self.add(key)

    async def _worker(self, work: Callable[[K], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting and not self._stopping:
                self._ready.clear()
                await self._ready.wait()
            if self._stopping:
                return
            key, since = self._waiting.popitem(last=False)
            self._working.add(key)
            self._observer.depth(len(self._waiting))
            self._observer.started(loop.time() - since)
            try:
                await work(key)
            except Exception:  # `work` has logged it; here it only counts
                self._retry(key)
            else:
                self._failures.pop(key, None)
            finally:
                self._done(key)

    def _retry(self, key: K) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._observer.retried()
        self.add_after(key, self._backoff.delay(failures))

    def _done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
