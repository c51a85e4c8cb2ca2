"""WorkerPool and Workflow as the API server hands them out, parsed. Durations are in seconds.

The API server has validated them against `crds/` and filled in the defaults. Those of `crd_defaults` are generated from
the same schema, for clusters whose definitions are older than the operator. Unknown fields are left alone: a newer
schema may have more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from currant._base.durations import parse_duration
from currant_operator.plan import crd_defaults

GROUP = "currant.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Mode = Literal["Native", "Fixed", "External"]
PodSecurity = Literal["Restricted", "AssignedUser", "None"]
Overlap = Literal["Allow", "Forbid", "Replace"]
CatchUp = Literal["None", "Last", "All"]
Spec = TypeVar("Spec", bound="WorkerPoolSpec | WorkflowSpec")


class InvalidResource(ValueError):
    """An object does not have the shape that the operator knows; the message names the field."""


class Seconds(float):
    """A duration; written as in `30s`, `5m`, `1h30m`, `7d`."""


class Metadata(Struct, rename="camel", frozen=True, kw_only=True):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class SecretRef(Struct, rename="camel", frozen=True, kw_only=True):
    """The place of a database's URL: a key of a Secret in the pool's namespace."""

    name: str
    key: str = crd_defaults.WORKER_POOL_DATABASE_SECRET_REF_KEY


class Database(Struct, rename="camel", frozen=True, kw_only=True):
    """The database of a pool. `admin_secret_ref`: a Secret beside the operator, with the URL of the schema's owner."""

    secret_ref: SecretRef
    admin_secret_ref: SecretRef | None = None


class ScaleDown(Struct, rename="camel", frozen=True, kw_only=True):
    """The speed at which a pool may shrink."""

    window: Seconds = Seconds(crd_defaults.WORKER_POOL_SCALING_SCALE_DOWN_WINDOW)
    max_step_percent: int = crd_defaults.WORKER_POOL_SCALING_SCALE_DOWN_MAX_STEP_PERCENT


class Scaling(Struct, rename="camel", frozen=True, kw_only=True):
    """The number of pods; `replicas` is there for Fixed and External only."""

    mode: Mode = crd_defaults.WORKER_POOL_SCALING_MODE
    replicas: int | None = None
    min_replicas: int = crd_defaults.WORKER_POOL_SCALING_MIN_REPLICAS
    max_replicas: int = crd_defaults.WORKER_POOL_SCALING_MAX_REPLICAS
    latency_target: Seconds = Seconds(crd_defaults.WORKER_POOL_SCALING_LATENCY_TARGET)
    target_utilization: float = crd_defaults.WORKER_POOL_SCALING_TARGET_UTILIZATION
    scale_down: ScaleDown = ScaleDown()
    scale_to_zero_after: Seconds = Seconds(crd_defaults.WORKER_POOL_SCALING_SCALE_TO_ZERO_AFTER)
    paused: bool = crd_defaults.WORKER_POOL_SCALING_PAUSED


class Drain(Struct, rename="camel", frozen=True, kw_only=True):
    """The time that a worker that is asked to stop has for what it runs."""

    timeout: Seconds = Seconds(crd_defaults.WORKER_POOL_DRAIN_TIMEOUT)


class Rollout(Struct, rename="camel", frozen=True, kw_only=True):
    """The replacement of pods by pods of a new template."""

    max_unavailable: int | str = crd_defaults.WORKER_POOL_ROLLOUT_MAX_UNAVAILABLE


class WorkerPoolSpec(Struct, rename="camel", frozen=True, kw_only=True):
    """The spec of a pool. `template` is a partial PodTemplateSpec, as it was written."""

    queues: tuple[str, ...]
    modules: tuple[str, ...]
    database: Database
    image: str | None = None
    concurrency: int = crd_defaults.WORKER_POOL_CONCURRENCY
    pod_security: PodSecurity = crd_defaults.WORKER_POOL_POD_SECURITY
    scaling: Scaling = Scaling()
    drain: Drain = Drain()
    rollout: Rollout = Rollout()
    template: dict[str, Any] = {}


class PoolRef(Struct, rename="camel", frozen=True, kw_only=True):
    """The pool that runs a workflow, in the Workflow's namespace."""

    name: str


def _retry_name(field: str) -> str:
    """The name in the resource of a field of `RetryDefaults`, which has the name of the definition."""
    first, *others = {"initial": "initial_interval", "max_delay": "max_interval"}.get(field, field).split("_")
    return first + "".join(map(str.capitalize, others))


class RetryDefaults(Struct, rename=_retry_name, frozen=True, kw_only=True):
    """When a failed attempt is tried again. None means the SDK's default."""

    max_attempts: int | None = None
    initial: Seconds | None = None
    multiplier: float | None = None
    max_delay: Seconds | None = None
    jitter: float | None = None
    non_retryable: tuple[str, ...] | None = None


class RunDefaults(Struct, rename="camel", frozen=True, kw_only=True):
    """The options of runs whose enqueue does not give them, as the fields of a definition. None: the SDK's default."""

    priority: int | None = None
    timeout: Seconds | None = None
    retry: RetryDefaults | None = None
    max_worker_losses: int | None = None


class Schedule(Struct, rename="camel", frozen=True, kw_only=True):
    """Enqueues runs by the clock."""

    name: str
    cron: str
    time_zone: str = crd_defaults.WORKFLOW_SCHEDULES_TIME_ZONE
    args: dict[str, Any] = {}
    overlap: Overlap = crd_defaults.WORKFLOW_SCHEDULES_OVERLAP
    catch_up: CatchUp = crd_defaults.WORKFLOW_SCHEDULES_CATCH_UP
    starting_deadline: Seconds | None = None
    jitter: Seconds | None = None
    suspended: bool = crd_defaults.WORKFLOW_SCHEDULES_SUSPENDED


class Concurrency(Struct, rename="camel", frozen=True, kw_only=True):
    """The number of runs at once."""

    limit: int


class WorkflowSpec(Struct, rename="camel", frozen=True, kw_only=True):
    """The spec of a Workflow: the rules for the runs of one function."""

    function: str
    pool_ref: PoolRef
    version: int | None = None
    queue: str | None = None
    defaults: RunDefaults = RunDefaults()
    schedules: tuple[Schedule, ...] = ()
    concurrency: Concurrency | None = None
    retention: Seconds | None = None
    input_schema: dict[str, Any] | None = None
    suspended: bool = crd_defaults.WORKFLOW_SUSPENDED


class Resource(Struct, Generic[Spec], frozen=True, kw_only=True):
    """A custom resource. `status` is the one that was written last; a plan compares its own with it."""

    metadata: Metadata
    spec: Spec
    status: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> str:
        """`namespace/name`, the name by which the database knows the resource."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None


WorkerPool = Resource[WorkerPoolSpec]
Workflow = Resource[WorkflowSpec]


def parse_pool(body: Mapping[str, Any]) -> WorkerPool:
    """A WorkerPool from the API server's object. Raises `InvalidResource`."""
    return _parse(body, WorkerPool)


def parse_workflow(body: Mapping[str, Any]) -> Workflow:
    """A Workflow from the API server's object. Raises `InvalidResource`."""
    return _parse(body, Workflow)


Parsed = TypeVar("Parsed")


def _parse(body: Mapping[str, Any], kind: type[Parsed]) -> Parsed:
    try:
        return msgspec.convert(body, kind, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidResource(str(error)) from None


def _decode(kind: type, value: Any) -> Any:
    if kind is Seconds and isinstance(value, str):
        return Seconds(parse_duration(value))
    raise NotImplementedError(kind)
