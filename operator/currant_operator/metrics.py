"""The operator's metrics, for Prometheus. Every label has a bounded set of values; a pool's series go with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_DURATIONS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

RECONCILES = Counter(
    "currant_operator_reconciles", "Reconciles by kind and outcome", ["kind", "outcome"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "currant_operator_reconcile_seconds", "Duration of a reconcile", ["kind"], registry=REGISTRY, buckets=_DURATIONS
)
LAST_ERROR = Gauge(
    "currant_operator_last_error_timestamp_seconds", "When a reconcile last failed", ["kind"], registry=REGISTRY
)
QUEUE_DEPTH = Gauge("currant_operator_queue_depth", "Objects that wait to be reconciled", registry=REGISTRY)
QUEUE_ADDS = Counter("currant_operator_queue_adds", "Objects that began to wait", registry=REGISTRY)
QUEUE_RETRIES = Counter(
    "currant_operator_queue_retries", "Reconciles that failed and are tried again", registry=REGISTRY
)
QUEUE_SECONDS = Histogram(
    "currant_operator_queue_seconds", "How long an object waited", registry=REGISTRY, buckets=_DURATIONS
)
API_REQUESTS = Counter(
    "currant_operator_api_requests",
    "Calls to the Kubernetes API, those of watches among them, by verb, kind and the answer's class (0: no answer)",
    ["verb", "resource", "code"],
    registry=REGISTRY,
)
WATCH_EVENTS = Counter("currant_operator_watch_events", "Changes seen, by kind", ["kind"], registry=REGISTRY)
WATCH_RESTARTS = Counter("currant_operator_watch_restarts", "Watches that had to begin again", registry=REGISTRY)
OBJECTS = Gauge("currant_operator_objects", "Objects known, by kind", ["kind"], registry=REGISTRY)
LEADING = Gauge("currant_operator_leading", "1 while this process leads", registry=REGISTRY)
EVENTS = Counter("currant_operator_events", "Kubernetes events written, by type", ["type"], registry=REGISTRY)


class _Databases(Gauge):
    """A gauge that counts databases by their state."""

    _states: dict[str, str]

    def set_state(self, id: str, state: str | None) -> None:
        """Note the new state of a database; None if it is no longer in use."""
        states = vars(self).setdefault("_states", {})
        old = states.pop(id, None)
        if state is not None:
            states[id] = state
        for changed in {old, state} - {None}:
            self.labels(changed).set(list(states.values()).count(changed))


DATABASES = _Databases("currant_operator_databases", "Databases in use, by state", ["state"], registry=REGISTRY)
DATABASE_CALLS = Counter(
    "currant_operator_database_calls", "Calls to databases by verb and outcome", ["verb", "outcome"], registry=REGISTRY
)
DATABASE_SECONDS = Histogram(
    "currant_operator_database_seconds",
    "Duration of a call to a database",
    ["verb"],
    registry=REGISTRY,
    buckets=_DURATIONS,
)

_POOL = ["namespace", "pool"]
POOL_READY = Gauge("currant_pool_ready", "Executions ready to run in the pool's queues", _POOL, registry=REGISTRY)
POOL_DUE = Gauge("currant_pool_due", "Executions whose time comes soon", _POOL, registry=REGISTRY)
POOL_RUNNING = Gauge(
    "currant_pool_running", "Attempts of tasks that run in the pool's queues", _POOL, registry=REGISTRY
)
POOL_OLDEST = Gauge("currant_pool_oldest_ready_seconds", "Age of the oldest ready execution", _POOL, registry=REGISTRY)
POOL_DESIRED = Gauge("currant_pool_desired_replicas", "Pods that the pool is to have", _POOL, registry=REGISTRY)
POOL_REPLICAS = Gauge("currant_pool_replicas", "Pods that the pool has", _POOL, registry=REGISTRY)
POOL_READY_REPLICAS = Gauge("currant_pool_ready_replicas", "Pods of the pool that are ready", _POOL, registry=REGISTRY)
POOL_DRAINING = Gauge(
    "currant_pool_draining_replicas", "Pods that finish what they have begun and then end", _POOL, registry=REGISTRY
)
POOL_LOOKED = Gauge(
    "currant_pool_last_look_timestamp_seconds", "When the pool's queues were last counted", _POOL, registry=REGISTRY
)
POOL_LIMITED = Gauge(
    "currant_pool_scaling_limited",
    "1 for what kept the desired number of pods from being another: nothing, a bound, the database ...",
    [*_POOL, "by"],
    registry=REGISTRY,
)
POOL_CONDITION = Gauge(
    "currant_pool_condition",
    "1 where the condition is True, 0 where it is False, -1 where it is Unknown",
    [*_POOL, "condition"],
    registry=REGISTRY,
)
POOL_INCOMPATIBLE = Gauge(
    "currant_pool_incompatible_runs",
    "Runs that do not fit the code that is deployed, by function; they wait for code that does",
    [*_POOL, "function"],
    registry=REGISTRY,
)
POOL_ROLLED_OUT = Gauge(
    "currant_pool_rolled_out",
    "1 when all pods are of the newest template and available, 0 while a roll-out goes on",
    _POOL,
    registry=REGISTRY,
)
_QUEUE = ["database", "queue"]
QUEUE_READY = Gauge("currant_queue_ready", "Executions ready to run in a queue", _QUEUE, registry=REGISTRY)
QUEUE_DUE = Gauge("currant_queue_due", "Executions of a queue whose time comes soon", _QUEUE, registry=REGISTRY)
QUEUE_RUNNING = Gauge("currant_queue_running", "Executions of a queue that run", _QUEUE, registry=REGISTRY)
QUEUE_OLDEST = Gauge(
    "currant_queue_oldest_ready_seconds", "Age of the oldest ready execution of a queue", _QUEUE, registry=REGISTRY
)
POOL_QUEUE = Gauge(
    "currant_pool_queue",
    "1 for each queue that the pool claims from: several pools may share one",
    [*_POOL, *_QUEUE],
    registry=REGISTRY,
)
_OF_QUEUES = (QUEUE_READY, QUEUE_DUE, QUEUE_RUNNING, QUEUE_OLDEST)

_SCHEDULE = ["namespace", "workflow", "function", "schedule"]
SCHEDULE_NEXT = Gauge(
    "currant_schedule_next_timestamp_seconds",
    "When a schedule fires next; none while it is suspended",
    _SCHEDULE,
    registry=REGISTRY,
)
SCHEDULE_LAST = Gauge(
    "currant_schedule_last_timestamp_seconds",
    "The last time of a schedule that started a run; none before the first",
    _SCHEDULE,
    registry=REGISTRY,
)
SCHEDULE_MISSED = Gauge(
    "currant_schedule_missed",
    "Times of a schedule that started no run, as no worker was there in time, since it was made",
    _SCHEDULE,
    registry=REGISTRY,
)
_OF_SCHEDULES = (SCHEDULE_NEXT, SCHEDULE_LAST, SCHEDULE_MISSED)
_OF_POOLS = (
    POOL_INCOMPATIBLE,
    POOL_ROLLED_OUT,
    POOL_READY,
    POOL_DUE,
    POOL_RUNNING,
    POOL_OLDEST,
    POOL_DESIRED,
    POOL_REPLICAS,
    POOL_READY_REPLICAS,
    POOL_DRAINING,
    POOL_LOOKED,
    POOL_LIMITED,
    POOL_CONDITION,
    POOL_QUEUE,
)
# The values of `status.scaling.limitedBy`; anything else counts as "other".
_LIMITS = (
    "nothing",
    "paused",
    "database",
    "connections",
    "minReplicas",
    "maxReplicas",
    "startup",
    "scaleDown.window",
    "scaleDown.maxStepPercent",
    "other",
)
_incompatible: dict[Key, set[str]] = {}
_RESOURCES = {kind.plural for kind in kinds.BY_NAME.values()}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class QueueMetrics:
    """`workqueue.Observer` that counts here."""

    def depth(self, waiting: int) -> None:
        """See `Observer`."""
        QUEUE_DEPTH.set(waiting)

    def added(self) -> None:
        """See `Observer`."""
        QUEUE_ADDS.inc()

    def started(self, waited: float) -> None:
        """See `Observer`."""
        QUEUE_SECONDS.observe(waited)

    def retried(self) -> None:
        """See `Observer`."""
        QUEUE_RETRIES.inc()


def api_request(method: str, path: str, query: Mapping[str, str], status: int) -> None:
    """Count a call to the API by the verb that Kubernetes' own metrics would give it."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]  # behind the group and version
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    resource = parts[0] if parts and parts[0] in _RESOURCES else "discovery"
    verb = _VERBS.get(method.upper(), "get")
    if verb == "get" and query.get("watch") == "true":
        verb = "watch"
    elif verb == "get" and len(parts) == 1 and resource != "discovery":
        verb = "list"
    if parts[2:] == ["status"]:
        resource = f"{resource}/status"
    API_REQUESTS.labels(verb, resource, f"{status // 100}xx" if status else "0").inc()


