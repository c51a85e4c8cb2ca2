"""Methods of asyncio's classes in a workflow, where asyncio's own differ between versions of Python, even patches.

They are as in Python 3.13 or a later fix of it, and use the attributes that asyncio's `__init__` sets. What differs:

- `Timeout`: before 3.11.3 a time-out in a task that had caught a cancel did not raise TimeoutError.
- `TaskGroup`: before 3.13 a cancel that came while the group ended with errors was lost; there were fixes since.
- `Condition`: before 3.13 a notification was lost when its receiver was cancelled at the same time.
- `Semaphore`: before 3.13 each task that got a permit woke only the next one, though more permits were free.

`asyncio_patches` puts them in place. `Task.uncancel` differs, too: `WorkflowTask` has its own.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections import deque
from types import TracebackType
from typing import Any

_State: Any = asyncio.timeouts._State  # type: ignore[attr-defined]

# --- Timeout


def reschedule_timeout(scope: Any, when: float | None) -> None:
    """See `asyncio.Timeout.reschedule`."""
    if scope._state is _State.CREATED:
        raise RuntimeError("Timeout has not been entered")
    if scope._state is not _State.ENTERED:
        raise RuntimeError(f"Cannot change state of {scope._state.value} Timeout")
    scope._when = when
    _stop_timer(scope)
    if when is not None:
        loop = asyncio.get_running_loop()
        if when <= loop.time():
            scope._timeout_handler = loop.call_soon(scope._on_timeout)
        else:
            scope._timeout_handler = loop.call_at(when, scope._on_timeout)


async def enter_timeout(scope: Any) -> Any:
    """See `asyncio.Timeout`."""
    if scope._state is not _State.CREATED:
        raise RuntimeError("Timeout has already been entered")
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("Timeout should be used inside a task")
    scope._state = _State.ENTERED
    scope._task = task
    scope._cancelling = task.cancelling()
    reschedule_timeout(scope, scope._when)
    return scope


async def exit_timeout(
    scope: Any, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
) -> None:
    """See `asyncio.Timeout`."""
    _stop_timer(scope)
    if scope._state is _State.EXPIRING:
        scope._state = _State.EXPIRED
        # Cancels from before the scope was entered are somebody else's. The task may have caught them.
        if scope._task.uncancel() <= scope._cancelling and _is_cancel(kind):
            raise TimeoutError from error
    elif scope._state is _State.ENTERED:
        scope._state = _State.EXITED


def _stop_timer(scope: Any) -> None:
    if scope._timeout_handler is not None:
        scope._timeout_handler.cancel()
        scope._timeout_handler = None


def _is_cancel(kind: type[BaseException] | None) -> bool:
    return kind is not None and issubclass(kind, CancelledError)


# --- TaskGroup


async def exit_group(
    group: Any, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
) -> bool:
    """See `asyncio.TaskGroup`."""
    group._exiting = True
    if isinstance(error, (SystemExit, KeyboardInterrupt)) and group._base_error is None:
        group._base_error = error
    if kind is not None and not group._aborting:
        group._abort()
    cancel, late_cancel = await _join_group(group)
    outcome = _group_outcome(group, error, error if _is_cancel(kind) else cancel, late_cancel)
    try:
        if outcome is not None:
            raise outcome
        return True
    finally:
        # An error refers to this frame, so the frame must not refer to the error: nobody would collect the two.
        group._parent_task = group._errors = group._base_error = None
        error = cancel = late_cancel = outcome = None


def _group_outcome(
    group: Any, error: BaseException | None, cancel: BaseException | None, late_cancel: BaseException | None
) -> BaseException | None:
    """The exception of a group whose body ended with `error` and whose tasks have ended."""
    if group._base_error is not None:
        return group._base_error  # type: ignore[no-any-return]
    if group._parent_cancel_requested:  # by the group itself, when a task failed
        cancel = None if group._parent_task.uncancel() == 0 else cancel or late_cancel
    if cancel is not None and not group._errors:
        return cancel
    if error is not None and not _is_cancel(type(error)):
        group._errors.append(error)
    if not group._errors:
        return None
    group._parent_task.cancel_again()
    if isinstance(error, GeneratorExit) and len(group._errors) == 1:
        return error  # an asynchronous generator is closed
    errors = BaseExceptionGroup("unhandled errors in a TaskGroup", group._errors)
    errors.__suppress_context__ = True
    return errors


async def _join_group(group: Any) -> tuple[BaseException | None, BaseException | None]:
    """Wait for the group's tasks. Returns the cancel that ended the group, and the last one that came at all."""
    first: BaseException | None = None
    last: BaseException | None = None
    while group._tasks:
        if group._on_completed_fut is None:
            group._on_completed_fut = group._loop.create_future()
        try:
            await group._on_completed_fut
        except CancelledError as cancel:
            last = cancel
            if not group._aborting:
                first = cancel
                group._abort()
        group._on_completed_fut = None
    return first, last


# --- Condition


async def wait_for_notification(condition: Any) -> bool:
    """See `asyncio.Condition.wait`."""
    if not condition.locked():
        raise RuntimeError("cannot wait on un-acquired lock")
    notification = condition._get_loop().create_future()
    condition.release()
    try:
        try:
            condition._waiters.append(notification)
            try:
                await notification
                return True
            finally:
                condition._waiters.remove(notification)
        finally:
            await _acquire_again(condition)
    except BaseException:
        _notify_next(condition)  # the notification may have come already: another waiter shall have it
        raise


async def _acquire_again(condition: Any) -> None:
    cancel: BaseException | None = None
    while True:
        try:
            await condition.acquire()
            break
        except CancelledError as error:
            cancel = error
    try:
        if cancel is not None:
            raise cancel
    finally:
        cancel = None  # as in `exit_group`


def _notify_next(condition: Any) -> None:
    for waiter in condition._waiters:
        if not waiter.done():
            waiter.set_result(False)
            return


# --- Semaphore


async def acquire_semaphore(semaphore: Any) -> bool:
    """See `asyncio.Semaphore.acquire`."""
    if not semaphore.locked():
        semaphore._value -= 1
        return True
    if semaphore._waiters is None:
        semaphore._waiters = deque()
    turn = semaphore._get_loop().create_future()
    semaphore._waiters.append(turn)
    try:
        try:
            await turn
        finally:
            semaphore._waiters.remove(turn)
    except CancelledError:
        if turn.done() and not turn.cancelled():
            semaphore._value += 1  # the permit was given already
        raise
    finally:
        _give_permits(semaphore)
    return True


def _give_permits(semaphore: Any) -> None:
    for waiter in semaphore._waiters:
        if semaphore._value <= 0:
            return
        if not waiter.done():
            semaphore._value -= 1
            waiter.set_result(True)
