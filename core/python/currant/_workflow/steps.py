"""Steps: the objects that `.run()` and its like return, and the futures behind them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

from currant import errors
from currant._base.user_errors import interrupted, is_a
from currant._payloads import codec
from currant._payloads.signatures import Arguments
from currant._workflow.loop import WorkflowFuture
from currant.errors import CurrantError, ExecutionCancelled, ExecutionFailed, SerializationError, SignalTimeout

R = TypeVar("R")


class Run(Protocol):
    """The part of a run (`run.WorkflowRun`) that its steps call."""

    @property
    def unwinding(self) -> bool: ...
    def start_step(self, step: Step[Any]) -> StepFuture: ...
    def abandon(self, key: str) -> None: ...
    def misfits(self, step: Step[Any], error: BaseException) -> BaseException: ...
    def due(self, timeout: float | None) -> int | None: ...


class Step(Coroutine[Any, Any, R], Generic[R]):
    """A durable call. Its key was allotted when it was made; it starts when it is awaited or scheduled (rule i).

    A Coroutine rather than a plain awaitable, so that gather, create_task, TaskGroup and wait_for all take it.
    """

    __slots__ = ("_iterator", "_run", "_started", "arguments", "command", "decode", "key", "kind", "name")

    def __init__(
        self,
        run: Run,
        key: str,
        kind: str,
        name: str,
        command: tuple[Any, ...],
        decode: Callable[[bytes], R],
        arguments: Arguments | None = None,
    ) -> None:
        self._run = run
        self._started = False
        self._iterator: Generator[Any, Any, R] | None = None
        self.key = key
        self.kind = kind
        self.name = name
        self.command = command
        self.decode = decode
        self.arguments = arguments  # those of the function that is called, for a replay to compare

    def _begin(self) -> Generator[Any, Any, R]:
        if self._started:
            raise RuntimeError(
                f"step {self.key} ({self.name}) was awaited already: keep its result, or make a task of it"
            )
        self._started = True
        return self._run.start_step(self).__await__()

    def __await__(self) -> Generator[Any, Any, R]:
        return self._begin()

    def send(self, value: Any) -> Any:
        iterator = self._iterator
        if iterator is None:
            iterator = self._iterator = self._begin()
        return iterator.send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:
        if self._iterator is not None:
            return self._iterator.throw(typ) if val is None and tb is None else self._iterator.throw(typ, val, tb)
        self._started = True
        error = typ if val is None else val
        if isinstance(error, type):
            error = error()
        raise error if tb is None else error.with_traceback(tb)

    def close(self) -> None:
        self._started = True
        if self._iterator is not None:
            self._iterator.close()

    def rename(self, key: str) -> None:
        """Change the step's key, before it starts."""
        self.key = key
        self.command = (self.command[0], key, *self.command[2:])

    def abandoned(self) -> None:
        """Note that nobody waits for the outcome any more."""
        self._run.abandon(self.key)

    def timed_out(self) -> BaseException:
        """The error of a wait that ended without what it waited for."""
        return SignalTimeout(f"no signal {self.name!r} in time")

    def failed(self, payload: bytes) -> BaseException:
        """The error that is raised where the step is awaited."""
        return codec.decode_error(payload)

    def cancelled(self) -> BaseException:
        """The error that is raised where the step is awaited when what it started was cancelled."""
        return ExecutionCancelled(f"{self.kind} {self.name!r} (step {self.key}) was cancelled")

    def misfits(self, error: BaseException) -> BaseException:
        """The error that is raised where the step is awaited when its result could not be decoded.

        A result that did not fit its own function would have failed the step. The code has changed since, and the run
        becomes incompatible.
        """
        if self.kind in ("task", "workflow") and is_a(error, SerializationError):
            return self._run.misfits(self, error)
        return error

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} {self.key}>"

    def __del__(self) -> None:
        if not self._started and not self._run.unwinding:
            warnings.warn(f"{self.kind} {self.name!r} was never awaited", RuntimeWarning, stacklevel=2)


class SignalWait(Step[R]):
    """A wait for a signal. Its time-out, in seconds, counts from when it starts."""

    __slots__ = ("timeout",)

    def __init__(self, run: Run, key: str, name: str, timeout: float | None, decode: Callable[[bytes], R]) -> None:
        super().__init__(run, key, "signal", name, (), decode)
        self.timeout = timeout

    def _begin(self) -> Generator[Any, Any, R]:
        self.command = ("signal", self.key, self.name, self._run.due(self.timeout))
        return super()._begin()


class Verb(Step[R]):
    """A client's verb, recorded. The engine's own errors (`NotFound`, `NotRunning`) come back as what they are."""

    __slots__ = ()

    def failed(self, payload: bytes) -> BaseException:
        error = codec.decode_error(payload)
        own = getattr(errors, error.type, None)
        if error.id or own is ExecutionFailed or not (isinstance(own, type) and issubclass(own, CurrantError)):
            return error
        return own(error.message)

    def cancelled(self) -> BaseException:
        return ExecutionCancelled(f"execution {self.command[3]} was cancelled")


class StepFuture(WorkflowFuture):
    """The future at which the outcome of a step arrives. Whoever cancels it stops waiting for the step."""

    __slots__ = ("step",)
    step: Step[Any]  # set by `WorkflowRun.start_step`: a constructor in Python would cost as much as all else here

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.step.abandoned()
        return cancelled

    def resolve(self, status: str, payload: bytes) -> None:
        """Deliver the step's outcome."""
        step = self.step
        if status == "completed":
            try:
                value = step.decode(payload)
            except BaseException as error:  # SystemExit of a validator too: it is raised where the step is awaited
                if interrupted(error):
                    raise
                self.set_exception(step.misfits(error))
            else:
                self.set_result(value)
        elif status == "failed":
            self.set_exception(step.failed(payload))
        elif status == "cancelled":
            self.set_exception(step.cancelled())
        elif status == "timeout":
            self.set_exception(step.timed_out())
        else:
            raise ValueError(f"step {step.key} has an outcome with the unknown status {status!r}")
