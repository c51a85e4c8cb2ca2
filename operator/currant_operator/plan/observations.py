"""Observations: all that a plan is made from.

Objects of the API server are its dicts, as they came. What could not be read is marked as unknown, and a plan
never treats the unknown as absent: existing objects are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from currant.scaling import Decision
from currant.scaling.observations import FunctionLoad
from currant_operator.plan.resources import WorkerPool, Workflow

Object: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class SecretUnknown:
    """The secret was not read yet, or cannot be read; then the message says why."""

    message: str = ""


@dataclass(frozen=True)
class SecretFound:
    """The secret has a URL that can be parsed. `fingerprint` is that of `database_url.fingerprint(url)`."""

    fingerprint: str


@dataclass(frozen=True)
class SecretMissing:
    """The namespace has no such Secret."""


@dataclass(frozen=True)
class SecretKeyMissing:
    """The Secret is there but has no such key, or an empty one; `keys` are the names of those that it has."""

    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatabaseUrlInvalid:
    """The value is not a URL of Postgres; the message says why, without the value."""

    message: str


@dataclass(frozen=True)
class SecretNotAllowed:
    """The Secret beside the operator does not say that pools of this namespace may use it."""


SecretState: TypeAlias = (
    SecretUnknown | SecretFound | SecretMissing | SecretKeyMissing | DatabaseUrlInvalid | SecretNotAllowed
)


@dataclass(frozen=True)
class DatabaseUnknown:
    """The database was not asked yet."""


@dataclass(frozen=True)
class DatabaseMigrating:
    """Migrations are under way, by this process or by the one that has the advisory lock."""


@dataclass(frozen=True)
class DatabaseReachable:
    """The database answers, and its schema is the one that this operator knows."""

    schema_version: int


@dataclass(frozen=True)
class DatabaseUnreachable:
    """The database does not answer. The message is one line, without a password."""

    message: str


@dataclass(frozen=True)
class SchemaTooNew:
    """The schema is newer than this operator can use. The message is one line that says what to run."""

    message: str


@dataclass(frozen=True)
class MigrationFailed:
    """The database answers, but a migration failed. The message is one line."""

    message: str


DatabaseState: TypeAlias = (
    DatabaseUnknown | DatabaseMigrating | DatabaseReachable | DatabaseUnreachable | SchemaTooNew | MigrationFailed
)


@dataclass(frozen=True)
class QueueStats:
    """Counts of the queues of a pool. `oldest_ready_seconds` is 0 when nothing is ready."""

    ready: int
    due: int
    running: int
    oldest_ready_seconds: float


@dataclass(frozen=True)
class Worker:
    """A live worker, as the database lists it; `tasks` and `workflows` are the names that it has registered."""

    id: str
    name: str
    pool: str | None = None
    pod_name: str | None = None
    pod_uid: str | None = None
    build: str | None = None
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    concurrency: int = 0
    draining: bool = False
    running: int = 0
    heartbeat_age_seconds: float = 0.0


@dataclass(frozen=True)
class WorkerLoad:
    """A worker: seconds since it started, since it was asked to drain (None if never), and its attempts of tasks."""

    started_ago: float
    asked_ago: float | None = None
    attempts: int = 0


@dataclass(frozen=True)
class PoolLoad:
    """All that a pool is sized by. `age`: seconds since it was counted. `service`: (attempts that ended lately, their
    seconds) by function. `workers` by id. `connections`: how many the server has left, or None if it is not known."""

    age: float
    functions: tuple[FunctionLoad, ...] = ()
    service: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    workers: Mapping[str, WorkerLoad] = field(default_factory=dict)
    connections: int | None = None


Wish: TypeAlias = Decision
"""The scaler's decision, which a pause or an unusable database overrules."""


@dataclass(frozen=True)
class Rejection:
    """The API server refused an object of a plan (4xx, but not 409 or 429): the plan is made again with this."""

    kind: str
    name: str
    message: str


@dataclass(frozen=True)
class ObservedPool:
    """A pool and all that belongs to it.

    `deployment`, `service_account` and `pod_disruption_budget` are those of the pool's name, whoever made them: an
    object that is not observed is made by force, so those of others must be observed. `pods` have the pool's label.
    `secret` and `admin_secret` are the states of `database.secretRef` and `database.adminSecretRef` (None: the pool has
    no such reference). `queue`, `workers` and `incompatible` (runs that do not fit the code that is deployed, by
    function) are None while the database does not answer, which is not the same as nothing.
    `rejection` is set in the plan that follows a refused apply. `accepted` has the digests that `drift.drift_digest`
    gave for what came back from an apply: differences that are only the API server's way of writing the same.
    `wish` is the scaler's decision, in the mode Native, or None before it has decided.
    """

    pool: WorkerPool
    now: datetime
    deployment: Object | None = None
    service_account: Object | None = None
    pod_disruption_budget: Object | None = None
    pods: tuple[Object, ...] = ()
    secret: SecretState = field(default_factory=SecretUnknown)
    admin_secret: SecretState | None = None
    database: DatabaseState = field(default_factory=DatabaseUnknown)
    queue: QueueStats | None = None
    workers: tuple[Worker, ...] | None = None
    incompatible: Mapping[str, int] | None = None
    rejection: Rejection | None = None
    accepted: frozenset[str] = frozenset()
    wish: Wish | None = None


@dataclass(frozen=True)
class WorkflowStats:
    """Counts of a function's runs by state, and when its schedules fired last and fire next."""

    pending: int = 0
    running: int = 0
    suspended: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    last_schedule: datetime | None = None
    next_schedule: datetime | None = None


@dataclass(frozen=True)
class Applied:
    """The database's answer to the workflow's definition, from `apply_definitions`."""

    status: Literal["applied", "unchanged", "taken", "invalid"]
    owner: str | None = None
    message: str = ""


@dataclass(frozen=True)
class ObservedWorkflow:
    """A workflow, its pool, and what the pool's database has of it.

    `definitions` are the items of `list_definitions` whose function or owner is this workflow's (others do no harm);
    None: not known. `workers` are the pool's. `applied` is None but in the plan that follows an apply.
    `database` and `definitions` may come from a pool that is gone, while its URL is still known.
    """

    workflow: Workflow
    now: datetime
    pool: WorkerPool | None = None
    secret: SecretState = field(default_factory=SecretUnknown)
    admin_secret: SecretState | None = None
    database: DatabaseState = field(default_factory=DatabaseUnknown)
    definitions: tuple[Mapping[str, Any], ...] | None = None
    stats: WorkflowStats | None = None
    workers: tuple[Worker, ...] | None = None
    incompatible: Mapping[str, int] | None = None
    applied: Applied | None = None
