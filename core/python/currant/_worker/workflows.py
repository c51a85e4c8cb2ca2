"""The workflows that a worker has in memory: started, driven by outcomes, evicted."""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Callable
from typing import Any

from currant._base.user_errors import SafeLogger, interrupted, is_a
from currant._payloads.codec import decode_error, encode_error
from currant._worker.failures import log_failure
from currant._worker.host import Host
from currant._workflow.journal import Command
from currant._workflow.run import WorkflowRun, failure
from currant.decorators import Function
from currant.errors import SerializationError, UnknownFunction
from currant.tracing import RunTrace

_log = SafeLogger(logging.getLogger("currant.worker"))

_endless: list[WorkflowRun] = []  # with a task that would not end: kept for ever, because to collect one runs its code


class HotRun:
    """A workflow in memory."""

    __slots__ = ("lease", "run", "trace")

    def __init__(self, lease: int, run: WorkflowRun, trace: RunTrace | None) -> None:
        self.lease = lease
        self.run = run
        self.trace = trace


class Workflows:
    """The workflows of one worker that are in memory."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._runs: dict[str, HotRun] = {}  # by id

    def __len__(self) -> int:
        return len(self._runs)

    # Items of the engine

    def start(
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
        """Start a workflow, or rebuild it from its history."""
        host = self._host
        try:
            function = host.functions.get(name)
            if function is None or function.kind != "workflow":
                raise UnknownFunction(f"no workflow {name} is registered in worker {host.name}")
            run = _make_run(id, attempt, function, queue, args)
        except BaseException as error:  # users' code: an `exit()` there ends the run, not the worker
            if interrupted(error):
                raise
            log_failure(name, id, attempt, queue, error)
            self.deliver(host.engine.commands(id, lease, [_refusal(error, id, bool(records))]))
            return
        trace = None if host.tracing is None else host.tracing.run(name, id, attempt, queue, headers)
        self._runs[id] = hot = HotRun(lease, run, trace)
        commands = _drive(run, run.start, clock, records, outcomes)
        if run.other_times:
            _log_other_times(run)
        if trace is not None:
            commands = trace.begin(run.waiting() if records else [], commands)
        self.deliver(self._send(id, hot, commands))

    def activate(self, *activation: Any) -> None:
        """Deliver one outcome to its workflow."""
        self.deliver(activation)

    def deliver(self, activation: tuple[Any, ...] | None) -> None:
        """Deliver an outcome to its workflow, and the next one that the engine then has, until there is none."""
        while activation is not None:
            id, key, seq, clock, status, payload = activation
            hot = self._runs.get(id)
            if hot is None:  # dropped meanwhile
                return
            if hot.trace is not None:
                hot.trace.outcome(key, status)
            commands = _drive(hot.run, hot.run.activate, key, seq, clock, status, payload)
            if hot.trace is not None:
                commands = hot.trace.commands(commands)
            activation = self._send(id, hot, commands)

    def evict(self, id: str) -> None:
        """Remove a suspended workflow from memory."""
        hot = self._runs.get(id)
        if hot is not None:
            self._remove(id, "suspended")
            self._host.engine.suspended(id, hot.lease)

    def drop(self, id: str, lease: int, reason: str) -> bool:
        """Remove a workflow whose lease is lost. Returns False if it is not in memory under this lease."""
        hot = self._runs.get(id)
        if hot is None or hot.lease != lease:
            return False
        _log.warning("workflow %s is dropped: %s", id, reason, extra={"execution_id": id})
        self._remove(id, "dropped")
        return True

    def mark_unhandled(self, id: str, lease: int, error: BaseException) -> None:
        """Mark a run incompatible that could not be started because of a defect of the worker."""
        self._runs.pop(id, None)
        self.deliver(self._host.engine.commands(id, lease, [("hold", encode_error(error, id))]))

    # The end of the worker

    def hand_back(self) -> None:
        """Remove all workflows from memory, for other workers to go on with."""
        for id in list(self._runs):
            self._remove(id, "handed back")

    def _send(self, id: str, hot: HotRun, commands: list[Command]) -> tuple[Any, ...] | None:
        run = hot.run
        if run.finished:
            self._forget(id, run)
            _log_end(run, commands)
        try:
            return self._host.engine.commands(id, hot.lease, commands)
        except Exception as error:  # commands that the engine does not take
            hold = _broken(run, error)
            if id in self._runs:
                self._forget(id, run)
            return self._host.engine.commands(id, hot.lease, hold)

    def _remove(self, id: str, why: str) -> None:
        hot = self._runs[id]
        run = hot.run
        try:
            contextvars.Context().run(run.evict)
        except BaseException as error:
            if interrupted(error):
                raise
            _log.failure(error, "%s %s could not be evicted", run.name, run.id)
            run.finished = run.endless = True
        if hot.trace is not None:
            hot.trace.end(why)
        self._forget(id, run)

    def _forget(self, id: str, run: WorkflowRun) -> None:
        del self._runs[id]
        if run.endless:
            _endless.append(run)
            _log.warning("workflow %s (%s) has a task that does not end; it is kept in memory", id, run.name)
        self._host.note_end()


def _make_run(id: str, attempt: int, function: Function[..., Any], queue: str, data: bytes) -> WorkflowRun:
    args, kwargs = function.decode_args(data)
    function.bind(args, kwargs)
    kwargs = function.with_own_defaults(args, kwargs)
    plain = function.plain
    return WorkflowRun(
        id, function.name, queue, attempt, lambda: plain(*args, **kwargs), function.encode_result, function.replay_check
    )


def _refusal(error: BaseException, id: str, has_history: bool) -> Command:
    """The command that ends a run which could not be made."""
    # Arguments that fitted when the run began fit again when the code does: that run is incompatible, not failed.
    misfits = has_history and (is_a(error, SerializationError) or is_a(error, TypeError))
    if misfits or is_a(error, UnknownFunction):
        return ("hold", encode_error(error, id))
    return failure(error, id)


def _drive(run: WorkflowRun, step: Callable[..., list[Command]], *given: Any) -> list[Command]:
    """Start or activate a run. When that raises, a defect of ours, the run is incompatible rather than lost."""
    try:
        return step(*given)
    except BaseException as error:
        if interrupted(error):
            raise
        return _broken(run, error)


def _broken(run: WorkflowRun, error: BaseException) -> list[Command]:
    """The commands of a run that cannot go on for a reason that is not its own: it becomes incompatible."""
    _log.failure(error, "%s %s could not go on", run.name, run.id)
    with contextlib.suppress(BaseException):
        run.evict()
    run.finished = True
    return [("hold", encode_error(error, run.id))]


def _log_other_times(run: WorkflowRun) -> None:
    more = f" (and {len(run.other_times) - 1} more)" if len(run.other_times) > 1 else ""
    extra = {"execution_id": run.id}
    _log.info("workflow %s %s goes on as recorded: %s%s", run.name, run.id, run.other_times[0], more, extra=extra)


def _log_end(run: WorkflowRun, commands: list[Command]) -> None:
    if commands and commands[-1][0] in ("fail", "hold"):
        word = "failed" if commands[-1][0] == "fail" else "is incompatible"
        error = decode_error(commands[-1][1])
        message = " ".join(error.message.split())
        extra = {"function": run.name, "execution_id": run.id, "attempt": run.attempt, "queue": run.queue}
        _log.warning("%s %s %s: %s: %s", run.name, run.id, word, error.type, message, extra=extra)
