"""Every error that Currant raises. `except Exception` never catches `WorkflowSuspendException`, on purpose.

A docstring says when its error is raised and, after "To do:", what one does about it: docs/reference/errors.md is made
of them.
"""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class CurrantError(Exception):
    """The base of all errors of Currant. Raised itself for a call that does not fit; its message says why.

    To do: read the message. Catch this class to catch every error of Currant.
    """


class ExecutionFailed(CurrantError):
    """An execution failed for good. `id` is its id; `type`, `message` and `traceback` are those of the worker's error.

    To do: look at `type` and `traceback`, or at `currant show ID`. When the cause is gone, `currant retry ID` runs a
    failed root run again.
    """

    def __init__(self, id: str, type: str, message: str, traceback: str = "") -> None:
        super().__init__(id, type, message, traceback)
        self.id = id
        self.type = type
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.message} (execution {self.id})"


class ExecutionCancelled(CurrantError):
    """The execution whose result was asked for was cancelled.

    To do: nothing, if that was wanted; else `currant retry ID` runs a cancelled root run again.
    """


class SignalTimeout(CurrantError, TimeoutError):
    """No signal of that name came within the time-out of `wait_for_signal`.

    To do: catch it in the workflow, and decide there what follows.
    """


class NonDeterminismError(CurrantError):
    """The workflow's code no longer makes the calls that its history records: the run is incompatible, and waits.

    To do: deploy code that fits the history (`currant list --incompatible` shows at which step it does not), and use
    `get_version` for changes to come.
    """


class SerializationError(CurrantError):
    """A value cannot be carried as JSON, or is too large, or stored JSON does not fit the annotated type.

    A task that raises it is not tried again.

    To do: change the value or the annotation (docs/use/values.md).
    """


class InvalidInput(CurrantError, ValueError):
    """The arguments do not fit the input schema in the function's definition. Nothing was stored.

    To do: correct the arguments, or the schema (docs/use/definitions.md).
    """


class UncheckedInput(CurrantError):
    """Within Currant: nothing was stored, the arguments are to be checked against these schemas first (JSON)."""


class NotFound(CurrantError):
    """No execution has that id, or the text is no id (then it is a `ValueError`, too).

    To do: check the id. A run is deleted when its retention is over.
    """


class NotRunning(CurrantError):
    """The execution has already finished, or a call for workflows or tasks was made outside of one.

    To do: for an ended execution nothing. Outside a workflow, start one with `.queue()` instead of `.run()`.
    """


class UnknownFunction(CurrantError):
    """No function is registered under that name in this process.

    To do: import the module that defines it: `-m MODULE` of `currant worker` and `currant queue`. A workflow that a
    worker does not know is incompatible, and waits.
    """


class LeaseLost(CurrantError):
    """Another worker, a cancel or a retry took the execution over. What this attempt wrote was refused.

    To do: nothing for this execution. If it happens often, workers are silent for longer than the heartbeat time-out:
    their machine is overloaded or asleep, or the time-out is too short.
    """


class SchemaMismatch(CurrantError):
    """The database's schema is missing, too old or too new for this version of Currant.

    To do: run `currant migrate` of the newest release that uses the database.
    """


class DatabaseUnavailable(CurrantError):
    """The database cannot be reached, refuses the connection, or gives its role no right to do this.

    Whether a write was committed is not known when the connection breaks in its middle.

    To do: check `WORKFLOWS_DATABASE_URL` and the server (`currant doctor`), then try again. An enqueue with an
    `idempotency_key` can be tried again without starting a second execution.
    """


class WorkflowSuspendException(BaseException):
    """Thrown into a workflow that is evicted from memory: `finally` blocks run, durable calls in them do not.

    To do: let it pass. Code of a workflow that catches `BaseException` raises it again.
    """


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
