"""The tasks that run in a worker: started, answered, cancelled, handed back."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any

from currant import context
from currant._base.user_errors import SafeLogger, interrupted, is_a
from currant._payloads.codec import encode_error
from currant._worker import forks
from currant._worker.failures import log_failure, matches
from currant._worker.host import Host
from currant._worker.threads import Threads
from currant.context import Attempt
from currant.decorators import Function
from currant.errors import UnknownFunction, is_mistake

_log = SafeLogger(logging.getLogger("currant.worker"))

_SUSPECT = 3  # times that a task was handed back before the log says that it may be what stops workers
_STUCK = 10.0  # seconds after its time-out from which a task that has not ended counts as stuck

_endless: list[asyncio.Task[None]] = []  # kept for ever: they ignore their cancellation


class RunningTask:
    """One attempt of a task in this worker."""

    __slots__ = ("attempt", "began", "end_reason", "function", "lease", "non_retryable", "plain", "span", "task")

    def __init__(self, lease: int, attempt: Attempt, function: Function[..., Any], non_retryable: list[str]) -> None:
        self.began = False  # whether the coroutine of `task` has had its first turn
        self.lease = lease
        self.attempt = attempt
        self.function = function
        self.plain = function.plain
        self.non_retryable = non_retryable
        self.end_reason = ""  # timeout, cancelled, ...: set when the outcome is decided; the code may still run
        self.task: asyncio.Task[None] | None = None  # None if it runs in a thread
        self.span: Any = None  # where tracing is on


class Tasks:
    """The tasks of one worker that have started and not ended.

    `concurrency`: how many tasks the engine hands out at a time. `deliver` takes the activation that
    the answer to a task brings.
    """

    def __init__(self, host: Host, concurrency: int, deliver: Callable[[tuple[Any, ...] | None], None]) -> None:
        self._host = host
        self._concurrency = concurrency
        self._deliver = deliver
        self._threads = Threads(concurrency)
        self._process = os.getpid()
        self._running: dict[tuple[str, int], RunningTask] = {}  # by id and lease

    def __len__(self) -> int:
        return len(self._running)

    # Items of the engine

    def start(
        self,
        id: str,
        lease: int,
        number: int,
        name: str,
        queue: str,
        workflow_id: str | None,
        args: bytes,
        timeout: float | None,
        non_retryable: list[str],
        headers: str | None = None,
    ) -> None:
        """Start an attempt, on the event loop or in a thread."""
        host = self._host
        function = host.functions.get(name)
        if function is None or function.kind != "task":
            self._fail_unknown(id, lease, name, number, queue)
            return
        running = RunningTask(lease, Attempt(id, number, workflow_id, queue), function, non_retryable)
        self._running[id, lease] = running
        if host.tracing is not None:
            running.span = host.tracing.attempt(name, id, number, queue, headers)
            if running.span is not None:
                running.plain = host.tracing.within(running.span, function.plain, function.is_async)
        if function.is_async:
            running.task = host.loop.create_task(self._run_async(running, lambda: _call_plain(running, args)))
        else:
            self._threads.submit(lambda: self._run_in_thread(running, args))

    def cancel(self, id: str, lease: int, reason: str) -> None:
        """End an attempt that was cancelled or has timed out."""
        running = self._running.get((id, lease))
        if running is not None:
            self._end(running, reason)
            if reason == "timeout":
                self._host.loop.call_later(_STUCK, self._stop_if_all_are_stuck)

    def drop(self, id: str, lease: int, reason: str) -> bool:
        """End an attempt whose lease is lost. Returns False if it does not run here."""
        running = self._running.get((id, lease))
        if running is None:
            return False
        _log.warning("task %s is dropped: %s", id, reason, extra={"execution_id": id})
        self._end(running, reason)
        return True

    def fail_unhandled(self, id: str, lease: int, error: BaseException) -> None:
        """Fail an attempt that could not be started because of a defect of the worker."""
        self._running.pop((id, lease), None)
        self._deliver(self._host.engine.fail(id, lease, encode_error(error, id), True))

    def _fail_unknown(self, id: str, lease: int, name: str, number: int, queue: str) -> None:
        error = UnknownFunction(f"no task {name} is registered in worker {self._host.name}")
        log_failure(name, id, number, queue, error)
        # The failure is retryable: a worker that has the task may start soon.
        self._deliver(self._host.engine.fail(id, lease, encode_error(error, id), True))

    # One attempt

    async def _run_async(self, running: RunningTask, call: Callable[[], Any]) -> None:
        running.began = True
        context.attempt.set(running.attempt)
        payload = None
        try:
            payload = running.function.encode_result(await call())
        except BaseException as error:  # SystemExit, KeyboardInterrupt, GeneratorExit of a task are its own failure
            if interrupted(error) or self._is_closing(running, error):
                raise
            self._ended(running, None, error)
        else:
            self._ended(running, payload, None)

    def _is_closing(self, running: RunningTask, error: BaseException) -> bool:
        """Whether the coroutine of a task is being closed from outside, which throws GeneratorExit into it."""
        return (
            is_a(error, GeneratorExit)
            and running.task is not None
            and asyncio.current_task(self._host.loop) is not running.task
        )

    def _run_in_thread(self, running: RunningTask, data: bytes) -> None:
        payload, error = None, None
        try:
            own = contextvars.Context()
            result = own.run(_call_plain, running, data)
            if inspect.isawaitable(result):  # a decorator made a `def` of an `async def`
                with contextlib.suppress(RuntimeError):
                    self._host.loop.call_soon_threadsafe(self._await_on_loop, running, result, own)
                return
            payload = own.run(running.function.encode_result, result)
        except BaseException as raised:
            error = raised
        if os.getpid() != self._process:
            forks.leave(error)
        # RuntimeError: the worker has ended and closed its loop; nobody waits for this outcome any more.
        with contextlib.suppress(RuntimeError):
            self._host.loop.call_soon_threadsafe(self._ended, running, payload, error)

    def _await_on_loop(self, running: RunningTask, result: Any, own: contextvars.Context) -> None:
        """Await on the loop what a function in a thread returned."""
        if running.end_reason or self._host.closed:
            if inspect.iscoroutine(result):
                result.close()
            self._ended(running, None, asyncio.CancelledError())
            return
        try:
            running.task = own.run(self._host.loop.create_task, self._run_async(running, lambda: result))
        except Exception as error:  # a task factory of the program
            self._ended(running, None, error)

    def _ended(self, running: RunningTask, payload: bytes | None, error: BaseException | None) -> None:
        """Answer the engine after the code of an attempt has ended, whatever the error or the program's hooks do."""
        if os.getpid() != self._process:
            forks.leave(error)
        host, id = self._host, running.attempt.id
        self._running.pop((id, running.lease), None)
        if running.span is not None and host.tracing is not None:
            outcome = running.end_reason or ("completed" if error is None else "failed")
            host.tracing.end(running.span, error, outcome)
        if host.closed:
            return
        try:
            activation = self._answer(running, payload, error)
        except Exception as broken:  # a defect of ours; an attempt without an answer would keep its permit
            _log.failure(broken, "%s %s could not be answered", running.function.name, id)
            activation = host.engine.fail(id, running.lease, encode_error(broken, id), True)
        if activation is not None:
            # Outside of the task's context: what a workflow does next must not see what the task has set.
            contextvars.Context().run(self._deliver, activation)
        host.note_end()

    def _answer(
        self, running: RunningTask, payload: bytes | None, error: BaseException | None
    ) -> tuple[Any, ...] | None:
        attempt, engine = running.attempt, self._host.engine
        if running.end_reason:
            engine.release(attempt.id, running.lease)
            return None
        if error is None:
            return engine.complete(attempt.id, running.lease, payload or b"null")
        retryable = not is_mistake(error) and not matches(error, running.non_retryable)
        log_failure(running.function.name, attempt.id, attempt.attempt, attempt.queue, error)
        return engine.fail(attempt.id, running.lease, encode_error(error, attempt.id), retryable)

    def _end(self, running: RunningTask, reason: str) -> None:
        running.end_reason = running.end_reason or reason
        running.attempt.cancelled = True
        if running.task is not None:
            try:
                running.task.cancel()
            except BaseException as error:  # the task waits for an object of the program whose `cancel` raises
                _log.failure(error, "task %s %s could not be cancelled", running.function.name, running.attempt.id)
            if not running.began:  # asyncio does not enter a coroutine that is cancelled before its first turn
                self._ended(running, None, asyncio.CancelledError())

    def _stop_if_all_are_stuck(self) -> None:
        stuck = sum(1 for running in self._running.values() if running.end_reason == "timeout")
        if stuck >= self._concurrency and not self._host.closed:
            self._host.stop(f"all {stuck} slots are taken by tasks that timed out and do not end")

    # The end of the worker

    async def hand_back(self, patience: float) -> None:
        """End what still runs, for another worker to run it again. Waits `patience` seconds for async tasks to end."""
        left = list(self._running.values())
        if left:
            _log.warning("worker %s hands %d tasks back", self._host.name, len(left))
        for running in left:
            _log_hand_back(running)
            self._end(running, "shutdown")
        tasks = [running.task for running in left if running.task is not None]
        if tasks:
            _, endless = await asyncio.wait(tasks, timeout=patience)
            for task in endless:
                # `asyncio.run` waits for every task it knows of: one that ignores its end would keep the process alive.
                asyncio.tasks._unregister_task(task)
                _endless.append(task)

    def close(self) -> None:
        """Let the threads end when what they run has ended."""
        self._threads.close()


def _call_plain(running: RunningTask, data: bytes) -> Any:
    context.attempt.set(running.attempt)
    args, kwargs = running.function.decode_args(data)
    running.function.bind(args, kwargs)
    return running.plain(*args, **kwargs)


def _log_hand_back(running: RunningTask) -> None:
    """Log what ran when the worker stopped. A task that stops workers by a signal costs no attempt, so it must show.

    The number of a lease grows when the lease is given and when it ends, so half of it is how often the execution was
    claimed. `attempt` counts those that cost an attempt. (`currant retry` sets attempts to 0: the difference is then
    larger than the number of hand-backs.)
    """
    attempt, name = running.attempt, running.function.name
    extra = {"function": name, "execution_id": attempt.id, "queue": attempt.queue}
    times = (running.lease + 1) // 2 - (attempt.attempt - 1)
    if times < _SUSPECT:
        _log.warning("%s %s is handed back", name, attempt.id, extra=extra)
    else:
        _log.error(
            "%s %s is handed back for the %d. time, at no cost: if it is no long task in many roll-outs, "
            "look for what in it sends signals to its own process (os.kill, os.killpg, `kill 0`)",
            name,
            attempt.id,
            times,
            extra=extra,
        )
