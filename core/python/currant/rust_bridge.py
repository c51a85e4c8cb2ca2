"""The thin typed wrapper over the extension `currant._core`: names for its tuples, and one object for its verbs.

Only this module imports the extension.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar

import msgspec

from currant import _core, settings
from currant._calls.options import Call, NewExecution
from currant._core import Core, Engine, Mailbox, derive_id, new_id
from currant._payloads.input_schemas import schema_problem
from currant.errors import LeaseLost, NotFound

__all__ = [
    "Call",
    "Core",
    "Engine",
    "Mailbox",
    "NewExecution",
    "RustBridge",
    "database_url",
    "derive_id",
    "new_id",
    "set_database_url",
    "shared_core",
]

P = ParamSpec("P")
R = TypeVar("R")


class Claimed(NamedTuple):
    """An execution leased to a worker; `lease` goes back with whatever is recorded of it."""

    id: str
    lease: int
    execution: dict[str, Any]


# One pool a process and database: the client and every `RustBridge()` share it.
_configured_url: str | None = None
_cores: dict[str, Core] = {}
_of_the_parent: list[Core] = []  # a fork's copies: their threads are not here, so they are neither used nor destroyed


def set_database_url(url: str | None) -> None:
    """Set this process's database. None means the one that `WORKFLOWS_DATABASE_URL` names."""
    global _configured_url
    _configured_url = None if url is None else settings.load({"WORKFLOWS_DATABASE_URL": url}).database_url


@functools.lru_cache(maxsize=1)  # every enqueue asks; there are twenty variables to read
def _url_of(variable: str | None) -> str | None:
    return settings.load().database_url


def database_url() -> str:
    """The URL of this process's database. Raises `SettingsError` when no URL is set."""
    url = _configured_url or _url_of(os.environ.get("WORKFLOWS_DATABASE_URL"))
    if url is None:
        raise settings.SettingsError(
            "WORKFLOWS_DATABASE_URL is not set: set it to a URL such as postgresql://user:password@host:5432/name, "
            "or call currant.configure(database_url=...)"
        )
    return url


def shared_core(url: str) -> Core:
    """This process's core for a database, made at its first use."""
    core = _cores.get(url)
    if core is None:
        core = _cores.setdefault(url, Core(url))
    return core


def _after_fork() -> None:
    _of_the_parent.extend(_cores.values())
    _cores.clear()
    _core.after_fork()


os.register_at_fork(after_in_child=_after_fork)


class _Verb(Generic[P, R]):
    """A method that also works on the class, for this process's database: `RustBridge.migrate()`."""

    def __init__(self, function: Callable[Concatenate[RustBridge, P], R]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, bridge: RustBridge | None, owner: type[RustBridge]) -> Callable[P, R]:
        bound: Callable[P, R] = self._function.__get__(owner() if bridge is None else bridge, owner)
        return bound


