"""The worker: it pulls work from the Rust engine, has it run as tasks and workflows, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any, Self

from currant import settings, tracing
from currant._base import limits
from currant._base.checks import Range, text, whole_number
from currant._base.user_errors import SafeLogger, interrupted
from currant._worker import forks, stop_signals
from currant._worker.builds import build_id
from currant._worker.host import Host
from currant._worker.tasks import Tasks
from currant._worker.workflows import Workflows
from currant._workflow import asyncio_patches
from currant.client import Client, default_client
from currant.decorators import Function, by_name, registry
from currant.errors import CurrantError
from currant.rust_bridge import Engine

log = SafeLogger(logging.getLogger("currant.worker"))

_PULL = 64  # items handled before other callbacks of the event loop get their turn
_GOODBYE = 5.0  # seconds for the last writes; within them, what still runs is handed back


class WorkerStopped(CurrantError):
    """The worker had to stop by itself: it was declared dead, the schema does not fit, or its HTTP port is taken.

    To do: read the message, and start a new worker.
    """


class Worker:
    """Runs the registered functions for some queues, in the event loop of the program.

    - `queues`: the names of the queues, at least one.
    - `concurrency`: how many tasks run at a time, 1 to 100,000. Default: `WORKFLOWS_WORKER_MAX_CONCURRENT`. Workflows
      do not count.
    - `name`: what `currant workers` calls it. Default: host and process id.
    - `functions`: serve only these tasks and workflows. Default: all that are registered.
    - `client`: the database. Default: that of `configure`, else `WORKFLOWS_DATABASE_URL`.

    Use it as `async with Worker(...)`, which drains at the end of the block, or `await worker.run()`. Tasks and
    workflows see no context variables (`contextvars`) of the program: each attempt has a fresh context.

    Raises `TypeError` or `ValueError` for a wrong argument, or if no function is registered; `SettingsError`.
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
        self.queues = list(dict.fromkeys(text(queue, "a queue's name", limits.QUEUE_CHARACTERS) for queue in queues))
        if not self.queues:
            raise ValueError("a worker serves at least one queue: give queues=[...]")
        self.settings = settings.load()
        self.concurrency = self.settings.max_concurrent
        if concurrency is not None:
            self.concurrency = whole_number(concurrency, "concurrency", Range(1, 100_000))
        self.name = text(name, "name") if name is not None else f"{socket.gethostname()}-{os.getpid()}"[:200]
        self._functions = registry if functions is None else by_name(functions)
        if not self._functions:
            raise ValueError("no task or workflow is registered: import the modules that define them first")
        self._client = client or default_client()
        self._engine: Engine
        self._closed = True  # nothing is answered: not yet, or no longer
        self._host: Host
        self._tasks: Tasks
        self._workflows: Workflows
        self._handlers: dict[str, Callable[..., Any]]  # by the kind of an item of the engine
        self._stop_reason: str | None = None
        self._tracing = tracing.active()

    # For programs

    async def run(self, signals: bool = True) -> None:
        """Work until `drain` is called or, with `signals`, SIGTERM, SIGINT or SIGHUP comes; then end within the grace.

        The grace is `WORKFLOWS_WORKER_SHUTDOWN_GRACE` (30 s by default); a second signal ends it at once. Work that is
        not finished by then is handed back, and costs no retry. All workers of an event loop get a signal. A SIGHUP is
        left alone where it is ignored or the program has a handler for it.
        Raises `WorkerStopped` when the worker had to stop by itself.
        """
        async with self:
            with stop_signals.heard(self._loop, self._on_signal) if signals else contextlib.nullcontext():
                await self._draining.wait()
                await self._finish()
        if self._stop_reason is not None:
            raise WorkerStopped(self._stop_reason)

    @property
    def closed(self) -> bool:
        """Whether the worker does not run: not yet, or no longer."""
        return self._closed

    def drain(self) -> None:
        """Stop claiming, and let `run` end when what is in hand is finished or the grace is over.

        Call this in the thread of the worker's event loop.
        """
        if not self._closed and not self._draining.is_set():
            log.info(
                "worker %s drains: %d tasks, %d workflows in hand", self.name, len(self._tasks), len(self._workflows)
            )
            self._draining.set()
            self._engine.drain()
            self._pump()

    async def __aenter__(self) -> Self:
        if not self._closed:
            raise CurrantError(f"worker {self.name} is running already")
        self._loop = asyncio.get_running_loop()
        self._draining, self._now, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stop_reason = None
        self._engine = engine = self._make_engine()
        try:
            engine.start()
        except ValueError as error:  # the port for health and metrics
            raise WorkerStopped(str(error)) from None
        self._closed = False
        self._make_parts(engine)
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

    def _make_parts(self, engine: Engine) -> None:
        host = Host(self.name, engine, self._loop, self._functions, self._tracing, self._note_end, self._on_stop)
        workflows = Workflows(host)
        tasks = Tasks(host, self.concurrency, workflows.deliver)
        self._host, self._tasks, self._workflows = host, tasks, workflows
        self._handlers = {
            "task": tasks.start,
            "run": workflows.start,
            "activate": workflows.activate,
            "evict": workflows.evict,
            "cancel": tasks.cancel,
            "drop": self._on_drop,
            "stop": self._on_stop,
            "log": self._on_log,
        }

    def _on_signal(self, number: int) -> None:
        log.info("%s received%s", signal.Signals(number).name, ": stopping now" if self._draining.is_set() else "")
        if self._draining.is_set():
            self._now.set()
        self.drain()

    async def _finish(self) -> None:
        """Wait for what is in hand as long as the grace allows, hand the rest back, and record the stop."""
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
        self._closed = self._host.closed = True
        try:
            await self._tasks.hand_back(0.1 if self._now.is_set() else 1.0)
            self._workflows.hand_back()
            await self._client.stop_engine(engine, _GOODBYE)
        finally:
            self._loop.remove_reader(engine.fileno())
            self._tasks.close()
            asyncio_patches.uninstall()
            forks.worker_ends(self.settings.http_port)
        log.info("worker %s has stopped", self.name)

    def _note_end(self) -> None:
        if self._draining.is_set():
            self._note_idle()

    def _note_idle(self) -> None:
        if not self._tasks and not self._workflows:
            self._idle.set()
        else:
            self._idle.clear()

    # Items of the engine

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
            contextvars.Context().run(self._handlers[kind], *item)
        except BaseException as error:  # a defect of ours must not take the other items with it
            if interrupted(error):
                raise
            log.failure(error, "worker %s could not handle %s of %s", self.name, kind, item[0])
            if kind == "task":
                self._tasks.fail_unhandled(item[0], item[1], error)
            elif kind == "run":
                self._workflows.mark_unhandled(item[0], item[1], error)

    def _on_drop(self, id: str, lease: int, reason: str) -> None:
        if not self._workflows.drop(id, lease, reason) and not self._tasks.drop(id, lease, reason):
            log.warning("what was recorded of %s is refused: %s", id, reason, extra={"execution_id": id})

    def _on_stop(self, reason: str) -> None:
        if self._stop_reason is None:
            log.error("worker %s must stop: %s", self.name, reason)
            self._stop_reason = reason
        self.drain()

    def _on_log(self, level: str, message: str) -> None:
        log.log(logging.getLevelNamesMapping()[level.upper()], "worker %s: %s", self.name, message)
