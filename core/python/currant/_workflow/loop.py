"""The event loop a workflow runs on: a ready queue, a recorded clock, no I/O. All that it does follows from its input.

Activations are called from a plain callback of the worker's own loop, in the same thread. Keys of steps and hashes of
tasks depend on nothing but the workflow's code and the outcomes it was given (rules a, i and j of
docs/internals/rules.md).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import logging
import math
import sys
import weakref
import zlib
from asyncio import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, NoReturn, Protocol

from currant._base.user_errors import SafeLogger, interrupted, is_a
from currant._workflow.active import ActiveLoop
from currant._workflow.blocking_guard import install_blocking_guard
from currant.errors import WorkflowSuspendException

__all__ = ["WorkflowFuture", "WorkflowLoop", "WorkflowTask", "install_blocking_guard"]

_current_task = asyncio.current_task
_log = SafeLogger(logging.getLogger(__name__))

_LATEST = 253_402_300_799_000_000  # the end of the year 9999, in microseconds: "never" for a timer
_ONE_TASK_PER_THREAD = sys.version_info >= (3, 14)
_LONGEST_PATH = 120  # a step key has at most 200 characters


class Host(Protocol):
    """The part of a run that its loop calls."""

    def timer_cancelled(self, timer: Timer) -> None:
        """Note that the workflow no longer waits for a timer that had become a command."""


class Handle(asyncio.Handle):
    """A callback in the ready queue. asyncio's own does more (debug, repr) and takes three times as long to make."""

    __slots__ = ()

    _callback: Callable[..., object] | None
    _context: contextvars.Context

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = None
        self._args = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._callback!r}>"