class RustBridge:
    """The verbs of the core, blocking, with Python values. `url`: another database than this process's.

    Every verb may raise `DatabaseUnavailable` and `SchemaMismatch`; those under a lease raise `LeaseLost`, those of one
    execution `NotFound`.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._own: Core | None = None if url is None else Core(url)
        self._process = os.getpid()

    @property
    def core(self) -> Core:
        """The extension's object behind it."""
        if self._url is None:
            return shared_core(database_url())
        if self._own is None or self._process != os.getpid():
            if self._own is not None:
                _of_the_parent.append(self._own)
            self._own, self._process = Core(self._url), os.getpid()
        return self._own

    @_Verb
    def close(self) -> None:
        """Close its connections, unless they are those that the whole process shares."""
        if self._own is not None and self._process == os.getpid():
            self._own.close()
            self._own = None

    # Schema

    @_Verb
    def migrate(self) -> int:
        """Bring the schema up to this release; returns its version."""
        version: int = _object(self.core.migrate())["version"]
        return version

    @_Verb
    def migration(self) -> dict[str, Any]:
        """As `migrate`; returns `{"version", "functions", "newer"}`.

        `functions` are the SQL functions and views that were created, or created anew. `newer` is the newer release
        whose functions are there and were left alone, or None.
        """
        return _object(self.core.migrate())

    @_Verb
    def schema_version(self) -> int:
        """The version of the database's schema, 0 without one."""
        return self.core.schema_version()

    # Executions

    @_Verb
    def create_execution(self, call: Call, id: str | None = None, idempotency_key: str | None = None) -> str:
        """Enqueue one call; returns its id, or that of the execution that has the key."""
        return self.core.create_executions([NewExecution(id or new_id(), call, idempotency_key)])[0]

    @_Verb
    def create_executions(self, items: list[NewExecution]) -> list[str]:
        """Enqueue several calls in one commit; returns their ids in order."""
        return self.core.create_executions(items)

    @_Verb
    def get_execution(self, id: str) -> dict[str, Any]:
        """One execution, as docs/internals/engine.md describes it."""
        return _object(self.core.get_execution(id))

    @_Verb
    def show(self, id: str) -> dict[str, Any]:
        """The tree below an execution: `executions`, `steps`, `signals`."""
        return _object(self.core.show(id))

    @_Verb
    def list_executions(self, /, **filters: Any) -> list[dict[str, Any]]:
        """Executions, newest first; filters `queue state function limit held roots`."""
        return _rows(self.core.list_executions(msgspec.json.encode(filters)))

    @_Verb
    def queues(self) -> list[dict[str, Any]]:
        """Every queue with its depth."""
        return _rows(self.core.queues())

    @_Verb
    def workers(self) -> list[dict[str, Any]]:
        """Every worker with its state."""
        return _rows(self.core.workers())

    @_Verb
    def doctor(self) -> dict[str, Any]:
        """The facts that `currant doctor` judges; docs/reference/doctor.md has the fields."""
        return _object(self.core.doctor())

    @_Verb
    def fleet(self, pools: list[dict[str, Any]]) -> dict[str, Any]:
        """The state of pools of workers, in one statement that is cheap enough for every few seconds.

        `pools`: `[{"key": "namespace/name", "queues": [...]}]`. Returns `{"now": microseconds since 1970,
        "schema_version", "pools": {key: {"ready", "due", "running", "oldest_ready_seconds"}}, "workers": [...]}`: every
        live worker with `id name pool pod_name pod_uid build queues tasks workflows concurrency draining running
        heartbeat_age_seconds`.
        At most 100,000 ready and due executions of a pool are counted: that number means 100,000 or more.
        """
        return _object(self.core.fleet(msgspec.json.encode(pools).decode()))

    @_Verb
    def scaling(self, pools: list[dict[str, Any]]) -> dict[str, Any]:
        """All that pools are sized by, in one statement: as `fleet`, and more.

        `pools`: `[{"key", "queues", "horizon": seconds}]`. `work`: by pool `[{"function", "kind", "ready", "spare",
        "due", "running", "seconds"}]`; `service`: by function `{"ended", "seconds"}` of the attempts that ended lately;
        `drains`: by worker `{"started", "asked", "attempts"}`; `connections`: how many the server has left.
        """
        return _object(self.core.scaling(msgspec.json.encode(pools).decode()))

    @_Verb
    def ask_to_drain(self, pod_uids: list[str], drain: bool) -> None:
        """Ask the workers of these pods to take nothing more, or (`drain=False`) to go on."""
        self.core.ask_to_drain(pod_uids, drain)

    @_Verb
    def end_pods(self, pods: list[tuple[str, str]]) -> None:
        """End the workers of pods, `(uid, reason)`, that are gone: what they ran is taken over at once.

        What they ran gets the reason as its error. Only `OOMKilled` and `Error` are losses that it can have caused.
        """
        self.core.end_pods(pods)

    @_Verb
    def end_containers(self, containers: list[tuple[str, str, int]]) -> None:
        """As `end_pods`, for containers, `(pod's uid, reason, ended at in microseconds)`, whose pods stay.

        Workers that began after that are left alone.
        """
        self.core.end_containers(containers)

    @_Verb
    def wait_for_work(self, queues: list[str], seconds: float) -> bool:
        """Wait until something becomes ready in the queues, without being a worker; after `seconds` returns False."""
        return self.core.wait_for_work(queues, seconds)

    @_Verb
    def apply_definitions(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make these the definitions of their functions, in one transaction; those that are unchanged are left alone.

        An item: `{"function", "owner", "version"?, "queue"?, "priority"?, "timeout"?, "retry"?: {"max_attempts"?,
        "initial"?, "multiplier"?, "max_delay"?, "jitter"?, "non_retryable"?}, "max_worker_losses"?,
        "concurrency_limit"?, "retention"?, "input_schema"?, "suspended"?, "schedules"?: [...]}`, durations in seconds;
        docs/use/definitions.md says what each means. Returns, in order, `{"function", "status", "owner", "message"}`:
        `applied`, `unchanged`, `taken` (`owner` has defined that function) or `invalid`; one of those does not stop the
        others.
        """
        problems = {
            place: problem for place, item in enumerate(items) if (problem := _schema_problem(item)) is not None
        }
        sent = [item for place, item in enumerate(items) if place not in problems]
        answers = iter(_rows(self.core.apply_definitions(msgspec.json.encode(sent).decode())))
        return [
            {"function": item["function"], "status": "invalid", "owner": item["owner"], "message": problems[place]}
            if place in problems
            else next(answers)
            for place, item in enumerate(items)
        ]

    @_Verb
    def delete_definitions(self, owners: list[str]) -> int:
        """Delete the definitions of these owners, with their schedules; returns how many. Runs are not touched."""
        return self.core.delete_definitions(owners)

    @_Verb
    def list_definitions(self) -> list[dict[str, Any]]:
        """Every definition, as it was applied."""
        return _rows(self.core.list_definitions())

    @_Verb
    def definition_stats(self, functions: list[str]) -> dict[str, Any]:
        """By function, how its executions stand that were there or came since it was defined; counted by index.

        `{"pending", "running", "suspended", "completed", "failed", "cancelled", "last_schedule", "next_schedule"}`: the
        last two are microseconds since 1970, or None.
        """
        return _object(self.core.definition_stats(functions))

    @_Verb
    def queue_retentions(self) -> list[dict[str, Any]]:
        """The queues whose ended runs do not stay for ever: `queue`, `retention` in seconds."""
        return _rows(self.core.queue_retentions())

    @_Verb
    def set_queue_retention(self, queue: str, retention: float | None) -> None:
        """Set for how many seconds ended runs of this queue stay (None: for ever), unless their definition says."""
        self.core.set_queue_retention(queue, retention)

    @_Verb
    def list_schedules(self) -> list[dict[str, Any]]:
        """Every schedule, by function and name.

        Each with `function name owner cron time_zone overlap catch_up starting_deadline jitter suspended last_fire_at
        next_fire_at last_outcome missed`. Durations are in seconds, times ISO 8601; `suspended` also with its
        definition, it then has no next time. `missed` counts the fire times that started no run because they were too
        old, or because only the last is caught up.
        """
        return _rows(self.core.list_schedules())

    @_Verb
    def wait_execution(self, id: str, timeout: float | None = None) -> tuple[str, bytes]:
        """Wait up to `timeout` seconds for the end; returns the state then, and the result or the error."""
        return self.core.wait_execution(id, timeout)

    @_Verb
    def cancel_execution(self, id: str, force: bool = False) -> None:
        """Cancel an execution and all below it; `force`: without asking it. Raises `NotRunning` if it has ended."""
        self.core.cancel_execution(id, force)

    @_Verb
    def retry_execution(self, id: str) -> None:
        """Run a failed or cancelled root again."""
        self.core.retry_execution(id)

    @_Verb
    def send_signal(self, id: str, name: str, payload: bytes = b"null", dedup_key: str | None = None) -> None:
        """Send a workflow a signal, JSON as payload. Raises `NotRunning` if it has ended."""
        self.core.send_signal(id, name, payload, dedup_key)

    # The verbs of a worker, one statement a call. The worker of the SDK goes through `Engine`, which groups these.

    @_Verb
    def update_heartbeat(self, worker_id: str, name: str = "", queues: list[str] | None = None) -> None:
        """Record that a worker is alive; the first call registers it."""
        self.core.update_heartbeat(worker_id, name, queues or [])

    @_Verb
    def claim_execution(self, worker_id: str, queues: list[str]) -> Claimed | None:
        """Lease the next ready execution of these queues to a worker. Returns None if no execution is ready."""
        claimed = _claimed(self.core.claim_executions(worker_id, queues, 1))
        return claimed[0] if claimed else None

    @_Verb
    def claim_executions(self, worker_id: str, queues: list[str], limit: int) -> list[Claimed]:
        """Lease up to `limit` ready executions."""
        return _claimed(self.core.claim_executions(worker_id, queues, limit))

    @_Verb
    def complete_execution(self, worker_id: str, id: str, lease: int, result: bytes) -> None:
        """Record the result of an execution under its lease. Raises `LeaseLost`."""
        _all_written(self.core.complete_executions(worker_id, [(id, lease, result)]))

    @_Verb
    def complete_executions(self, worker_id: str, items: list[tuple[str, int, bytes]]) -> list[str]:
        """Record results, `(id, lease, result)`; returns the ids that were refused."""
        return self.core.complete_executions(worker_id, items)

    @_Verb
    def fail_execution(self, worker_id: str, id: str, lease: int, error: bytes, retry: bool = True) -> None:
        """Record that an attempt failed; `retry`: try again if the policy allows it. Raises `LeaseLost`."""
        _all_written(self.core.fail_executions(worker_id, [(id, lease, error, retry)]))

    @_Verb
    def fail_executions(self, worker_id: str, items: list[tuple[str, int, bytes, bool]]) -> list[str]:
        """Record failed attempts, `(id, lease, error, retry)`; returns the ids that were refused."""
        return self.core.fail_executions(worker_id, items)

    @_Verb
    def suspend_workflow(self, worker_id: str, id: str, lease: int) -> None:
        """Give up a workflow that waits, until something wakes it. Raises `LeaseLost`."""
        _all_written(self.core.suspend_workflows(worker_id, [(id, lease)]))

    @_Verb
    def suspend_workflows(self, worker_id: str, items: list[tuple[str, int]]) -> list[str]:
        """Give up workflows, `(id, lease)`; returns the ids that were refused."""
        return self.core.suspend_workflows(worker_id, items)

    @_Verb
    def resume_workflow(self, id: str) -> None:
        """Make a suspended workflow ready. Raises `NotFound` when no workflow with that id is suspended."""
        if not self.core.resume_workflows([id]):
            raise NotFound(f"no suspended workflow has the id {id}")

    @_Verb
    def resume_workflows(self, ids: list[str]) -> list[str]:
        """Make suspended workflows ready; returns the ids of those that were."""
        return self.core.resume_workflows(ids)


def _schema_problem(item: dict[str, Any]) -> str | None:
    schema = item.get("input_schema")
    named = isinstance(item.get("function"), str) and isinstance(item.get("owner"), str)  # else the core says so
    return schema_problem(schema) if schema is not None and named else None


def _decode(data: bytes) -> Any:
    """JSON with payloads in it, which others may have written: a number that is none here must not hide the rest."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return json.loads(data)


def _object(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = _decode(data)
    return value


def _rows(data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _decode(data)
    return rows


def _claimed(items: list[tuple[str, int, bytes]]) -> list[Claimed]:
    return [Claimed(id, lease, _object(data)) for id, lease, data in items]


def _all_written(refused: list[str]) -> None:
    if refused:
        raise LeaseLost(f"execution {refused[0]} is no longer leased to this worker; nothing was written")
