"""What a decision on the number of pods is made from, and what it says. Times are seconds on one clock, any clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from currant.scaling import pool_defaults

Phase = Literal["starting", "working", "draining"]

INTERVAL = 5.0
"""Seconds between two looks at a pool."""

FIRST_STARTUP = 20.0
"""Seconds that a pod is taken to need from being asked for to its first claim, until one has been measured."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner of a pool wants; the names of a WorkerPool's `spec.scaling` are in brackets.

    `concurrency`: attempts that a pod runs at once. `latency_target` [latencyTarget]: a ready execution should start
    within it. `target_utilization` [targetUtilization]: the part of the slots that is busy under steady load. `window`
    [scaleDown.window]: a surplus is kept for so long at most. `max_step_percent` [scaleDown.maxStepPercent]: the part
    of the pods that begins to drain in one look at most, but at least one. `zero_after` [scaleToZeroAfter]: the last
    pod stays for so long without work. `drain_timeout` [drain.timeout]: an attempt is never cut before that.
    """

    min_pods: int = pool_defaults.WORKER_POOL_SCALING_MIN_REPLICAS
    max_pods: int = pool_defaults.WORKER_POOL_SCALING_MAX_REPLICAS
    concurrency: int = pool_defaults.WORKER_POOL_CONCURRENCY
    latency_target: float = pool_defaults.WORKER_POOL_SCALING_LATENCY_TARGET
    target_utilization: float = pool_defaults.WORKER_POOL_SCALING_TARGET_UTILIZATION
    window: float = pool_defaults.WORKER_POOL_SCALING_SCALE_DOWN_WINDOW
    max_step_percent: float = pool_defaults.WORKER_POOL_SCALING_SCALE_DOWN_MAX_STEP_PERCENT
    zero_after: float = pool_defaults.WORKER_POOL_SCALING_SCALE_TO_ZERO_AFTER
    drain_timeout: float = pool_defaults.WORKER_POOL_DRAIN_TIMEOUT


@dataclass(frozen=True, slots=True)
class Work:
    """The executions of one function in a pool's queues that somebody must run, or runs.

    `ready`: claimable now; not those that are held, wait for a place or have no worker that knows them. `due`:
    claimable within the horizon (`horizon()`). `running`: attempts that run, not workflows that wait. `service`:
    seconds that an attempt takes on average; None: not known. `age`: seconds that those which run have run for on
    average.
    """

    function: str
    ready: int = 0
    due: int = 0
    running: int = 0
    service: float | None = None
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the pool that is not being deleted.

    `running`: attempts in it. `idle`: it holds no lease at all, not even on a workflow that waits. `since`: when it
    began to drain, if it does; else when it was made.
    """

    name: str
    phase: Phase = "working"
    running: int = 0
    idle: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pool at one moment. What could not be seen is None, and never taken for nothing.

    `replicas`: pods that are asked for, those that drain among them. `startups`: seconds that pods which came since the
    last look needed to their first claim. `connections_left`: pods that the database has connections for beside those
    that are there. `measured`: when `work` was; None: now.
    """

    now: float
    work: tuple[Work, ...] | None
    pods: tuple[Pod, ...] | None
    replicas: int = 0
    oldest_ready: float = 0.0
    startups: tuple[float, ...] = ()
    connections_left: int | None = None
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one look leaves to the next. `began`: the first look; None: there was none.

    `orders`: by pod, what it was told to be (`draining`, `working`) and when, until a look sees it so: one that comes
    before the workers have heard of it must not decide as if nothing had been asked.

    `running`: (time, attempts that ran) of the last minute. `wanted`: (time, pods that were needed) of the last window.
    `startup`: moving average of `Snapshot.startups`. `busy`: when there was work last. `stepped`: when the pool was
    made smaller last. `services`: the last known service times by function.
    """

    began: float | None = None
    running: tuple[tuple[float, int], ...] = ()
    wanted: tuple[tuple[float, int], ...] = ()
    startup: float = FIRST_STARTUP
    busy: float | None = None
    stepped: float = -math.inf
    services: Mapping[str, float] = field(default_factory=dict)
    orders: Mapping[str, tuple[Phase, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now.

    `desired`: pods that are to claim. `replicas`: pods to ask for: with those that drain and are not done. `drain` and
    `undrain`: pods to be marked so in Postgres. `remove`: the pods that the lower number of replicas is to take: those
    that drained and are idle, or over the time for it, and those that had not begun. `limited_by`: what kept the number
    from being another; None: nothing did.
    """

    desired: int
    replicas: int
    reason: str
    limited_by: str | None = None
    drain: tuple[str, ...] = ()
    undrain: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
