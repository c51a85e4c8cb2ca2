"""Calls of a workflow's code to its run: steps, signals, versions, side effects, recorded time and random numbers."""

from __future__ import annotations

import hashlib
import inspect
import random as chance
import uuid
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from currant import rust_bridge
from currant._base.user_errors import interrupted
from currant._payloads import codec
from currant._payloads.signatures import Arguments
from currant._workflow.journal import Command, Journal, show
from currant._workflow.loop import Timer, WorkflowLoop
from currant._workflow.replay_check import ReplayCheck
from currant._workflow.steps import SignalWait, Step, StepFuture, Verb
from currant.errors import SerializationError, WorkflowSuspendException
from currant.rust_bridge import Call

R = TypeVar("R")

VERSION_PREFIX = "!version:"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR_MARK = b'{"!error":'


class Calls:
    """The calls of one run. A durable one has a key by its position, and is a command or found in the history."""

    __slots__ = ("_journal", "_loop", "_random", "_versions", "_waiting", "id", "name")

    def __init__(self, id: str, name: str, loop: WorkflowLoop, replay_check: ReplayCheck) -> None:
        self.id = id
        self.name = name
        self._loop = loop
        self._journal = Journal(name, loop, replay_check)
        self._waiting: dict[str, StepFuture | Timer] = {}  # by key
        self._versions: dict[str, int] = {}
        self._random: chance.Random | None = None

    @property
    def unwinding(self) -> bool:
        """Whether durable calls are refused: the run ends, diverged, or is being evicted."""
        return self._journal.unwinding

    # --- steps: what decorators, client and context call from the workflow's code

    def execute(
        self, call: Call, decode: Callable[[bytes], R], arguments: Arguments | None = None
    ) -> Coroutine[Any, Any, R]:
        """A child execution. Its key is allotted now; the child starts when it is awaited or scheduled.

        `arguments` returns stored arguments by parameter, for a replay to compare.
        """
        if self._journal.unwinding:
            raise WorkflowSuspendException
        key = self._loop.next_key()
        return Step(self, key, call.kind, call.function, ("execute", key, call), decode, arguments)

    def detach(self, call: Call, arguments: Arguments | None = None) -> str:
        """Start an execution of its own, exactly once. Returns its id."""
        key = self._next_key()
        if not self._journal.make("detach", key, call.function, ("detach", key, call), arguments):
            raise WorkflowSuspendException
        return derive_id(self.id, key)

    def enqueue(self, call: Call, idempotency_key: str, arguments: Arguments | None = None) -> Coroutine[Any, Any, str]:
        """Enqueue under an idempotency key, as a step. Returns its id, or that of the execution that has the key."""
        key = self._next_key()
        new = new_execution(derive_id(self.id, key), call, idempotency_key)
        return Verb(self, key, "verb", "enqueue", ("enqueue", key, new), _decode_str, arguments)

    def verb(
        self, verb: str, target_id: str, name: str, payload: bytes, decode: Callable[[bytes], R]
    ) -> Coroutine[Any, Any, R]:
        """A client's verb as a recorded step: `signal`, `cancel`, `status` or `result` of execution `target_id`."""
        key = self._next_key()
        return Verb(self, key, "verb", verb, ("verb", key, verb, target_id, name, payload), decode)

    def wait_for_signal(self, name: str, timeout: float | None, type: Any) -> Coroutine[Any, Any, Any]:
        """The payload of the next signal of that name, as `type`. Raises `SignalTimeout` after `timeout` seconds."""
        decode = codec.decoder(type, f"the payload of signal {name!r}")
        return SignalWait(self, self._next_key(), name, timeout, decode)

    def get_version(self, change_id: str, minimum: int, maximum: int) -> int:
        """The version of a change that this run uses, chosen once and then recorded: see `context.get_version`."""
        _check_version(change_id, minimum, maximum)
        if self._journal.unwinding:
            raise WorkflowSuspendException
        key = VERSION_PREFIX + change_id
        version = self._versions.get(change_id)
        if version is not None:
            if self._journal.records is not None:
                self._journal.records.pop(key, None)
        elif self._journal.records is not None:
            version = minimum  # a replay without a record: the run passed this call before the code was changed
        else:
            version = maximum
            self._journal.commands.append(("version", key, change_id, codec.encode(version)))
        self._versions[change_id] = version
        if not minimum <= version <= maximum:
            taken = f"the code takes {minimum} to {maximum}"
            self._journal.diverge(f"get_version({change_id!r}): recorded is {version}, {taken}")
            raise WorkflowSuspendException
        return version

    def side_effect(self, function: Callable[[], Any], type: Any = Any) -> Any:
        """Call `function` once in the run's life: see `context.side_effect`."""
        key = self._next_key()
        recorded = self._journal.records is not None and key in self._journal.records
        if self._journal.records is not None and recorded:
            data = self._journal.records[key].value or b"null"
            command: Command = ()
        else:
            # Called outside of the loop, so that it can make no steps: a replay does not call it.
            _set_running_loop(None)
            try:
                data = _run_side_effect(function, type)
            finally:
                _set_running_loop(self._loop)
            command = ("side_effect", key, data)
        if not self._journal.make("side_effect", key, "", command):
            raise WorkflowSuspendException
        if data.startswith(_ERROR_MARK):
            stored = codec.decode(data, dict, "a side effect")
            raise codec.decode_error(codec.encode(stored["!error"]))
        try:
            return codec.decode(data, type, "the value of a side effect")
        except SerializationError as error:
            if recorded:  # it fitted when it was recorded: the code has changed, which must not end the run
                self._journal.diverge(f"step {key} (side_effect): {error}")
                raise WorkflowSuspendException from None
            raise

    def is_replaying(self) -> bool:
        """True while the outcome that is being delivered, or the start, was delivered before."""
        return self._journal.records is not None

    def now(self) -> datetime:
        """The recorded clock, UTC."""
        return _EPOCH + timedelta(microseconds=self._loop.clock)

    def random(self) -> float:
        """The next number of the run's own sequence, 0 <= number < 1."""
        return self._generator().random()

    def uuid4(self) -> uuid.UUID:
        """The next id of the run's own sequence."""
        return uuid.UUID(int=self._generator().getrandbits(128), version=4)

    def _generator(self) -> chance.Random:
        if self._random is None:
            seed = int.from_bytes(hashlib.sha256(self.id.encode()).digest(), "big")
            self._random = chance.Random(seed)  # noqa: S311  (it must be repeatable)
        return self._random

    def _next_key(self) -> str:
        if self._journal.unwinding:
            raise WorkflowSuspendException
        return self._loop.next_key()

    # --- what steps and the loop call

    def start_step(self, step: Step[Any]) -> StepFuture:
        """Make the command of a step that is awaited or scheduled, and return the future of its outcome."""
        journal = self._journal
        if journal.unwinding:
            raise WorkflowSuspendException
        if _get_running_loop() is not self._loop:
            raise RuntimeError(f"{step!r} belongs to another workflow")
        if journal.records is None:
            journal.commands.append(step.command)
        elif journal.retried and journal.renew(step):
            pass
        elif not journal.make(step.kind, step.key, step.name, step.command, step.arguments):
            raise WorkflowSuspendException
        self._waiting[step.key] = future = StepFuture(loop=self._loop)
        future.step = step
        return future

    def misfits(self, step: Step[Any], error: BaseException) -> BaseException:
        """Make the run incompatible: a recorded result does not fit the code, and a failure would be final."""
        self._journal.diverge(f"step {step.key} ({show(step.kind, step.name)}): {error}")
        return WorkflowSuspendException()

    def abandon(self, key: str) -> None:
        """Note that the workflow no longer waits for the step with this key."""
        if self._waiting.pop(key, None) is None or self._journal.unwinding:
            return
        if self._journal.records is None or self._journal.frontier:
            self._journal.commands.append(("cancel", key))

    def timer_cancelled(self, timer: Timer) -> None:
        self.abandon(timer.key)

    def due(self, timeout: float | None) -> int | None:
        """When something that begins now times out, in microseconds since 1970."""
        return None if timeout is None else self._loop.due(timeout)


