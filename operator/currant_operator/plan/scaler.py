"""The mode Native: an observation of a pool as a snapshot for `currant.scaling`, which decides. No I/O.

One `Scaler` for each pool: it has the memory from one decision to the next. An operator that has just begun
remembers nothing, which is a reason to wait, not to shrink.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from currant import scaling
from currant.scaling import observations
from currant_operator.plan import manifests, pods
from currant_operator.plan.conditions import parse_timestamp
from currant_operator.plan.observations import Object, PoolLoad, QueueStats, Wish, Worker
from currant_operator.plan.resources import WorkerPoolSpec

FRESH = 60.0
"""Seconds after its start in which a worker measures how long its pod took to start."""


class Scaler:
    """Decides for one pool."""

    def __init__(self) -> None:
        self._memory = scaling.Memory()
        self._known: frozenset[str] = frozenset()

    def horizon(self, spec: WorkerPoolSpec) -> float:
        """Seconds from now within which work that becomes due counts: a pod requested now has started by then."""
        return scaling.horizon(settings(spec), self._memory)

    def decide(
        self,
        spec: WorkerPoolSpec,
        now: float,
        clock: datetime,
        live: Iterable[Object],
        replicas: int,
        queue: QueueStats | None,
        load: PoolLoad | None,
        workers: Iterable[Worker] | None,
    ) -> Wish:
        """The decision for now. `now` is of a clock that never jumps, `clock` that of the API server's times."""
        there = {each.pod_uid: each for each in workers or () if each.pod_uid}
        snapshot = scaling.Snapshot(
            now=now,
            work=None if load is None or queue is None else _work(queue, load, there.values()),
            pods=None if load is None else _pods(live, now, clock, there, load),
            replicas=replicas,
            oldest_ready=0.0 if queue is None else queue.oldest_ready_seconds,
            startups=self._startups(live, clock, there, load),
            connections_left=None
            if load is None or load.connections is None
            else max(0, load.connections) // observations.CONNECTIONS_PER_POD,
            measured=now if load is None else now - load.age,
        )
        wish, self._memory = scaling.decide(settings(spec), snapshot, self._memory)
        return wish

    def _startups(
        self, live: Iterable[Object], clock: datetime, there: Mapping[str, Worker], load: PoolLoad | None
    ) -> tuple[float, ...]:
        """Seconds from the making of a pod to its worker's start, of the pods that came since the last decision."""
        times = {}
        for pod in live:
            worker, made = there.get(pods.uid(pod)), manifests.get(pod, "metadata", "creationTimestamp")
            known = None if worker is None or load is None else load.workers.get(worker.id)
            if known is not None and made and known.started_ago < FRESH and not _restarted(pod):
                times[pods.uid(pod)] = (clock - parse_timestamp(made)).total_seconds() - known.started_ago
        new = [time for uid, time in times.items() if uid not in self._known and time > 0]
        self._known = frozenset(times)
        return tuple(new)


def settings(spec: WorkerPoolSpec) -> scaling.Settings:
    """The spec's settings, as `currant.scaling` takes them."""
    return scaling.Settings(
        min_pods=spec.scaling.min_replicas,
        max_pods=spec.scaling.max_replicas,
        concurrency=spec.concurrency,
        latency_target=spec.scaling.latency_target,
        target_utilization=spec.scaling.target_utilization,
        window=spec.scaling.scale_down.window,
        max_step_percent=spec.scaling.scale_down.max_step_percent,
        zero_after=spec.scaling.scale_to_zero_after,
        drain_timeout=spec.drain.timeout,
    )


def _restarted(pod: Object) -> bool:
    statuses = manifests.get(pod, "status", "containerStatuses") or ()
    return any(status.get("restartCount") for status in statuses)


def _work(queue: QueueStats, load: PoolLoad, workers: Iterable[Worker]) -> tuple[scaling.Work, ...]:
    known = {name for worker in workers for name in (*worker.tasks, *worker.workflows)}
    return observations.work(load.functions, load.service, queue.ready, known)


def _pods(
    live: Iterable[Object], now: float, clock: datetime, workers: Mapping[str, Worker], load: PoolLoad
) -> tuple[scaling.Pod, ...]:
    return tuple(_pod(pod, now, clock, workers.get(pods.uid(pod)), load) for pod in pods.living(live))


def _pod(pod: Object, now: float, clock: datetime, worker: Worker | None, load: PoolLoad) -> scaling.Pod:
    name, made = pods.name(pod), manifests.get(pod, "metadata", "creationTimestamp")
    since = now - (clock - parse_timestamp(made)).total_seconds() if made else now
    of_worker = None if worker is None else load.workers.get(worker.id)
    if worker is None or of_worker is None:
        return scaling.Pod(name, "starting", 0, False, since)
    if of_worker.asked_ago is None:
        return scaling.Pod(name, "working", of_worker.attempts, False, since)
    # Only the worker itself can say that it is idle: it has stopped claiming on the connection by which it claims.
    idle = worker.draining and worker.running == 0
    return scaling.Pod(name, "draining", of_worker.attempts, idle, now - of_worker.asked_ago)
