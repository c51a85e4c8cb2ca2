"""Every error that Currant raises. `except Exception` never catches `WorkflowSuspendException`, on purpose."""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class CurrantError(Exception):
    """Base of every error of Currant."""


class ExecutionFailed(CurrantError):
    """An execution failed for good; `type`, `message` and `traceback` are those of the error in the worker."""

    def __init__(self, id: str, type: str, message: str, traceback: str = "") -> None:
        super().__init__(id, type, message, traceback)
        self.id = id
        self.type = type
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.message} (execution {self.id})"


class ExecutionCancelled(CurrantError):
    """The execution whose result was asked for was cancelled."""


class SignalTimeout(CurrantError, TimeoutError):
    """No signal of that name came in time."""


class NonDeterminismError(CurrantError):
    """The workflow's code no longer makes the calls that its history records."""


class SerializationError(CurrantError):
    """A value cannot be carried as JSON, or stored JSON does not fit the annotated type."""


class InvalidInput(CurrantError, ValueError):
    """The arguments do not fit the input schema in the function's definition; nothing was stored."""


class UncheckedInput(CurrantError):
    """Within Currant: nothing was stored, the arguments are to be checked against these schemas first (JSON)."""


class NotFound(CurrantError):
    """No execution has that id."""


class NotRunning(CurrantError):
    """The execution has already finished, or `.run()` was called outside a workflow."""


class UnknownFunction(CurrantError):
    """No function is registered under that name."""


class LeaseLost(CurrantError):
    """Another worker, a cancel or a retry took the execution over; what this attempt wrote was refused."""


class SchemaMismatch(CurrantError):
    """The database's schema is missing, too old or too new for this version of Currant."""


class DatabaseUnavailable(CurrantError):
    """The database cannot be reached, or refused the connection."""


class WorkflowSuspendException(BaseException):
    """Thrown into a workflow that is evicted from memory. Let it pass: `finally` blocks run, durable calls do not."""


def mistake(error: E) -> E:
    """Mark an error as a mistake in the program: what raised it would fail in the same way if it were tried again."""
    error.__currant_mistake__ = True  # type: ignore[attr-defined]
    return error


def is_mistake(error: BaseException) -> bool:
    """Whether a task that failed with this error is not to be tried again, whatever its retries are."""
    try:
        return isinstance(error, SerializationError) or getattr(error, "__currant_mistake__", False) is True
    except BaseException:  # users' code: `__class__`, `__getattribute__`
        return False
