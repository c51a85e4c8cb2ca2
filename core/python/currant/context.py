"""The calls of workflow and task code: durable waits, recorded time and random numbers, the current attempt."""

from __future__ import annotations

import asyncio
import uuid as uuids
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from currant._base import limits
from currant._base.checks import text, waiting_time
from currant._workflow.active import ActiveLoop
from currant.errors import NotRunning, mistake

if TYPE_CHECKING:  # a client does without the machinery of workflows
    from currant._workflow.run import WorkflowRun

T = TypeVar("T")

__all__ = [
    "Attempt",
    "active_run",
    "attempt",
    "current",
    "get_version",
    "is_replaying",
    "now",
    "random",
    "side_effect",
    "sleep",
    "uuid4",
    "wait_for_signal",
]


@dataclass(slots=True)
class Attempt:
    """The attempt of a task that is running.

    - `id`: the id of the execution: the idempotency key for what the task does in other systems.
    - `attempt`: the number of the attempt, from 1.
    - `workflow_id`: the id of the workflow whose step it is, or None.
    - `queue`: the queue from which it was claimed.
    - `cancelled`: turns True when the attempt is no longer wanted (cancelled, timed out, its lease lost): a `def` task,
      which cannot be interrupted, may look at it and return.
    """

    id: str
    attempt: int
    workflow_id: str | None
    queue: str
    cancelled: bool = False


attempt: ContextVar[Attempt] = ContextVar("currant.attempt")  # the worker sets it


def active_run() -> WorkflowRun | None:
    """The run whose activation is going on in this thread."""
    loop = _get_running_loop()
    return loop.host if isinstance(loop, ActiveLoop) else None  # type: ignore[return-value]


def _run(what: str) -> WorkflowRun:
    run = active_run()
    if run is None:
        raise mistake(NotRunning(f"{what} was called outside a workflow"))
    return run


def current() -> Attempt:
    """Return the attempt of the task that calls this. Raises `NotRunning` outside a task."""
    try:
        return attempt.get()
    except LookupError:
        raise mistake(NotRunning("current() was called outside a task")) from None


async def sleep(seconds: float | timedelta) -> None:
    """Wait for seconds or a timedelta. In a workflow the wait is durable, elsewhere it is `asyncio.sleep`.

    In a workflow `asyncio.sleep` is durable, too. Raises `TypeError` or `ValueError` for a wrong time.
    """
    if seconds is None:
        raise TypeError("sleep takes seconds or a timedelta, not None")
    await asyncio.sleep(waiting_time(seconds, "the time to sleep"))


def wait_for_signal(name: str, timeout: float | timedelta | None = None, type: Any = Any) -> Coroutine[Any, Any, Any]:
    """Wait in a workflow for the next signal of that name; awaiting returns its payload.

    - `timeout`: seconds or a timedelta. Default: no time-out.
    - `type`: the type as which the payload is returned. Default: plain JSON.

    A signal that was sent before the wait is not lost. Signals are returned in the order in which they were sent, each
    to one wait.

    Raises at the call `NotRunning` outside a workflow, `TypeError` or `ValueError` for a wrong name or time-out,
    `SerializationError` for a `type` that JSON cannot carry. When awaited it raises `SignalTimeout` when the time is
    over, and `SerializationError` when the payload does not fit `type`.
    """
    run = _run("wait_for_signal")
    return run.wait_for_signal(signal_name(name), waiting_time(timeout, "timeout"), type)


def signal_name(value: Any) -> str:
    """Check the name of a signal."""
    return text(value, "the name of a signal", limits.SIGNAL_NAME_CHARACTERS)


def get_version(change_id: str, minimum: int, maximum: int) -> int:
    """Return the version of a piece of a workflow's code that this run uses: chosen once, and recorded.

    `change_id` names the change. A run that comes here for the first time records `maximum`; a run that passed here
    before the change gets `minimum`. A run whose version is not between the two becomes incompatible
    (`NonDeterminismError`). Raises `ValueError` for a bad range, `NotRunning` outside a workflow.
    """
    return _run("get_version").get_version(change_id, minimum, maximum)


def side_effect(function: Callable[[], T], type: Any = Any) -> T:
    """Call a plain `function` once in the life of a workflow's run, and return its value. It is not awaited.

    In a replay (after a crash, an eviction) the recorded value is returned, as `type` (default: plain JSON). Use it for
    quick work whose value may differ at the next call: reading a setting, the real clock. `function` cannot call steps.

    Raises `ExecutionFailed` if `function` raises, then and in each replay; `SerializationError` when JSON cannot carry
    the value as `type`; `NotRunning` outside a workflow.
    """
    return _run("side_effect").side_effect(function, type)  # type: ignore[no-any-return]


def is_replaying() -> bool:
    """Return whether the workflow is doing again what was recorded.

    Use it to log things once, never to decide anything. Raises `NotRunning` outside a workflow.
    """
    return _run("is_replaying").is_replaying()


def now() -> datetime:
    """Return the workflow's time, UTC: that of its last outcome, the same in every replay. Raises `NotRunning`."""
    return _run("now").now()


def random() -> float:
    """Return a random number, 0 <= number < 1, that is the same in every replay. Raises `NotRunning`."""
    return _run("random").random()


def uuid4() -> uuids.UUID:
    """Return a random UUID that is the same in every replay. Raises `NotRunning` outside a workflow."""
    return _run("uuid4").uuid4()