def _decode_str(data: bytes) -> str:
    return str(codec.decode(data, str, "an id"))


def _check_version(change_id: str, minimum: int, maximum: int) -> None:
    if not isinstance(change_id, str):
        raise TypeError(f"a change id is a string, not {change_id!r}")
    if not change_id or not change_id.isascii() or not change_id.isprintable() or len(change_id) > 180:
        raise ValueError(f"a change id is 1 to 180 printable ASCII characters, not {change_id!r}")
    for bound in (minimum, maximum):
        if not isinstance(bound, int) or isinstance(bound, bool):
            raise ValueError(f"get_version({change_id!r}): versions are integers, not {bound!r}")
    if minimum > maximum:
        raise ValueError(f"get_version({change_id!r}): the minimum {minimum} is above the maximum {maximum}")


def _run_side_effect(function: Callable[[], Any], type: Any) -> bytes:
    try:
        value = function()
    except BaseException as error:
        if interrupted(error):
            raise
        stored = codec.decode(codec.encode_error(error), dict)
        return codec.encode({"!error": stored})
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError("side_effect takes a plain function; what must be awaited belongs in a task")
    data = codec.Carrier(type, "the value of a side effect").encode(value)
    if data.startswith(_ERROR_MARK):
        raise SerializationError("the value of a side effect cannot be an object that begins with the key '!error'")
    return data


def derive_id(run_id: str, key: str) -> str:
    """The id of what the run starts under `key`: the same at every try."""
    return rust_bridge.derive_id(run_id, key)


def new_execution(id: str, call: Call, idempotency_key: str) -> tuple[str, Call, str, None]:
    """An enqueue in the form that the engine expects (`rust_bridge.NewExecution`)."""
    return (id, call, idempotency_key, None)