def show_queue(key: Key, ready: int, due: int, running: int, oldest_ready_seconds: float) -> None:
    """Set the series of a pool's queues."""
    values = {POOL_READY: ready, POOL_DUE: due, POOL_RUNNING: running, POOL_OLDEST: oldest_ready_seconds}
    for gauge, value in values.items():
        gauge.labels(key.namespace, key.name).set(value)
    POOL_LOOKED.labels(key.namespace, key.name).set_to_current_time()


def show_incompatible(key: Key, runs: Mapping[str, int]) -> None:
    """Set the series of a pool's incompatible runs; a function without any has none."""
    known = _incompatible.setdefault(key, set())
    for function in known - runs.keys():
        POOL_INCOMPATIBLE.remove(key.namespace, key.name, function)
    for function, number in runs.items():
        POOL_INCOMPATIBLE.labels(key.namespace, key.name, function).set(number)
    _incompatible[key] = set(runs)


def show_pool(key: Key, status: Mapping[str, Any], rolled_out: bool) -> None:
    """Set the series of a pool from its status."""
    POOL_ROLLED_OUT.labels(key.namespace, key.name).set(rolled_out)
    scaling = status.get("scaling") or {}
    values = {
        POOL_DESIRED: scaling.get("desired"),
        POOL_REPLICAS: status.get("replicas"),
        POOL_READY_REPLICAS: status.get("readyReplicas"),
        POOL_DRAINING: status.get("drainingReplicas"),
    }
    for gauge, value in values.items():
        if value is not None:
            gauge.labels(key.namespace, key.name).set(value)
    if scaling:
        limit = scaling.get("limitedBy") or "nothing"
        limit = limit if limit in _LIMITS else "other"
        for each in _LIMITS:
            POOL_LIMITED.labels(key.namespace, key.name, each).set(each == limit)
    for condition in status.get("conditions") or ():
        value = {"True": 1, "False": 0}.get(condition["status"], -1)
        POOL_CONDITION.labels(key.namespace, key.name, condition["type"]).set(value)


