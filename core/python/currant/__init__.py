"""Durable execution on Postgres: calls of `@task` and `@workflow` functions survive crashes, deploys and fail-overs."""

from typing import TYPE_CHECKING, Any

from currant._calls.retry import Retry
from currant.client import Client, Handle, configure, default_client, get_handle, send_signal, send_signal_sync
from currant.context import (
    Attempt,
    current,
    get_version,
    is_replaying,
    now,
    random,
    side_effect,
    sleep,
    uuid4,
    wait_for_signal,
)
from currant.decorators import Function, SyncTask, Task, Workflow, registry, task, workflow
from currant.errors import (
    CurrantError,
    DatabaseUnavailable,
    ExecutionCancelled,
    ExecutionFailed,
    InvalidInput,
    LeaseLost,
    NonDeterminismError,
    NotFound,
    NotRunning,
    SchemaMismatch,
    SerializationError,
    SignalTimeout,
    UnknownFunction,
    WorkflowSuspendException,
)
from currant.rust_bridge import RustBridge
from currant.settings import Settings, SettingsError

if TYPE_CHECKING:
    from currant.worker import Worker, WorkerStopped

__all__ = [
    "Attempt",
    "Client",
    "CurrantError",
    "DatabaseUnavailable",
    "ExecutionCancelled",
    "ExecutionFailed",
    "Function",
    "Handle",
    "InvalidInput",
    "LeaseLost",
    "NonDeterminismError",
    "NotFound",
    "NotRunning",
    "Retry",
    "RustBridge",
    "SchemaMismatch",
    "SerializationError",
    "Settings",
    "SettingsError",
    "SignalTimeout",
    "SyncTask",
    "Task",
    "UnknownFunction",
    "Worker",
    "WorkerStopped",
    "Workflow",
    "WorkflowSuspendException",
    "configure",
    "current",
    "default_client",
    "get_handle",
    "get_version",
    "is_replaying",
    "now",
    "random",
    "registry",
    "send_signal",
    "send_signal_sync",
    "side_effect",
    "sleep",
    "task",
    "uuid4",
    "wait_for_signal",
    "workflow",
]

_OF_WORKERS = ("Worker", "WorkerStopped")

if not TYPE_CHECKING:  # a type checker that sees `__getattr__` takes any misspelt name for one of the package

    def __getattr__(name: str) -> Any:
        """Import what only workers need when it is first asked for: most programs only enqueue."""
        if name not in _OF_WORKERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from currant import worker

        globals().update({each: getattr(worker, each) for each in _OF_WORKERS})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_WORKERS})