class Timer(asyncio.TimerHandle):
    """A callback that is due later. It becomes a command (`recorded`) if it outlives the activation that made it."""

    __slots__ = ("due", "host", "key", "recorded")

    _callback: Callable[..., object] | None
    _context: contextvars.Context

    def __init__(
        self, due: int, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self.due = due
        self.key = ""
        self.host: Host | None = None
        self.recorded = False

    def when(self) -> float:
        return self.due / 1_000_000

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback = None
            self._args = ()
            if self.recorded and self.host is not None:
                self.host.timer_cancelled(self)

    def __repr__(self) -> str:
        return f"<Timer {self.key} due {self.due} {self._callback!r}>"

    # asyncio's compare by time; here a timer is only ever itself.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class WorkflowFuture(asyncio.Future[Any]):
    """A future whose hash is its number in the run: sets iterate by hash, and `asyncio.wait` returns sets.

    It gets the number when its hash is first asked for, which happens to few futures.
    """

    __slots__ = ("_number",)
    _number: int

    def __hash__(self) -> int:
        try:
            return self._number
        except AttributeError:
            self._number = self.get_loop().next_number()  # type: ignore[attr-defined]
            return self._number


class Branch:
    """Allots keys. One per task; plain callbacks, which belong to no task, share the branch `c`."""

    __slots__ = ("branches", "path", "prefix", "steps")

    def __init__(self, path: str) -> None:
        self.path = path
        self.prefix = f"{path}/" if path else ""
        self.steps = 0
        self.branches = 0


class WorkflowTask(asyncio.Task[Any]):
    """A branch of a workflow. Its path comes from the branch that made it; its hash is its number in the run.

    It counts its cancels itself: from Python 3.13 on, asyncio's `uncancel` also takes back a cancel that the task has
    not seen yet. On this loop it never does; a TaskGroup, which relies on that, calls `cancel_again` instead.
    """

    __slots__ = ("_cancels", "_number", "branch")

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        loop: WorkflowLoop,
        path: str,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self._number = loop.next_number()
        self._cancels = 0
        self.branch = Branch(path)
        super().__init__(coro, loop=loop, name=name or path or "main", context=context)

    def __hash__(self) -> int:
        return self._number

    def cancel(self, msg: Any | None = None) -> bool:
        # An eviction is not a cancel: what asyncio cancels while it unwinds (the rest of a TaskGroup) has its own
        # WorkflowSuspendException on the way, which a CancelledError must not replace.
        if self.get_loop().evicting:  # type: ignore[attr-defined]
            return False
        cancelled = super().cancel(msg)
        self._cancels += cancelled
        return cancelled

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def cancel_again(self) -> None:
        """Cancel what the task waits for next, if it is cancelled already and `uncancel` does not take that back first.

        A TaskGroup that ends with errors does this: the errors hide a cancel that came meanwhile from outside.
        """
        if self._cancels:
            self.get_loop().call_soon(self._cancel_again)

    def _cancel_again(self) -> None:
        if self._cancels and not self.get_loop().evicting:  # type: ignore[attr-defined]
            super().cancel()


class WorkflowLoop(ActiveLoop):
    """The deterministic loop of one run. `clock` is in microseconds since 1970, UTC."""

    def __init__(self, run_id: str, host: Host) -> None:
        self.host: Host | None = host
        self.clock = 0
        self.new_timers: list[Timer] = []  # made in this activation
        self.evicting = False
        self._closed = False
        self._ready: deque[Handle | Timer] = deque()
        # Strong references: asyncio itself keeps weak ones, and a task that is collected runs its `finally` anywhere.
        self._tasks: list[WorkflowTask] = []
        self._tasks_limit = 16
        self._callbacks = Branch("c")
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._left_asyncgens: list[AsyncGenerator[Any, Any]] = []
        self._asyncgen_hooks: tuple[Any, ...] = (self._asyncgen_started, self._asyncgen_left)
        # Runs start at numbers far apart: asyncio keeps the tasks of all loops in one set.
        self._number = zlib.crc32(run_id.encode()) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFF

    # --- an activation

    def enter(self) -> tuple[Any, ...]:
        """Make this the thread's running loop. Returns what `leave` puts back."""
        outer = _get_running_loop()
        if type(outer) is WorkflowLoop:
            raise RuntimeError("a workflow cannot be run inside another one's activation")
        task = _swap_task(outer) if _ONE_TASK_PER_THREAD else None
        before = (outer, sys.get_asyncgen_hooks(), gc.isenabled(), task)
        # The garbage collector runs at a moment that no replay repeats, so it must not run in a workflow's branch.
        gc.disable()
        _set_running_loop(self)
        sys.set_asyncgen_hooks(*self._asyncgen_hooks)
        return before

    def leave(self, before: tuple[Any, ...]) -> None:
        """End what `enter` began."""
        outer, hooks, collect, task = before
        sys.set_asyncgen_hooks(*hooks)
        _set_running_loop(outer)
        if task is not None:
            _swap_task(outer, task)
        if collect:
            gc.enable()

    def run_ready(self) -> None:
        """Run callbacks until nothing is ready."""
        ready = self._ready
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)  # type: ignore[arg-type]
            except BaseException as error:  # SystemExit too: the task that raised it keeps it
                if interrupted(error):
                    raise
                self.call_exception_handler({"message": f"in callback {_shown(handle)}", "exception": error})

    def fire(self, timer: Timer) -> None:
        """Run the callback of a timer that is due."""
        timer.recorded = False
        self._ready.append(timer)

    def next_number(self) -> int:
        self._number = number = self._number + 1
        return number

    def next_key(self) -> str:
        """The key of the next step of the branch that is running (rule i)."""
        branch = self._branch()
        position = branch.steps
        branch.steps = position + 1
        return branch.prefix + str(position)

    def _branch(self) -> Branch:
        task = _current_task(self)
        if task is None:
            return self._callbacks
        try:
            return task.branch  # type: ignore[attr-defined, no-any-return]
        except AttributeError:
            raise RuntimeError("make tasks in a workflow with asyncio.create_task, not asyncio.Task") from None

    def alive_tasks(self) -> list[WorkflowTask]:
        """Tasks that have not ended, in the order in which they were made."""
        self._tasks = alive = [task for task in self._tasks if not task.done()]
        return alive

    def throw(self) -> bool:
        """Throw WorkflowSuspendException into every task that waits for something. Returns False if no task does."""
        thrown = False
        for task in self.alive_tasks():
            leaf = task._fut_waiter  # type: ignore[attr-defined]
            if leaf is not None and not isinstance(leaf, asyncio.Task) and not leaf.done():
                leaf.set_exception(WorkflowSuspendException())
                thrown = True
        return thrown

    def has_asyncgens(self) -> bool:
        return bool(self._left_asyncgens) or len(self._asyncgens) > 0

    def open_asyncgens(self) -> list[AsyncGenerator[Any, Any]]:
        """Async generators that were started and not finished."""
        agens = self._left_asyncgens + [agen for agen in self._asyncgens if agen not in self._left_asyncgens]
        self._left_asyncgens = []
        self._asyncgens.clear()
        return agens

    def close(self) -> None:
        """Close the loop: nothing runs on it any more."""
        self._closed = True
        self._ready.clear()
        self.new_timers.clear()
        if all(task.done() for task in self._tasks):
            self._tasks.clear()
        self.host = None
        self._asyncgen_hooks = (None, None)  # so that the run's memory is free as soon as nobody refers to it

    # --- callbacks, timers, tasks: what asyncio calls

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if _get_running_loop() is not self:
            raise RuntimeError(
                "a workflow cannot be resumed from outside: what it waits for must be a durable step, "
                "so put it in a task or send a signal"
            )
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._timer(self.due(delay), callback, args, context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self._timer(_micros(when), callback, args, context)

    def due(self, delay: float) -> int:
        """The clock `delay` seconds from now, in microseconds since 1970."""
        return min(self.clock + _micros(delay), _LATEST)

    def _timer(
        self, due: int, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> Timer:
        # Also while the run unwinds: such a timer never becomes a command, and the exception ends the wait for it.
        timer = Timer(min(due, _LATEST), callback, args, contextvars.copy_context() if context is None else context)
        if due <= self.clock:
            self._ready.append(timer)
        else:
            timer.key = self.next_key()
            timer.host = self.host
            self.new_timers.append(timer)
        return timer

    def time(self) -> float:
        """The recorded clock, in seconds since 1970."""
        return self.clock / 1_000_000

    def create_future(self) -> asyncio.Future[Any]:
        return WorkflowFuture(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,  # eager_start, from Python 3.14 on: tasks of a workflow start when the loop comes to them
    ) -> WorkflowTask:
        parent = self._branch()
        number = parent.branches
        parent.branches = number + 1
        path = f"{parent.path}.{number}" if parent.path else str(number)
        if len(path) > _LONGEST_PATH:
            path = "h" + hashlib.sha256(path.encode()).hexdigest()[:32]
        return self.start_branch(coro, path, name, context)

    def start_branch(
        self, coro: Coroutine[Any, Any, Any], path: str, name: str | None, context: contextvars.Context | None
    ) -> WorkflowTask:
        """A task with this path; the main one has the empty path."""
        task = WorkflowTask(coro, self, path, name, context)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_limit:
            self._tasks_limit = 2 * len(self.alive_tasks()) + 16
        return task

    # --- async generators (PEP 525)

    def _asyncgen_started(self, agen: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens.add(agen)

    def _asyncgen_left(self, agen: AsyncGenerator[Any, Any]) -> None:
        if _get_running_loop() is self:  # its last reference went, at a moment that a replay repeats
            self._asyncgens.discard(agen)
            self.call_soon(self.create_task, agen.aclose())
        elif not self._closed:  # found by the garbage collector: the generator is kept, and closed when the run ends
            self._left_asyncgens.append(agen)

    async def shutdown_asyncgens(self) -> None:
        for agen in self.open_asyncgens():
            await agen.aclose()

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Do nothing: this loop has no executor."""

    # --- the rest of asyncio's interface

    def is_running(self) -> bool:
        return _get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Do nothing: the loop has no debug mode."""

    def get_task_factory(self) -> None:
        return None

    def set_task_factory(self, factory: object) -> None:
        if factory is not None:
            raise RuntimeError("a workflow's loop makes its own tasks: a task factory cannot be set")

    def get_exception_handler(self) -> None:
        return None

    def set_exception_handler(self, handler: object) -> None:
        if handler is not None:
            raise RuntimeError("an exception handler cannot be set in a workflow")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As in asyncio, an exception that nobody awaits is logged and goes no further."""
        error = context.get("exception")
        if error is None or not _is_suspension(error):
            _log.warning("in a workflow: %s", context.get("message"), exc_info=error)

    def __repr__(self) -> str:
        return f"<WorkflowLoop closed={self._closed}>"


def _is_suspension(error: BaseException) -> bool:
    if is_a(error, BaseExceptionGroup):  # of a TaskGroup
        return all(map(_is_suspension, _members(error)))
    return is_a(error, WorkflowSuspendException)


_members = BaseExceptionGroup.exceptions.__get__  # the method of the base class, not a property of a subclass


def _shown(handle: Handle | Timer) -> str:
    try:
        return repr(handle)
    except BaseException:  # a callable with a `__repr__` of its own
        return type(handle).__name__


def _micros(seconds: float) -> int:
    if math.isnan(seconds):
        raise ValueError("Invalid delay: NaN (not a number)")
    if seconds > 1e12:
        return _LATEST
    return round(seconds * 1_000_000)


def _swap_task(loop: asyncio.AbstractEventLoop | None, task: Any = None) -> Any:
    """From Python 3.14 on the current task belongs to the thread, not to the loop: save the worker's."""
    tasks: Any = asyncio.tasks
    return None if loop is None else tasks._swap_current_task(loop, task)


def _refuse(name: str, message: str) -> Callable[..., NoReturn]:
    def refuse(self: WorkflowLoop, *args: Any, **kwargs: Any) -> NoReturn:
        for arg in args:
            if asyncio.iscoroutine(arg):
                arg.close()
        raise RuntimeError(message)

    refuse.__name__ = name
    return refuse


_IO = """
    run_in_executor set_default_executor getaddrinfo getnameinfo create_connection create_server sendfile start_tls
    create_unix_connection create_unix_server connect_accepted_socket create_datagram_endpoint connect_read_pipe
    connect_write_pipe subprocess_shell subprocess_exec add_reader remove_reader add_writer remove_writer sock_recv
    sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendto sock_connect sock_accept sock_sendfile
    add_signal_handler remove_signal_handler
"""
for _name in _IO.split():
    setattr(WorkflowLoop, _name, _refuse(_name, f"I/O in a workflow (loop.{_name}): put it in a task"))
for _name in ("run_forever", "run_until_complete", "stop"):
    setattr(WorkflowLoop, _name, _refuse(_name, f"a workflow's loop is driven by its worker, not by {_name}()"))
# Other methods raise NotImplementedError: Python does not make AbstractEventLoop abstract, type checkers do.
