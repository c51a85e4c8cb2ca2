"""The worker: it pulls work from the Rust engine, runs it on the event loop or in threads, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Self

from currant import context, settings, tracing
from currant._base.checks import text, whole_number
from currant._base.user_errors import SafeLogger, class_names, interrupted, is_a, one_line
from currant._functions.names import class_name
from currant._payloads.codec import decode_error, encode_error
from currant._worker import forks, stop_signals
from currant._worker.builds import build_id
from currant._worker.threads import Threads
from currant._workflow import asyncio_patches
from currant._workflow.run import WorkflowRun, failure
from currant.client import Client, default_client
from currant.context import Attempt
from currant.decorators import Function, by_name, registry
from currant.errors import CurrantError, ExecutionFailed, SerializationError, UnknownFunction, is_mistake
from currant.rust_bridge import Engine

log = SafeLogger(logging.getLogger("currant.worker"))

_PULL = 64  # items handled before other callbacks of the event loop get their turn
_GOODBYE = 5.0  # seconds for the last writes; within them, what still runs is handed back
_SUSPECT = 3  # times that a task was handed back before the log says that it may be what stops workers
_STUCK = 10.0  # seconds after which tasks that timed out count as never ending

_endless: list[asyncio.Task[None]] = []
_parked: list[
    WorkflowRun
] = []  # runs with a task that would not end: kept for ever, since to collect one runs its code


class WorkerStopped(CurrantError):
    """The worker had to stop by itself; the message says why."""


class _Held:
    """One attempt of a task in this worker."""

    __slots__ = ("attempt", "began", "function", "lease", "non_retryable", "over", "plain", "span", "task")

    def __init__(self, lease: int, attempt: Attempt, function: Function[..., Any], non_retryable: list[str]) -> None:
        self.began = False  # whether the coroutine of `task` has had its first turn
        self.lease = lease
        self.attempt = attempt
        self.function = function
        self.plain = function.plain
        self.non_retryable = non_retryable
        self.over = ""  # why its outcome is not wanted: timeout, cancelled, ...; only its end is
        self.task: asyncio.Task[None] | None = None  # None: it runs in a thread
        self.span: Any = None  # where tracing is on


class _Hot:
    """A workflow in memory."""

    __slots__ = ("lease", "run", "trace")

    def __init__(self, lease: int, run: WorkflowRun, trace: tracing.RunTrace | None) -> None:
        self.lease = lease
        self.run = run
        self.trace = trace


class Worker:
    """Runs the registered functions for some queues.

    `concurrency`: tasks at a time, default `WORKFLOWS_WORKER_MAX_CONCURRENT`; workflows that wait do not count. `name`:
    how `currant workers` calls it, default host and process id. `functions`: serve only these, default all registered.
    Use it as `async with Worker(...)`, which drains at the end of the block, or `await worker.run()`.

    Tasks and workflows see no context variables (`contextvars`) of the program: each attempt has a fresh context.
    """

    def __init__(
        self,
        queues: Iterable[str],
        concurrency: int | None = None,
        name: str | None = None,
        functions: Iterable[Function[..., Any]] | None = None,
        client: Client | None = None,
    ) -> None:
        if isinstance(queues, str):
            raise TypeError(f"queues is a list of names: write queues=[{queues!r}]")
        self.queues = list(dict.fromkeys(text(queue, "a queue's name") for queue in queues))
        if not self.queues:
            raise ValueError("a worker serves at least one queue: give queues=[...]")
        self.settings = settings.load()
        self.concurrency = self.settings.max_concurrent
        if concurrency is not None:
            self.concurrency = whole_number(concurrency, "concurrency", 1, 100_000)
        self.name = text(name, "name") if name is not None else f"{socket.gethostname()}-{os.getpid()}"[:200]
        self._functions = registry if functions is None else by_name(functions)
        if not self._functions:
            raise ValueError("no task or workflow is registered: import the modules that define them first")
        self._client = client or default_client()
        self._engine: Engine
        self._closed = True  # nothing is answered any more, or not yet
        self._tasks: dict[tuple[str, int], _Held] = {}
        self._runs: dict[str, _Hot] = {}
        self._stop_reason: str | None = None
        self._tracing = tracing.active()

    # For programs

    async def run(self, signals: bool = True) -> None:
        """Work until `drain` is called or, with `signals`, SIGTERM, SIGINT or SIGHUP comes; then end within the grace.

        A SIGHUP that is ignored or has a handler of the program's is not the worker's. All workers of an event loop
        hear of a signal. The grace is `WORKFLOWS_WORKER_SHUTDOWN_GRACE`; a second signal ends it at once. What is not
        finished by then is handed back and costs no attempt. Raises `WorkerStopped` when the engine ended the worker.
        """
        async with self:
            with stop_signals.heard(self._loop, self._on_signal) if signals else contextlib.nullcontext():
                await self._draining.wait()
                await self._finish()
        if self._stop_reason is not None:
            raise WorkerStopped(self._stop_reason)

    @property
    def closed(self) -> bool:
        """Whether it is not running: not yet, or no more."""
        return self._closed

    def drain(self) -> None:
        """Stop claiming, and let `run` end when what is in hand is finished or the grace is over.

        To be called in the thread of its event loop.
        """
        if not self._closed and not self._draining.is_set():
            log.info("worker %s drains: %d tasks, %d workflows in hand", self.name, len(self._tasks), len(self._runs))
            self._draining.set()
            self._engine.drain()
            self._pump()

    async def __aenter__(self) -> Self:
        if not self._closed:
            raise CurrantError(f"worker {self.name} is running already")
        self._loop = asyncio.get_running_loop()
        self._draining, self._now, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stop_reason = None
        self._process = os.getpid()
        self._threads = Threads(self.concurrency)
        self._engine = engine = self._make_engine()
        try:
            engine.start()
        except ValueError as error:  # the port for health and metrics
            raise WorkerStopped(str(error)) from None
        self._closed = False
        asyncio_patches.install()
        forks.worker_starts(self.settings.http_port)
        self._loop.add_reader(engine.fileno(), self._pump)
        log.info("worker %s (%s) serves %s", self.name, engine.worker_id, ", ".join(self.queues))
        self._loop.call_soon(self._pump)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drain()
        await self._finish()

    # Start and end

    def _make_engine(self) -> Engine:
        functions = self._functions.values()
        return Engine(
            self._client.core,
            self.name,
            self.queues,
            [function.name for function in functions if function.kind == "task"],
            [function.name for function in functions if function.kind == "workflow"],
            json.dumps([function.declaration() for function in sorted(functions, key=lambda each: each.name)]),
            build_id(functions),
            self.concurrency,
            self.settings.heartbeat_interval,
            self.settings.heartbeat_timeout,
            self.settings.poll_interval,
            self.settings.max_hot,
            self.settings.long_wait,
            self.settings.http_port,
            self.settings.pool,
            self.settings.pod_name,
            self.settings.pod_uid,
            self._tracing is not None,
        )

    def _on_signal(self, number: int) -> None:
        log.info("%s received%s", signal.Signals(number).name, ": stopping now" if self._draining.is_set() else "")
        if self._draining.is_set():
            self._now.set()
        self.drain()

    async def _finish(self) -> None:
        """Wait for what is in hand as long as the grace allows, hand the rest back, say goodbye."""
        if self._closed:
            return
        self._note_idle()
        waits = [self._loop.create_task(event.wait()) for event in (self._idle, self._now)]
        try:
            await asyncio.wait(waits, timeout=self.settings.shutdown_grace, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await self._close(self._engine)

    async def _close(self, engine: Engine) -> None:
        # From here on nothing is answered: what has not ended is handed back by `stop`.
        self._closed = True
        try:
            await self._abandon_tasks()
            for id in list(self._runs):
                self._put_out(id, "handed back")
            await self._client.stop_engine(engine, _GOODBYE)
        finally:
            self._loop.remove_reader(engine.fileno())
            self._threads.close()
            asyncio_patches.uninstall()
            forks.worker_ends(self.settings.http_port)
        log.info("worker %s has stopped", self.name)

    async def _abandon_tasks(self) -> None:
        left = list(self._tasks.values())
        if left:
            log.warning("worker %s hands %d tasks back", self.name, len(left))
        for held in left:
            _log_hand_back(held)
            self._end_attempt(held, "shutdown")
        tasks = [held.task for held in left if held.task is not None]
        if tasks:
            _, endless = await asyncio.wait(tasks, timeout=0.1 if self._now.is_set() else 1.0)
            for task in endless:
                # `asyncio.run` waits for every task it knows of: one that ignores its end would keep the process alive.
                asyncio.tasks._unregister_task(task)
                _endless.append(task)

    def _note_idle(self) -> None:
        if not self._tasks and not self._runs:
            self._idle.set()
        else:
            self._idle.clear()

    # What the engine gives

    def _pump(self) -> None:
        while not self._closed:
            items = self._engine.pull(_PULL)
            for item in items:
                self._handle(*item)
            if len(items) == _PULL:
                self._loop.call_soon(self._pump)
                return
            if not items:
                return

    def _handle(self, kind: str, *item: Any) -> None:
        """Handle an item in a context of its own: nothing of the program's, or of another item, is seen in it."""
        try:
            contextvars.Context().run(self._handlers[kind], self, *item)
        except BaseException as error:  # a defect of ours must not take the other items with it
            if interrupted(error):
                raise
            log.failure(error, "worker %s could not handle %s of %s", self.name, kind, item[0])
            if kind in ("task", "run"):
                self._answer_unhandled(kind, item[0], item[1], error)

    def _answer_unhandled(self, kind: str, id: str, lease: int, error: BaseException) -> None:
        if kind == "task":
            self._tasks.pop((id, lease), None)
            self._deliver(self._engine.fail(id, lease, encode_error(error, id), True))
        else:
            self._runs.pop(id, None)
            self._deliver(self._engine.commands(id, lease, [("hold", encode_error(error, id))]))

    def _on_task(
        self,
        id: str,
        lease: int,
        number: int,
        name: str,
        queue: str,
        workflow_id: str | None,
        args: bytes,
        timeout: float | None,
        policy: tuple[Any, ...],
        headers: str | None = None,
    ) -> None:
        function = self._functions.get(name)
        if function is None or function.kind != "task":
            self._fail_unknown(id, lease, name, number, queue)
            return
        held = _Held(lease, Attempt(id, number, workflow_id, queue), function, policy[5])
        self._tasks[id, lease] = held
        if self._tracing is not None:
            held.span = self._tracing.attempt(name, id, number, queue, headers)
            if held.span is not None:
                held.plain = self._tracing.within(held.span, function.plain, function.is_async)
        if function.is_async:
            held.task = self._loop.create_task(self._run_async(held, lambda: _call_plain(held, args)))
        else:
            self._threads.submit(lambda: self._run_in_thread(held, args))

    def _on_cancel(self, id: str, lease: int, reason: str) -> None:
        held = self._tasks.get((id, lease))
        if held is not None:
            self._end_attempt(held, reason)
            if reason == "timeout":
                self._loop.call_later(_STUCK, self._look_for_stuck_tasks)

    def _on_drop(self, id: str, lease: int, reason: str) -> None:
        hot = self._runs.get(id)
        if hot is not None and hot.lease == lease:
            log.warning("workflow %s is dropped: %s", id, reason, extra={"execution_id": id})
            self._put_out(id, "dropped")
        elif (held := self._tasks.get((id, lease))) is not None:
            log.warning("task %s is dropped: %s", id, reason, extra={"execution_id": id})
            self._end_attempt(held, reason)
        else:
            log.warning("what was recorded of %s is refused: %s", id, reason, extra={"execution_id": id})

    def _on_stop(self, reason: str) -> None:
        if self._stop_reason is None:
            log.error("worker %s must stop: %s", self.name, reason)
            self._stop_reason = reason
        self.drain()

    def _on_log(self, level: str, message: str) -> None:
        log.log(logging.getLevelNamesMapping()[level.upper()], "worker %s: %s", self.name, message)

    # Tasks

    async def _run_async(self, held: _Held, call: Callable[[], Any]) -> None:
        held.began = True
        context.attempt.set(held.attempt)
        payload = None
        try:
            payload = held.function.encode_result(await call())
        except BaseException as error:  # SystemExit, KeyboardInterrupt, GeneratorExit of a task are its own failure
            if interrupted(error) or self._is_closing(held, error):
                raise
            self._ended(held, None, error)
        else:
            self._ended(held, payload, None)

    def _is_closing(self, held: _Held, error: BaseException) -> bool:
        """Whether the coroutine of a task is being closed from outside, which throws GeneratorExit into it."""
        return (
            is_a(error, GeneratorExit) and held.task is not None and asyncio.current_task(self._loop) is not held.task
        )

    def _run_in_thread(self, held: _Held, data: bytes) -> None:
        payload, error = None, None
        try:
            own = contextvars.Context()
            result = own.run(_call_plain, held, data)
            if inspect.isawaitable(result):  # a decorator made a `def` of an `async def`
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._go_on, held, result, own)
                return
            payload = own.run(held.function.encode_result, result)
        except BaseException as raised:
            error = raised
        if os.getpid() != self._process:
            forks.leave(error)
        # A worker that has ended closed its loop; nobody waits for this outcome any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended, held, payload, error)

    def _go_on(self, held: _Held, result: Any, own: contextvars.Context) -> None:
        """Await on the loop what a function in a thread gave."""
        if held.over or self._closed:
            if inspect.iscoroutine(result):
                result.close()
            self._ended(held, None, asyncio.CancelledError())
            return
        try:
            held.task = own.run(self._loop.create_task, self._run_async(held, lambda: result))
        except Exception as error:  # a task factory of the program
            self._ended(held, None, error)

    def _ended(self, held: _Held, payload: bytes | None, error: BaseException | None) -> None:
        """The code of an attempt has ended. The engine is told, whatever the error or the program's hooks do."""
        if os.getpid() != self._process:
            forks.leave(error)
        self._tasks.pop((held.attempt.id, held.lease), None)
        if held.span is not None and self._tracing is not None:
            self._tracing.end(held.span, error, held.over or ("completed" if error is None else "failed"))
        if self._closed:
            return
        try:
            activation = self._answer(held, payload, error)
        except Exception as broken:  # a defect of ours; an attempt without an answer would keep its slot
            id, name = held.attempt.id, held.function.name
            log.failure(broken, "%s %s could not be answered", name, id)
            activation = self._engine.fail(id, held.lease, encode_error(broken, id), True)
        if activation is not None:
            # Outside of the task's context: what a workflow does next must not see what the task has set.
            contextvars.Context().run(self._deliver, activation)
        if self._draining.is_set():
            self._note_idle()

    def _answer(self, held: _Held, payload: bytes | None, error: BaseException | None) -> tuple[Any, ...] | None:
        attempt, name = held.attempt, held.function.name
        if held.over:
            self._engine.release(attempt.id, held.lease)
            return None
        if error is None:
            return self._engine.complete(attempt.id, held.lease, payload or b"null")
        retryable = not is_mistake(error) and not matches(error, held.non_retryable)
        _log_failure(name, attempt.id, attempt.attempt, attempt.queue, error)
        return self._engine.fail(attempt.id, held.lease, encode_error(error, attempt.id), retryable)

    def _fail_unknown(self, id: str, lease: int, name: str, number: int, queue: str) -> None:
        error = UnknownFunction(f"no task {name} is registered in worker {self.name}")
        _log_failure(name, id, number, queue, error)
        # A worker that has it may be there soon.
        self._deliver(self._engine.fail(id, lease, encode_error(error, id), True))

    def _end_attempt(self, held: _Held, reason: str) -> None:
        held.over = held.over or reason
        held.attempt.cancelled = True
        if held.task is not None:
            try:
                held.task.cancel()
            except BaseException as error:  # it waits for an object of the program whose `cancel` raises
                log.failure(error, "task %s %s could not be cancelled", held.function.name, held.attempt.id)
            if not held.began:  # asyncio does not enter a coroutine that is cancelled before its first turn
                self._ended(held, None, asyncio.CancelledError())

    def _look_for_stuck_tasks(self) -> None:
        stuck = sum(1 for held in self._tasks.values() if held.over == "timeout")
        if stuck >= self.concurrency and not self._closed:
            self._on_stop(f"all {stuck} slots are held by tasks that timed out and do not end")

    # Workflows

    def _on_run(
        self,
        id: str,
        lease: int,
        attempt: int,
        name: str,
        queue: str,
        args: bytes,
        clock: int,
        records: list[tuple[Any, ...]],
        outcomes: list[tuple[Any, ...]],
        headers: str | None = None,
    ) -> None:
        function = self._functions.get(name)
        try:
            if function is None or function.kind != "workflow":
                raise UnknownFunction(f"no workflow {name} is registered in worker {self.name}")
            run = self._make_run(id, attempt, function, queue, args)
        except BaseException as error:  # of the arguments' own code; an `exit()` there ends the run, not the worker
            if interrupted(error):
                raise
            _log_failure(name, id, attempt, queue, error)
            # Arguments that fitted when the run began fit again when the code does.
            misfits = bool(records) and (is_a(error, SerializationError) or is_a(error, TypeError))
            is_held = misfits or is_a(error, UnknownFunction)
            end = ("hold", encode_error(error, id)) if is_held else failure(error, id)
            self._deliver(self._engine.commands(id, lease, [end]))
            return
        trace = None if self._tracing is None else self._tracing.run(name, id, attempt, queue, headers)
        self._runs[id] = hot = _Hot(lease, run, trace)
        commands = self._drive(run, run.start, clock, records, outcomes)
        if run.other_times:
            _log_other_times(run)
        if trace is not None:
            commands = trace.begin(run.waiting() if records else [], commands)
        self._deliver(self._send(id, hot, commands))

    def _make_run(self, id: str, attempt: int, function: Function[..., Any], queue: str, data: bytes) -> WorkflowRun:
        args, kwargs = function.decode_args(data)
        function.bind(args, kwargs)
        kwargs = function.with_own_defaults(args, kwargs)
        plain = function.plain
        return WorkflowRun(
            id,
            function.name,
            queue,
            attempt,
            lambda: plain(*args, **kwargs),
            function.encode_result,
            function.replay_check,
        )

    def _on_activate(self, *activation: Any) -> None:
        self._deliver(activation)

    def _deliver(self, activation: tuple[Any, ...] | None) -> None:
        """Deliver an outcome to its workflow, and the next one that the engine then has, until there is none."""
        while activation is not None:
            id, key, seq, clock, status, payload = activation
            hot = self._runs.get(id)
            if hot is None:  # dropped meanwhile
                return
            if hot.trace is not None:
                hot.trace.outcome(key, status)
            commands = self._drive(hot.run, hot.run.activate, key, seq, clock, status, payload)
            if hot.trace is not None:
                commands = hot.trace.commands(commands)
            activation = self._send(id, hot, commands)

    def _drive(
        self, run: WorkflowRun, step: Callable[..., list[tuple[Any, ...]]], *given: Any
    ) -> list[tuple[Any, ...]]:
        """Start or activate a run. Should that raise, which is a defect of ours, the run is held rather than lost."""
        try:
            return step(*given)
        except BaseException as error:
            if interrupted(error):
                raise
            return _broken(run, error)

    def _send(self, id: str, hot: _Hot, commands: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
        run = hot.run
        if run.finished:
            self._forget(id, run)
            _log_end(run, commands)
        try:
            return self._engine.commands(id, hot.lease, commands)
        except Exception as error:  # commands that the engine does not take
            held = _broken(run, error)
            if id in self._runs:
                self._forget(id, run)
            return self._engine.commands(id, hot.lease, held)

    def _on_evict(self, id: str) -> None:
        hot = self._runs.get(id)
        if hot is not None:
            self._put_out(id, "suspended")
            self._engine.suspended(id, hot.lease)

    def _put_out(self, id: str, why: str) -> None:
        hot = self._runs[id]
        run = hot.run
        try:
            contextvars.Context().run(run.evict)
        except BaseException as error:
            if interrupted(error):
                raise
            log.failure(error, "%s %s could not be put out of memory", run.name, run.id)
            run.finished = run.parked = True
        if hot.trace is not None:
            hot.trace.end(why)
        self._forget(id, run)

    def _forget(self, id: str, run: WorkflowRun) -> None:
        del self._runs[id]
        if run.parked:
            _parked.append(run)
            log.warning("workflow %s (%s) has a task that does not end; it is kept in memory", id, run.name)
        if self._draining.is_set():
            self._note_idle()

    _handlers: ClassVar[dict[str, Any]] = {
        "task": _on_task,
        "run": _on_run,
        "activate": _on_activate,
        "evict": _on_evict,
        "drop": _on_drop,
        "cancel": _on_cancel,
        "stop": _on_stop,
        "log": _on_log,
    }


def _call_plain(held: _Held, data: bytes) -> Any:
    context.attempt.set(held.attempt)
    args, kwargs = held.function.decode_args(data)
    held.function.bind(args, kwargs)
    return held.plain(*args, **kwargs)


def run_alone(worker: Worker, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    """`asyncio.run(worker.run())` for a process that is there for this worker only: users' code cannot end its loop.

    asyncio ends a loop when one of its tasks raises SystemExit or KeyboardInterrupt, for which an `exit()` below a
    `gather` is enough, when `loop.stop()` is called, and when a signal's handler raises (an alarm as a time-out).
    Whoever awaits such a task gets the error all the same.
    """
    main: list[asyncio.Task[None]] = []

    async def run() -> None:
        main.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await worker.run()
        finally:
            # The runner waits for the threads of the loop's executor (`asyncio.to_thread`), which may never end.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        go_on = partial(runner.run, run())
        while True:
            try:
                go_on()
                return
            except BaseException as error:
                if worker.closed or interrupted(error) or main[0].done() or _is_of_system(error):
                    raise
                log.failure(error, "worker %s goes on after code of a task has ended its event loop", worker.name)
                go_on = partial(runner.get_loop().run_until_complete, main[0])


def _is_of_system(error: BaseException) -> bool:
    """Whether the system has refused something, so that a loop is broken which cannot wait for its descriptors."""
    return isinstance(error, OSError) and error.errno is not None


def matches(error: BaseException, names: list[str]) -> bool:
    """Whether an error is of one of the classes named, qualified (`shop.CardDeclined`) or bare, or of a subclass."""
    if not names:
        return False
    if is_a(error, ExecutionFailed):
        failed_as = decode_error(encode_error(error)).type
        if any(failed_as == name.rpartition(".")[2] for name in names):
            return True
    return not class_names(error, class_name).isdisjoint(names)


def _broken(run: WorkflowRun, error: BaseException) -> list[tuple[Any, ...]]:
    """The commands of a run that cannot go on for a reason that is not its own: it is held."""
    log.failure(error, "%s %s could not go on", run.name, run.id)
    with contextlib.suppress(BaseException):
        run.evict()
    run.finished = True
    return [("hold", encode_error(error, run.id))]


def _log_hand_back(held: _Held) -> None:
    """Name what ran when the worker stopped. What stops each worker by a signal costs no attempt, so it must be seen.

    A lease grows when it is given and when it ends, so that half of it is how often the execution went back; attempts
    are the times that cost one. (A `currant retry` sets attempts to 0: then the difference is more than there was.)
    """
    attempt = held.attempt
    extra = {"function": held.function.name, "execution_id": attempt.id, "queue": attempt.queue}
    times = (held.lease + 1) // 2 - (attempt.attempt - 1)
    if times < _SUSPECT:
        log.warning("%s %s is handed back", held.function.name, attempt.id, extra=extra)
    else:
        log.error(
            "%s %s is handed back for the %d. time, at no cost: if it is no long task in many roll-outs, "
            "look for what in it sends signals to its own process (os.kill, os.killpg, `kill 0`)",
            held.function.name,
            attempt.id,
            times,
            extra=extra,
        )


def _log_other_times(run: WorkflowRun) -> None:
    more = f" (and {len(run.other_times) - 1} more)" if len(run.other_times) > 1 else ""
    log.info(
        "workflow %s %s goes on as recorded: %s%s",
        run.name,
        run.id,
        run.other_times[0],
        more,
        extra={"execution_id": run.id},
    )


def _log_failure(name: str, id: str, attempt: int, queue: str, error: BaseException) -> None:
    extra = {"function": name, "execution_id": id, "attempt": attempt, "queue": queue}
    log.warning("%s %s attempt %d failed: %s", name, id, attempt, one_line(error), extra=extra)


def _log_end(run: WorkflowRun, commands: list[tuple[Any, ...]]) -> None:
    if commands and commands[-1][0] in ("fail", "hold"):
        word = "failed" if commands[-1][0] == "fail" else "is held"
        error = decode_error(commands[-1][1])
        message = " ".join(error.message.split())
        extra = {"function": run.name, "execution_id": run.id, "attempt": run.attempt, "queue": run.queue}
        log.warning("%s %s %s: %s: %s", run.name, run.id, word, error.type, message, extra=extra)
