"""The calls of workflow and task code: durable waits, recorded time and random numbers, the current attempt."""

from __future__ import annotations

import asyncio
import uuid as uuids
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from currant._base.checks import signal_name, waiting_time
from currant._workflow.loop import WorkflowLoop
from currant._workflow.run import WorkflowRun
from currant.errors import NotRunning, mistake

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
    """The attempt of a task that is running. `cancelled` turns True when it is no longer wanted."""

    id: str
    attempt: int
    workflow_id: str | None
    queue: str
    cancelled: bool = False


attempt: ContextVar[Attempt] = ContextVar("currant.attempt")  # the worker sets it


def active_run() -> WorkflowRun | None:
    """The run whose activation is going on in this thread."""
    loop = _get_running_loop()
    return loop.host if isinstance(loop, WorkflowLoop) else None  # type: ignore[return-value]


def _run(what: str) -> WorkflowRun:
    run = active_run()
    if run is None:
        raise mistake(NotRunning(f"{what} was called outside a workflow"))
    return run


def current() -> Attempt:
    """The attempt of the task that calls. Raises `NotRunning` outside a task."""
    try:
        return attempt.get()
    except LookupError:
        raise mistake(NotRunning("current() was called outside a task")) from None


async def sleep(seconds: float | timedelta) -> None:
    """Wait. In a workflow the wait is durable (`asyncio.sleep` is the same there), elsewhere it is asyncio's."""
    if seconds is None:
        raise TypeError("sleep takes seconds or a timedelta, not None")
    await asyncio.sleep(waiting_time(seconds, "the time to sleep"))


def wait_for_signal(name: str, timeout: float | timedelta | None = None, type: Any = Any) -> Coroutine[Any, Any, Any]:
    """Wait for the next signal of that name, and return its payload as `type` (default: plain JSON).

    A signal that was sent before the wait is not lost. Signals are returned in the order in which they were sent, each
    to one wait. Raises `SignalTimeout` when `timeout` (seconds or a timedelta; default: none) is over, and
    `SerializationError` when the payload does not fit `type`. Raises at the call, before anything is awaited:
    `TypeError` or `ValueError` for a wrong name or time-out, `SerializationError` for a `type` that JSON cannot carry.
    """
    run = _run("wait_for_signal")
    return run.wait_for_signal(signal_name(name), waiting_time(timeout, "timeout"), type)


def get_version(change_id: str, minimum: int, maximum: int) -> int:
    """The version of a changed piece of code that this run uses: chosen once, then recorded for all replays.

    A run that comes here for the first time records `maximum`; a run that passed here before the change gets `minimum`.
    A run whose version is not between the two becomes incompatible (`NonDeterminismError`). Raises `ValueError` for a
    bad range.
    """
    return _run("get_version").get_version(change_id, minimum, maximum)


def side_effect(function: Callable[[], T], type: Any = Any) -> T:
    """Call a plain `function` once in the run's life; return its value as `type` (default: plain JSON). Not awaited.

    Later (after a crash, an eviction) the recorded value is returned. Use it for quick work that is not repeatable:
    reading a setting, a real clock. `function` cannot call steps. If it raises, `ExecutionFailed` is raised, then and
    later. Raises `SerializationError` when JSON cannot carry the value as `type`.
    """
    return _run("side_effect").side_effect(function, type)  # type: ignore[no-any-return]


def is_replaying() -> bool:
    """True while the workflow does again what was recorded: use it to log things once, never to decide anything."""
    return _run("is_replaying").is_replaying()


def now() -> datetime:
    """The time of the outcome at hand, UTC; the same in every replay."""
    return _run("now").now()


def random() -> float:
    """A random number, 0 <= number < 1, that is the same in every replay."""
    return _run("random").random()


def uuid4() -> uuids.UUID:
    """A random UUID that is the same in every replay."""
    return _run("uuid4").uuid4()
