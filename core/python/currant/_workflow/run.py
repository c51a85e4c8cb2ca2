"""One workflow in memory: outcomes go in, commands come out (docs/internals/engine.md).

Pure: no I/O, no clock but what is given.

`start` begins a run or rebuilds it from its history; `activate` delivers one outcome and runs until nothing is ready;
`evict` puts it out of memory. Each is called from a plain callback of the worker's loop, in its thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import random as chance
import uuid
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from currant import rust_bridge
from currant._base.user_errors import interrupted, one_line
from currant._payloads import codec
from currant._payloads.signatures import Arguments
from currant._workflow import asyncio_patches
from currant._workflow.loop import Timer, WorkflowLoop, WorkflowTask
from currant._workflow.replay_check import (
    HELP,
    Asked,
    ReplayCheck,
    asked_by,
    find_difference,
    find_other_time,
)
from currant._workflow.steps import SignalWait, Step, StepFuture, Verb
from currant.errors import NonDeterminismError, SerializationError, WorkflowSuspendException, is_mistake
from currant.rust_bridge import Call

R = TypeVar("R")
Command = tuple[Any, ...]

CANCEL_KEY = "!cancel"
TIMEOUT_KEY = "!timeout"
VERSION_PREFIX = "!version:"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROUNDS = 100  # how often a task may catch WorkflowSuspendException before it counts as one that does not end
_ERROR_MARK = b'{"!error":'
_NAMED = frozenset({"task", "workflow", "detach", "signal", "version", "verb"})  # kinds whose name must fit as well


class Record(NamedTuple):
    """A command of this epoch as the database has it. `value` is of a version or a side effect."""

    kind: str
    name: str
    value: bytes | None
    asked: Asked = None
    retried: bool = False  # it failed before this epoch and is to be done again: the code may ask for something else


class WorkflowRun:
    """A run of a workflow in this process.

    `main` gives the workflow's coroutine, `encode_result` what it returned as JSON. `replay_check`: whether a replay
    compares what steps ask for, or only their names. Not thread-safe.
    """

    __slots__ = (
        "__weakref__",
        "_commands",
        "_divergence",
        "_encode_result",
        "_end_requested",
        "_frontier",
        "_loop",
        "_main",
        "_main_task",
        "_random",
        "_records",
        "_replay_check",
        "_retried",
        "_versions",
        "_waiting",
        "attempt",
        "endless",
        "finished",
        "id",
        "name",
        "other_times",
        "queue",
        "unwinding",
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
        self.id = id
        self.name = name
        self.queue = queue
        self.attempt = attempt
        self.finished = False  # it ended, diverged, or was put out of memory
        self.endless = False  # some of its tasks would not end: keep a reference to the run for ever
        self._main = main
        self._encode_result = encode_result
        self._replay_check = replay_check
        self._retried = False  # replaying, and steps that failed before this epoch are to be done again
        self.other_times: list[str] = []  # waits that are not as long as recorded; what is recorded counts
        self._loop = WorkflowLoop(id, self)  # type: ignore[abstract]  # see the end of loop.py
        self._waiting: dict[str, StepFuture | Timer] = {}
        self._commands: list[Command] = []
        self._records: dict[str, Record] | None = None  # while replaying: what the code has not asked for yet
        self._frontier = False  # replaying, and every outcome has been delivered
        self._divergence: NonDeterminismError | None = None
        self.unwinding = False  # durable calls are refused
        self._end_requested = ""  # the key of the cancel or time-out that was delivered first
        self._versions: dict[str, int] = {}
        self._random: chance.Random | None = None

    @property
    def loop(self) -> WorkflowLoop:
        return self._loop

    # --- what the worker calls

    def start(self, clock: int, records: list[Command], outcomes: list[Command]) -> list[Command]:
        """Start the workflow, or rebuild it from its history. Gives the commands to send to the engine.

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
            return self._answer_of_replay()
        finally:
            self._loop.leave(outer)

    def activate(self, key: str, seq: int, clock: int, status: str, payload: bytes) -> list[Command]:
        """Deliver one outcome and run until nothing is ready. Gives the commands to send to the engine.

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
        """Put the run out of memory (rule j): all that waits gets WorkflowSuspendException, until all tasks end.

        False: something did not end. Then the caller keeps a reference to the run for ever ("parks" it).
        """
        if not self.finished:
            outer = self._loop.enter()
            try:
                self._unwind()
            finally:
                self._loop.leave(outer)
        return not self.endless

    def waiting(self) -> list[tuple[str, str, str]]:
        """Key, kind and name of the steps that it waits for."""
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
        timers = self._loop.new_timers
        if not self._main_task.done() and not self.unwinding:
            for timer in timers:
                if not timer.cancelled() and self._make("timer", timer.key, "", ("timer", timer.key, timer.due)):
                    timer.recorded = True
                    self._waiting[timer.key] = timer
        timers.clear()

    def _answer(self) -> list[Command]:
        if self._divergence is not None:
            return self._hold(self._divergence)
        if self._main_task.done():
            return self._end()
        commands = self._commands
        self._commands = []
        return commands

    def _end(self) -> list[Command]:
        task = self._main_task
        commands = self._commands
        self._commands = []
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
            except BaseException as broken:  # of the result's own code; an `exit()` there ends the run, not the worker
                error = broken
        return failure(error, self.id)

    def _hold(self, divergence: NonDeterminismError) -> list[Command]:
        self._unwind()
        return [("hold", codec.encode_error(divergence, self.id))]

    # --- replay

    def _replay(self, clock: int, records: list[Command], outcomes: list[Command]) -> None:
        self._records = {key: Record(*record) for key, *record in records}
        for record in self._records.values():
            self._retried = self._retried or record.retried
            if record.kind == "version":
                self._versions[record.name] = codec.decode(record.value or b"", int, f"version {record.name!r}")
        self._frontier = not outcomes
        self._begin(clock)
        last = len(outcomes) - 1
        for index, (key, _seq, when, status, payload) in enumerate(outcomes):
            if self._divergence is not None:
                return
            if self._main_task.done():
                self._diverge(f"{self._how_it_ended()}, but its history goes on with the outcome of step {key}")
                return
            self._frontier = index == last
            self._deliver(key, when, status, payload)

    def _answer_of_replay(self) -> list[Command]:
        left = self._records or {}
        given_up = [("cancel", key) for key, record in left.items() if record.retried]
        if len(given_up) < len(left) and self._divergence is None:
            missing = _missing({key: record for key, record in left.items() if not record.retried})
            self._diverge(missing if self._error() is None else f"{missing}: {self._how_it_ended()}")
        self._records = None
        self._frontier = False
        if not any(command[0] != "cancel" for command in self._commands):
            self._commands.clear()  # cancels are not recorded one by one, but they were in a commit that is
        self._commands += given_up
        return self._answer()

    def _error(self) -> BaseException | None:
        task = self._main_task
        return task.exception() if task.done() and not task.cancelled() else None

    def _how_it_ended(self) -> str:
        """What the code did before its history ends: its error says why it asks for nothing more."""
        error = self._error()
        return "the workflow ended" if error is None else f"the workflow failed with {one_line(error)}"

    def _make(self, kind: str, key: str, name: str, command: Command, arguments: Arguments | None = None) -> bool:
        """Make a command, or find it in the history. False if the history has something else."""
        records = self._records
        if records is None:
            self._commands.append(command)
            return True
        record = records.pop(key, None)
        if record is None:
            # Behind the last outcome there may be more than is recorded: a run that failed there is retried with
            # mended code. What is recorded must be made all the same, `_answer_of_replay` sees to that.
            if self._frontier:
                self._commands.append(command)
                return True
            self._diverge(f"step {key}: nothing is recorded, the code asks for {_show(kind, name)}")
            return False
        if record.kind != kind or (record.name != name and kind in _NAMED):
            self._diverge(
                f"step {key}: recorded is {_show(record.kind, record.name)}, the code asks for {_show(kind, name)}"
            )
            return False
        if command and command[0] == "execute" and record.asked == command[2].args:
            return True  # the usual case, without a call
        return kind == "side_effect" or self._asks_the_same(record, key, command, arguments)

    def _renew(self, step: Step[Any]) -> bool:
        """Make a step anew that failed before this epoch, if the code has been fixed to ask for something else.

        It then has a key of its own, one `~` longer for each time, so that later replays find it. False: nothing to do.
        """
        records = self._records
        if records is None or step.command[0] != "execute":
            return False
        while (later := f"{step.key}~") in records:
            del records[step.key]
            step.rename(later)
        record = records.get(step.key)
        if record is None or not record.retried or self._is_the_same(record, step):
            return False
        del records[step.key]
        self._commands.append(("cancel", step.key))
        step.rename(later)
        self._commands.append(step.command)
        return True

    def _is_the_same(self, record: Record, step: Step[Any]) -> bool:
        if (record.kind, record.name) != (step.kind, step.name):
            return False
        if self._replay_check == "names":
            return True
        return find_difference(record.name, record.asked, asked_by(step.command), step.arguments) is None

    def _asks_the_same(self, record: Record, key: str, command: Command, arguments: Arguments | None) -> bool:
        asked = asked_by(command)
        if record.asked == asked:  # before anything is decoded
            return True
        what = f"step {key} ({_show(record.kind, record.name)})"
        if record.kind in ("timer", "signal"):
            other = find_other_time(record.asked, asked, self._loop.clock)
            self.other_times.append(f"{what}, {other}")
            return True
        if self._replay_check == "names":
            return True
        difference = find_difference(record.name, record.asked, asked, arguments)
        if difference is not None:
            self._diverge(f"{what}, {difference} ({HELP})")
        return difference is None

    def _diverge(self, message: str) -> None:
        """The run will be held. Nothing it does from here on counts, whatever its code catches."""
        if self._divergence is None:
            self._divergence = NonDeterminismError(f"workflow {self.name}: {message}")
        self.unwinding = True

    # --- the end

    def _close(self) -> None:
        """The main task ended: what is left is cancelled and driven until it ends, as `asyncio.run` does."""
        loop = self._loop
        alive = loop.alive_tasks()
        if not alive and not loop.has_asyncgens():
            self._finish()
            return
        self.unwinding = True
        for task in alive:
            _cancel(task)
        loop.run_ready()
        self._unwind()

    def _unwind(self) -> None:
        self.unwinding = True
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
        self.unwinding = True
        self._loop.close()
        self._waiting.clear()
        self._commands.clear()
        self._records = None

    # --- steps: what decorators, client and context call from the workflow's code

    def execute(
        self, call: Call, decode: Callable[[bytes], R], arguments: Arguments | None = None
    ) -> Coroutine[Any, Any, R]:
        """A child execution; its key is allotted now, it starts when it is awaited or scheduled.

        `arguments` gives stored arguments by parameter, for a replay to compare.
        """
        if self.unwinding:
            raise WorkflowSuspendException
        key = self._loop.next_key()
        return Step(self, key, call.kind, call.function, ("execute", key, call), decode, arguments)

    def detach(self, call: Call, arguments: Arguments | None = None) -> str:
        """Start an execution of its own, exactly once. Gives its id."""
        key = self._next_key()
        if not self._make("detach", key, call.function, ("detach", key, call), arguments):
            raise WorkflowSuspendException
        return derive_id(self.id, key)

    def enqueue(self, call: Call, idempotency_key: str, arguments: Arguments | None = None) -> Coroutine[Any, Any, str]:
        """Enqueue under an idempotency key, as a step. Gives the effective id, the first one's if the key was taken."""
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
        """The payload of the next signal of that name, as `type`; SignalTimeout after `timeout` seconds."""
        decode = codec.decoder(type, f"the payload of signal {name!r}")
        return SignalWait(self, self._next_key(), name, timeout, decode)

    def get_version(self, change_id: str, minimum: int, maximum: int) -> int:
        """The version of the change that this run keeps to, for ever: see `context.get_version`."""
        _check_version(change_id, minimum, maximum)
        if self.unwinding:
            raise WorkflowSuspendException
        key = VERSION_PREFIX + change_id
        version = self._versions.get(change_id)
        if version is not None:
            if self._records is not None:
                self._records.pop(key, None)
        elif self._records is not None:
            version = minimum  # it passed here before there was a change
        else:
            version = maximum
            self._commands.append(("version", key, change_id, codec.encode(version)))
        self._versions[change_id] = version
        if not minimum <= version <= maximum:
            self._diverge(f"get_version({change_id!r}): recorded is {version}, the code takes {minimum} to {maximum}")
            raise WorkflowSuspendException
        return version

    def side_effect(self, function: Callable[[], Any], type: Any = Any) -> Any:
        """Call `function` once in the run's life: see `context.side_effect`."""
        key = self._next_key()
        recorded = self._records is not None and key in self._records
        if self._records is not None and recorded:
            data = self._records[key].value or b"null"
            command: Command = ()
        else:
            # Outside of the loop, so that it can make no steps: a replay does not call it.
            _set_running_loop(None)
            try:
                data = _run_side_effect(function, type)
            finally:
                _set_running_loop(self._loop)
            command = ("side_effect", key, data)
        if not self._make("side_effect", key, "", command):
            raise WorkflowSuspendException
        if data.startswith(_ERROR_MARK):
            stored = codec.decode(data, dict, "a side effect")
            raise codec.decode_error(codec.encode(stored["!error"]))
        try:
            return codec.decode(data, type, "the value of a side effect")
        except SerializationError as error:
            if recorded:  # it fitted when it was recorded: the code has changed, which must not fail the run for good
                self._diverge(f"step {key} (side_effect): {error}")
                raise WorkflowSuspendException from None
            raise

    def is_replaying(self) -> bool:
        """True while the outcome at hand, or the start, is one that an earlier activation has seen."""
        return self._records is not None

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
        if self.unwinding:
            raise WorkflowSuspendException
        return self._loop.next_key()

    # --- what steps and the loop call

    def start_step(self, step: Step[Any]) -> StepFuture:
        """The step is awaited or scheduled: make its command, give the future of its outcome."""
        if self.unwinding:
            raise WorkflowSuspendException
        if _get_running_loop() is not self._loop:
            raise RuntimeError(f"{step!r} belongs to another workflow")
        if self._records is None:
            self._commands.append(step.command)
        elif self._retried and self._renew(step):
            pass
        elif not self._make(step.kind, step.key, step.name, step.command, step.arguments):
            raise WorkflowSuspendException
        self._waiting[step.key] = future = StepFuture(loop=self._loop)
        future.step = step
        return future

    def misfits(self, step: Step[Any], error: BaseException) -> BaseException:
        """A recorded result does not fit the code: the run is held, since to fail it would be for good."""
        self._diverge(f"step {step.key} ({_show(step.kind, step.name)}): {error}")
        return WorkflowSuspendException()

    def abandon(self, key: str) -> None:
        """The step with this key is no longer waited for."""
        if self._waiting.pop(key, None) is None or self.unwinding:
            return
        if self._records is None or self._frontier:
            self._commands.append(("cancel", key))

    def timer_cancelled(self, timer: Timer) -> None:
        self.abandon(timer.key)

    def due(self, timeout: float | None) -> int | None:
        """When something that begins now times out, in microseconds since 1970."""
        return None if timeout is None else self._loop.due(timeout)


def failure(error: BaseException, id: str) -> Command:
    """The command that ends a run with an error. One that is a mistake in the program is not tried again."""
    command = ("fail", codec.encode_error(error, id))
    return (*command, False) if is_mistake(error) else command


def _cancel(task: WorkflowTask) -> None:
    try:
        task.cancel()
    except RecursionError:
        pass  # tasks that wait for each other in a circle; asyncio cannot cancel them


async def _aclose(agen: Any) -> None:
    await agen.aclose()


def _decode_str(data: bytes) -> str:
    return str(codec.decode(data, str, "an id"))


def _show(kind: str, name: str) -> str:
    return f"{kind} {name}" if name else kind


def _missing(records: dict[str, Record]) -> str:
    key, record = next(iter(records.items()))
    more = f" (and {len(records) - 1} more)" if len(records) > 1 else ""
    return f"step {key}: recorded is {_show(record.kind, record.name)}, the code no longer asks for it{more}"


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
    """An enqueue as the engine takes it (`rust_bridge.NewExecution`)."""
    return (id, call, idempotency_key, None)
