"""The operator put together: the order in which its parts start, run and end.

Every process watches; the one that leads reconciles too. A follower has the whole state when it becomes leader.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from currant.rust_bridge import RustBridge
from currant_operator import metrics
from currant_operator.cluster.api import Api, wait_for_kinds
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.events import Recorder
from currant_operator.cluster.lease import Election, Terms
from currant_operator.cluster.lease_store import ApiLease
from currant_operator.cluster.login import login
from currant_operator.cluster.secrets import Secrets
from currant_operator.cluster.store import Body, Store, identity
from currant_operator.database.bridge import Bridge, Times
from currant_operator.database.databases import Databases
from currant_operator.health import HealthServer
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key, Kind
from currant_operator.plan.neighbours import OPERATORS, Neighbours, neighbours
from currant_operator.process_end import end_process
from currant_operator.reconcile.pod_ends import PodEnds
from currant_operator.reconcile.reconciler import Reconciler
from currant_operator.reconcile.watch import Watcher
from currant_operator.reconcile.workqueue import WorkQueue
from currant_operator.settings import Settings

_log = logging.getLogger(__name__)

STOP_LIMIT = 10.0  # seconds that reconciles under way have to finish
FRESH = 10.0  # seconds for which a listing is fresh enough
RELIST_DELAY = 2.0  # seconds from the new beginning of a watch to the listing of its kind
LIST_RETRY = 5.0  # seconds


class Operator:
    """One process. `run` returns after SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, api: Api, open_bridge: Callable[[str], Bridge]) -> None:
        self._settings, self._api = settings, api
        self._queue: WorkQueue[Key] = WorkQueue(metrics.QueueMetrics())
        self._store = Store(self._queue.add, self._pod_ended, self._container_ended)
        times = Times(settings.fleet_interval, settings.stats_interval, settings.database_backoff)
        self._databases = Databases(open_bridge, times, self._notify, self._served_changed)
        self._pod_ends = PodEnds(self._api, self._databases)
        self._secrets = Secrets(self._api, settings.secret_interval, settings.pod_namespace)
        recorder = Recorder(self._api, settings.pod_name)
        self._reconciler = Reconciler(
            self._api,
            self._store,
            self._databases,
            self._secrets,
            recorder,
            self._queue.add_after,
            settings.status_interval,
        )
        lease = ApiLease(self._api, settings.lease_namespace, settings.lease_name)
        self._election = Election(lease, _terms(settings))
        self._watcher = Watcher(settings, _ThreadSink(self))
        self._health = HealthServer(settings.http_port, self._why_not_alive, lambda: self._why_not_ready)
        self._why_not_ready = "starting"
        self._neighbours = Neighbours()
        self._relist: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Watch, stand for election, and while leading reconcile; until SIGTERM or SIGINT. Raises `OSError`."""
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        port = await self._health.start()
        _log.info("health and metrics on port %d", port)
        work = asyncio.create_task(self._work(), name="operator")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        _log.info("stopping")
        self._why_not_ready = "stopping"
        self._queue.stop()
        await self._end(work)
        stop.cancel()

    async def _work(self) -> None:
        await wait_for_kinds(self._api, lambda why: _log.warning("waiting: %s", why))
        began = self._loop.time()
        self._watcher.start()
        await self._list_everything()
        await self._wait_for_older()
        self._why_not_ready = ""
        _log.info(
            "watching %s; standing for election as %s",
            self._settings.watch_namespace or "every namespace",
            self._settings.pod_name,
        )
        await self._election.acquire()
        metrics.LEADING.set(1)
        self._api.may_write = lambda: self._election.leading
        self._spawn(self._keep_leading(), "lease", vital=True)
        if self._loop.time() - began > FRESH:
            # A watch may have been silent for a while, and a new leader must not write from old state.
            await self._list_everything()
        self._enqueue_everything()
        self._spawn(self._resync(), "resync", vital=True)
        if self._settings.watch_namespace is None:
            self._spawn(self._watch_neighbours(), "neighbours", vital=True)
        await self._queue.run(self._reconcile, self._settings.concurrency)

    async def _reconcile(self, key: Key) -> None:
        if key.namespace in self._neighbours.namespaces:
            self._reconciler.leave(key)
        else:
            await self._reconciler.reconcile(key)

    async def _end(self, work: asyncio.Task[None]) -> None:
        """Finish the reconcile under way (as leader, within `STOP_LIMIT`), give the Lease back, close everything."""
        try:
            async with asyncio.timeout(STOP_LIMIT):
                if self._election.leading:
                    await work
        except TimeoutError:
            _log.warning("a reconcile did not finish within %g s and is left to the next leader", STOP_LIMIT)
        for task in (work, *self._tasks):
            task.cancel()
        await asyncio.gather(work, *self._tasks, return_exceptions=True)
        await self._databases.close()
        metrics.LEADING.set(0)
        await self._election.release()
        await self._health.stop()
        await self._api.close()
        await asyncio.to_thread(self._watcher.stop, 2.0)
        if not work.cancelled() and work.exception() is not None:
            raise RuntimeError("the operator failed") from work.exception()

    # The election

    async def _keep_leading(self) -> None:
        await self._election.keep()
        # Another may lead from now on: nothing more must be written, by no thread.
        _log.critical("no longer leading: the process ends")
        end_process(1)

    # Other operators

    async def _wait_for_older(self) -> None:
        """Return when no older operator serves every namespace, as this one would."""
        while self._settings.watch_namespace is None:
            await self._list_neighbours()
            older = self._neighbours.older
            if not older:
                return
            why = f"the operator {older} serves every namespace already, and two must not serve one"
            if self._why_not_ready != why:
                self._why_not_ready = why
                _log.error("waiting: %s; uninstall one of them, or give each its own watchNamespace", why)
            await asyncio.sleep(self._settings.neighbours_interval)

    async def _watch_neighbours(self) -> None:
        while True:
            await asyncio.sleep(self._settings.neighbours_interval)
            await self._list_neighbours()

    async def _list_neighbours(self) -> None:
        """List the other operators; what is known of them stays when they cannot be listed."""
        try:
            found = [body async for body in self._api.list(OPERATORS, None)]
        except ApiError as error:
            _log.warning("other operators cannot be listed: %s", error)
            return
        before = self._neighbours.namespaces
        self._neighbours = neighbours(found, self._settings.pod_namespace, self._settings.pod_name)
        for namespace in sorted(self._neighbours.namespaces - before):
            _log.info("the namespace %s has an operator of its own, and is left to it", namespace)
        if before != self._neighbours.namespaces:
            self._enqueue_everything()

    # Listings

    async def _list_everything(self) -> None:
        for kind in kinds.WATCHED:
            while True:
                try:
                    await self._list(kind)
                    break
                except ApiError as error:
                    _log.warning("%s cannot be listed: %s", kind.plural, error)
                    await asyncio.sleep(LIST_RETRY)

    async def _list(self, kind: Kind) -> None:
        """List a kind anew: a watch that begins again does not report the deletions in between."""
        before = self._store.names(kind)
        listed = set()
        async for body in self._api.list(kind, self._settings.watch_namespace):
            listed.add(identity(body))
            self._store.accept(kind, body)
        self._store.prune(kind, before, listed)

    async def _resync(self) -> None:
        """List and reconcile everything every `resync_interval` seconds, whether or not it seems to have changed."""
        while True:
            await asyncio.sleep(self._settings.resync_interval)
            await self._list_everything()
            self._databases.recheck()
            self._secrets.prune(self._reconciler.secrets_in_use())
            self._enqueue_everything()

    def _enqueue_everything(self) -> None:
        for key in self._store.to_reconcile():
            self._queue.add(key)

    def relist_soon(self, kind: Kind) -> None:
        """List a kind soon, because its watch has begun again."""
        if self._why_not_ready or kind.name in self._relist:
            return
        self._relist[kind.name] = self._loop.call_later(RELIST_DELAY, self._relist_now, kind)

    def _relist_now(self, kind: Kind) -> None:
        del self._relist[kind.name]
        self._spawn(self._list_once(kind), f"list {kind.plural}")

    async def _list_once(self, kind: Kind) -> None:
        try:
            await self._list(kind)
        except ApiError as error:
            _log.warning("%s cannot be listed: %s", kind.plural, error)
            self.relist_soon(kind)

    # Callbacks and tasks

    @property
    def store(self) -> Store:
        """The cache of the cluster's objects."""
        return self._store

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function on the operator's event loop, from another thread."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop has ended, and so does the process
            pass

    def _notify(self, key: Key, delay: float = 0.0) -> None:
        if delay > 0:
            self._queue.add_after(key, delay)
        else:
            self._queue.add(key)

    def _served_changed(self, pool: Key) -> None:
        for workflow in self._store.workflows(pool.namespace, pool.name):
            self._queue.add(workflow)

    def _pod_ended(self, pod: Body) -> None:
        if self._election.leading:
            self._spawn(self._pod_ends.report_pod(pod), "pod ended")

    def _container_ended(self, pod: Body) -> None:
        if self._election.leading:
            self._pod_ends.report_container(pod)

    def _why_not_alive(self) -> str:
        if not self._why_not_ready and not self._watcher.alive:
            return "the watches have ended"
        return ""

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str, vital: bool = False) -> None:
        """Run a task beside the others. A failure is logged; if the task is vital, the process ends."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, vital))

    def _ended(self, task: asyncio.Task[None], vital: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        _log.critical("%s failed", task.get_name(), exc_info=task.exception())
        if vital:
            end_process(1)


class _ThreadSink:
    """`watch.Sink`: from kopf's thread to the operator's."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def changed(self, kind: Kind, listed: bool, body: Body) -> None:
        """See `Sink`."""
        self._operator.call(self._operator.store.accept, kind, body)
        if listed:
            self._operator.call(self._operator.relist_soon, kind)

    def deleted(self, kind: Kind, body: Body) -> None:
        """See `Sink`."""
        self._operator.call(self._operator.store.remove, kind, body)


def _terms(settings: Settings) -> Terms:
    return Terms(
        identity=settings.pod_name,
        name=settings.lease_name,
        namespace=settings.lease_namespace,
        duration=settings.lease_duration,
        renew_deadline=settings.lease_renew_deadline,
        retry_period=settings.lease_retry_period,
    )


async def _run(settings: Settings) -> None:
    await Operator(settings, Api(await login()), RustBridge).run()


def run(settings: Settings) -> int:
    """Run the operator; returns the exit code. Raises `LoginError`."""
    try:
        asyncio.run(_run(settings))
    except OSError as error:
        print(f"currant-operator: {error}", file=sys.stderr)
        return 1
    return 0