class DatabaseSeries:
    """The series of one database's queues and schedules, dropped when it no longer has them. `name` holds no secret."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queues: set[str] = set()
        self._pools: set[Key] = set()
        self._schedules: set[tuple[str, ...]] = set()

    def show_queues(self, queues: Mapping[str, Mapping[str, Any]], pools: Mapping[Key, Sequence[str]]) -> None:
        """Set the series of every queue, once however many pools share it, and of the pools that claim from it."""
        fields = ("ready", "due", "running", "oldest_ready_seconds")
        for queue, row in queues.items():
            for gauge, name in zip(_OF_QUEUES, fields, strict=True):
                gauge.labels(self._name, queue).set(float(row.get(name) or 0))
        self._forget_queues(self._queues - queues.keys())
        self._queues = set(queues)
        self._forget_pools()
        self._pools = set(pools)
        for pool, names in pools.items():
            for queue in names:
                POOL_QUEUE.labels(pool.namespace, pool.name, self._name, queue).set(1)

    def show_schedules(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Set the series of every schedule, as `list_schedules` has them."""
        shown: set[tuple[str, ...]] = set()
        for row in rows:
            namespace, _, workflow = str(row["owner"]).rpartition("/")
            labels = (namespace, workflow, str(row["function"]), str(row["name"]))
            shown.add(labels)
            SCHEDULE_MISSED.labels(*labels).set(row["missed"])
            for gauge, moment in ((SCHEDULE_NEXT, row["next_fire_at"]), (SCHEDULE_LAST, row["last_fire_at"])):
                if moment is None:
                    gauge.remove_by_labels(dict(zip(_SCHEDULE, labels, strict=True)))
                else:
                    gauge.labels(*labels).set(datetime.fromisoformat(moment).timestamp())
        self._forget_schedules(self._schedules - shown)
        self._schedules = shown

    def forget(self) -> None:
        """Drop all series: nobody asks the database any more."""
        self._forget_queues(self._queues)
        self._forget_pools()
        self._forget_schedules(self._schedules)
        self._queues, self._pools, self._schedules = set(), set(), set()

    def _forget_pools(self) -> None:
        for pool in self._pools:
            POOL_QUEUE.remove_by_labels({"namespace": pool.namespace, "pool": pool.name, "database": self._name})

    def _forget_queues(self, gone: Iterable[str]) -> None:
        for queue in gone:
            for gauge in _OF_QUEUES:
                gauge.remove_by_labels({"database": self._name, "queue": queue})

    def _forget_schedules(self, gone: Iterable[tuple[str, ...]]) -> None:
        for labels in gone:
            for gauge in _OF_SCHEDULES:
                gauge.remove_by_labels(dict(zip(_SCHEDULE, labels, strict=True)))


def forget_pool(key: Key) -> None:
    """Drop the series of a pool that is gone."""
    _incompatible.pop(key, None)
    for gauge in _OF_POOLS:
        gauge.remove_by_labels({"namespace": key.namespace, "pool": key.name})


def page() -> bytes:
    """The page for /metrics."""
    return generate_latest(REGISTRY)
