"""One workflow in memory: outcomes go in, commands come out (docs/internals/engine.md).

It is pure: no I/O, and no clock except the one that it is given.

`start` begins a run or rebuilds it from its history; `activate` delivers one outcome and runs until nothing is ready;
`evict` removes it from memory. Each is called from a plain callback of the worker's loop, in its thread.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from currant._base.user_errors import one_line
from currant._payloads import codec
from currant._workflow import asyncio_patches
from currant._workflow.calls import Calls
from currant._workflow.journal import Command
from currant._workflow.loop import Timer, WorkflowLoop, WorkflowTask
from currant._workflow.replay_check import ReplayCheck
from currant.errors import NonDeterminismError, is_mistake

CANCEL_KEY = "!cancel"
TIMEOUT_KEY = "!timeout"

_ROUNDS = 100  # how often a task may catch WorkflowSuspendException before it counts as one that does not end


class WorkflowRun(Calls):
    """A run of a workflow in this process.

    `main` returns the workflow's coroutine, `encode_result` what it returned as JSON. `replay_check`: whether a replay
    compares what steps ask for, or only their names. Not thread-safe.
    """

    __slots__ = (
        "__weakref__",
        "_encode_result",
        "_end_requested",
        "_main",
        "_main_task",
        "attempt",
        "endless",
        "finished",
        "queue",
    )

    _main_task: WorkflowTask

    def __init__(
        self,
        id: str,
        name: str,
        queue: str,
        attempt: int,
        main: Callable[[], Coroutine[Any, Any, Any]],
        encode_result: Callable[[Any], bytes],
        replay_check: ReplayCheck = "arguments",
    ) -> None:
        # `type: ignore`: see the end of loop.py.
        super().__init__(id, name, WorkflowLoop(id, self), replay_check)  # type: ignore[abstract]
        self.queue = queue
        self.attempt = attempt
        self.finished = False  # it ended, diverged, or was evicted
        self.endless = False  # some of its tasks would not end: keep a reference to the run for ever
        self._main = main
        self._encode_result = encode_result
        self._end_requested = ""  # the key of the cancel or time-out that was delivered first

    @property
    def loop(self) -> WorkflowLoop:
        """The event loop that the workflow's code runs on."""
        return self._loop

    @property
    def other_times(self) -> list[str]:
        """Waits that are not as long as recorded, in words. The recorded length counts."""
        return self._journal.other_times

    # --- what the worker calls

    def start(self, clock: int, records: list[Command], outcomes: list[Command]) -> list[Command]:
        """Start the workflow, or rebuild it from its history. Returns the commands to send to the engine.

        `clock` is when the run started, in microseconds since 1970; `records` and `outcomes`
        are as in docs/internals/engine.md.
        Raises `RuntimeError` where `asyncio_patches.install` has not been called: no replay would be exact.
        """
        if not asyncio_patches.installed():
            raise RuntimeError("a workflow runs in a worker: `asyncio_patches.install` has not been called")
        outer = self._loop.enter()
        try:
            if not records and not outcomes:
                self._begin(clock)
                return self._answer()
            self._replay(clock, records, outcomes)
            self._journal.end_replay(lambda: "" if self._error() is None else f": {self._how_it_ended()}")
            return self._answer()
        finally:
            self._loop.leave(outer)

    def activate(self, key: str, seq: int, clock: int, status: str, payload: bytes) -> list[Command]:
        """Deliver one outcome and run until nothing is ready. Returns the commands to send to the engine.

        An outcome that is no longer waited for changes nothing. `seq` is the engine's number of this outcome.
        """
        if self.finished:
            return []
        loop = self._loop
        outer = loop.enter()
        try:
            self._deliver(key, clock, status, payload)
            return self._answer()
        finally:
            loop.leave(outer)

    def evict(self) -> bool:
        """Evict the run (rule j): all that waits gets WorkflowSuspendException, until all tasks have ended.

        Returns False if a task did not end. The caller must then keep a reference to the run for ever.
        """
        if not self.finished:
            outer = self._loop.enter()
            try:
                self._unwind()
            finally:
                self._loop.leave(outer)
        return not self.endless

    def waiting(self) -> list[tuple[str, str, str]]:
        """Key, kind and name of the steps that the run waits for."""
        steps = []
        for key, waiting in self._waiting.items():
            kind, name = ("timer", "") if isinstance(waiting, Timer) else (waiting.step.kind, waiting.step.name)
            steps.append((key, kind, name))
        return steps

    # --- an activation

    def _begin(self, clock: int) -> None:
        loop = self._loop
        loop.clock = clock
        context = contextvars.Context()
        self._main_task = loop.start_branch(context.run(self._main), "", None, context)
        loop.run_ready()
        if loop.new_timers:
            self._record_timers()

    def _deliver(self, key: str, clock: int, status: str, payload: bytes) -> None:
        loop = self._loop
        loop.clock = clock
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            if isinstance(waiting, Timer):
                loop.fire(waiting)
            else:
                waiting.resolve(status, payload)
        elif key in (CANCEL_KEY, TIMEOUT_KEY):
            self._end_requested = self._end_requested or key
            _cancel(self._main_task)
        loop.run_ready()
        if loop.new_timers:
            self._record_timers()

    def _record_timers(self) -> None:
        """Timers cost a command only if they outlive the activation in which they were made."""
        timers, journal = self._loop.new_timers, self._journal
        if not self._main_task.done() and not journal.unwinding:
            for timer in timers:
                if not timer.cancelled() and journal.make("timer", timer.key, "", ("timer", timer.key, timer.due)):
                    timer.recorded = True
                    self._waiting[timer.key] = timer
        timers.clear()

    def _answer(self) -> list[Command]:
        if self._journal.divergence is not None:
            return self._hold(self._journal.divergence)
        if self._main_task.done():
            return self._end()
        return self._journal.take()

    def _end(self) -> list[Command]:
        task = self._main_task
        commands = self._journal.take()
        try:
            last = self._outcome(task)
        finally:
            self._close()
        commands.append(last)
        return commands

    def _outcome(self, task: WorkflowTask) -> Command:
        if task.cancelled():
            if self._end_requested == CANCEL_KEY:
                return ("cancelled",)
            if self._end_requested == TIMEOUT_KEY:
                return ("fail", codec.encode_error(TimeoutError("workflow exceeded its timeout"), self.id))
            return ("fail", codec.encode_error(asyncio.CancelledError("the workflow cancelled itself"), self.id))
        error = task.exception()
        if error is None:
            try:
                return ("complete", self._encode_result(task.result()))
            except BaseException as broken:  # users' code: an `exit()` there ends the run, not the worker
                error = broken
        return failure(error, self.id)

    def _hold(self, divergence: NonDeterminismError) -> list[Command]:
        self._unwind()
        return [("hold", codec.encode_error(divergence, self.id))]

    # --- replay

    def _replay(self, clock: int, records: list[Command], outcomes: list[Command]) -> None:
        journal = self._journal
        for record in journal.load(records).values():
            if record.kind == "version":
                self._versions[record.name] = codec.decode(record.value or b"", int, f"version {record.name!r}")
        journal.frontier = not outcomes
        self._begin(clock)
        last = len(outcomes) - 1
        for index, (key, _seq, when, status, payload) in enumerate(outcomes):
            if journal.divergence is not None:
                return
            if self._main_task.done():
                journal.diverge(f"{self._how_it_ended()}, but its history goes on with the outcome of step {key}")
                return
            journal.frontier = index == last
            self._deliver(key, when, status, payload)

    def _error(self) -> BaseException | None:
        task = self._main_task
        return task.exception() if task.done() and not task.cancelled() else None

    def _how_it_ended(self) -> str:
        """How the code ended, in words: its error says why it asks for nothing more."""
        error = self._error()
        return "the workflow ended" if error is None else f"the workflow failed with {one_line(error)}"

    # --- the end

    def _close(self) -> None:
        """The main task ended: what is left is cancelled and driven until it ends, as `asyncio.run` does."""
        loop = self._loop
        alive = loop.alive_tasks()
        if not alive and not loop.has_asyncgens():
            self._finish()
            return
        self._journal.unwinding = True
        for task in alive:
            _cancel(task)
        loop.run_ready()
        self._unwind()

    def _unwind(self) -> None:
        self._journal.unwinding = True
        loop = self._loop
        loop.evicting = True
        self._drive_out()
        agens = loop.open_asyncgens()
        if agens:
            for agen in agens:
                loop.start_branch(_aclose(agen), "", None, None)
            self._drive_out()
        self.endless = bool(loop.alive_tasks())
        self._finish()

    def _drive_out(self) -> None:
        loop = self._loop
        for _ in range(_ROUNDS):
            loop.run_ready()
            if not loop.throw():
                return

    def _finish(self) -> None:
        self.finished = True
        self._journal.unwinding = True
        self._loop.close()
        self._waiting.clear()
        self._journal.commands.clear()
        self._journal.records = None


def failure(error: BaseException, id: str) -> Command:
    """The command that ends a run with an error. An error that is a mistake in the program is not tried again."""
    command = ("fail", codec.encode_error(error, id))
    return (*command, False) if is_mistake(error) else command


def _cancel(task: WorkflowTask) -> None:
    try:
        task.cancel()
    except RecursionError:
        pass  # tasks that wait for each other in a circle; asyncio cannot cancel them


async def _aclose(agen: Any) -> None:
    await agen.aclose()
