"""The input and the output of a decision on the number of pods. All times are in seconds on one clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from currant.scaling import pool_defaults

Phase = Literal["starting", "working", "draining"]

INTERVAL = 5.0
"""Seconds between two decisions for a pool."""

FIRST_STARTUP = 20.0
"""Seconds from the request for a pod to its first claim, until that has been measured."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The scaling of a pool; the names of a WorkerPool's `spec.scaling` are in brackets. Durations are in seconds.

    `concurrency`: attempts that a pod runs at once. `latency_target` [latencyTarget]: within it a ready execution
    should start. `target_utilization` [targetUtilization]: the part (0 to 1) of the slots that is busy under steady
    load. `window` [scaleDown.window]: the longest time for which a surplus is kept. `max_step_percent`
    [scaleDown.maxStepPercent]: the part of the pods that may begin to drain in one decision; one pod always may.
    `zero_after` [scaleToZeroAfter]: how long the last pod stays without work. `drain_timeout` [drain.timeout]: how long
    a draining pod may finish its attempts before they are cut.
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
    """The executions of one function in a pool's queues that run or must be run.

    `ready`: executions that may be claimed now, without those that are incompatible, await a permit or that no worker
    knows. `due`: those that may be claimed within the horizon (`horizon()`). `running`: running attempts, without
    waiting workflows. `service`: seconds that an attempt takes on average, None if not known. `age`: seconds for which
    the running attempts have run, on average.
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

    `running`: its running attempts. `idle`: it has no lease at all, not even on a waiting workflow. `since`: when it
    began to drain; for a pod that does not drain, when it was made.
    """

    name: str
    phase: Phase = "working"
    running: int = 0
    idle: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pool at one moment. None means: not known.

    `replicas`: requested pods, with the draining ones. `oldest_ready`: seconds for which the oldest ready execution has
    waited. `startups`: seconds to their first claim of the pods that started since the last decision.
    `connections_left`: for how many more pods the database has connections. `measured`: when `work` was counted; None:
    now.
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
    """The state that one decision leaves to the next. `began`: the time of the first decision, None before it.

    `requests`: by pod, the phase that was requested (`draining`, `working`) and when, until a snapshot shows it: a
    decision before the workers have followed must not forget what was requested.

    `running`: (time, running attempts) of the last minute. `wanted`: (time, needed pods) of the last window.
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
    requests: Mapping[str, tuple[Phase, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a decision.

    `desired`: the number of pods that should claim. `replicas`: the number of pods to request, with those that still
    drain. `drain` and `undrain`: pods to mark so in Postgres. `remove`: the pods that should go when `replicas` is
    lowered: those that have drained or whose drain time-out is over, and those that had not started. `limited_by`: what
    limited the number, or None.
    """

    desired: int
    replicas: int
    reason: str
    limited_by: str | None = None
    drain: tuple[str, ...] = ()
    undrain: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
