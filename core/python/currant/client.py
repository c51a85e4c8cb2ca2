"""The client: enqueue, wait for results, cancel, signal. From any event loop, from threads, and after a fork."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from currant import context, rust_bridge, settings
from currant._base.checks import waiting_time
from currant._calls.options import NewExecution
from currant._payloads import codec
from currant._payloads.input_schemas import InputSchemas, Named, keyword_arguments
from currant.errors import CurrantError, ExecutionCancelled, NotFound, UncheckedInput
from currant.rust_bridge import Core, Engine, Mailbox

R = TypeVar("R", covariant=True)
Decode = Callable[[bytes], Any]

# A wait for a result is made of slices: without its waiter it ends with a slice, and Ctrl-C works between two.
_ASYNC_SLICE = 30.0
_SYNC_SLICE = 1.0
# How many input schemas, each replacing the one before, one enqueue is checked against at most.
_SCHEMA_CHANGES = 10


_is_canonical = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class InvalidId(NotFound, ValueError):
    """The given text is no id, so no execution has it."""


class Client:
    """The connections of one process to one database, made at the first use, and made anew in a forked process.

    `database_url`: default that of `configure`, else `WORKFLOWS_DATABASE_URL`. Give it to a `Worker` or a `Handle` that
    is to use another database than the rest of the process.
    """

    def __init__(self, database_url: str | None = None) -> None:
        self._url = database_url
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Replies] = WeakKeyDictionary()
        self._process = os.getpid()
        self._input_schemas = InputSchemas()

    @property
    def core(self) -> Core:
        """The extension's object behind it. Raises `SettingsError` when no database is configured."""
        return rust_bridge.shared_core(self._url or rust_bridge.database_url())

    async def call(self, verb: str, *args: Any) -> Any:
        """Call a verb of the core without blocking the running event loop."""
        return await self._replies().call(getattr(self.core, verb), args)

    async def enqueue(self, new: list[NewExecution], named: Named = keyword_arguments) -> list[str]:
        """Enqueue in one commit; returns the effective ids in order. Raises `InvalidInput`; then nothing is stored."""
        for _ in range(_SCHEMA_CHANGES):
            new = self._input_schemas.checked(new, named)
            try:
                ids: list[str] = await self.call("create_executions", new) if new else []
                return ids
            except UncheckedInput as schemas:
                self._input_schemas.update(str(schemas))
        raise _restless()

    def enqueue_sync(self, new: list[NewExecution], named: Named = keyword_arguments) -> list[str]:
        """As `enqueue`, blocking."""
        for _ in range(_SCHEMA_CHANGES):
            new = self._input_schemas.checked(new, named)
            try:
                return self.core.create_executions(new) if new else []
            except UncheckedInput as schemas:
                self._input_schemas.update(str(schemas))
        raise _restless()

    async def stop_engine(self, engine: Engine, limit: float) -> None:
        """Let a worker's engine hand back, write, and record that it has stopped, within `limit` seconds."""
        await self._replies().call(engine.stop, (limit,))

    def _replies(self) -> _Replies:
        loop = asyncio.get_running_loop()
        if self._process != os.getpid():  # the loops of the parent are not ours
            self._loops, self._process = WeakKeyDictionary(), os.getpid()
        replies = self._loops.get(loop)
        if replies is None:
            for old in [old for old in self._loops if old.is_closed()]:
                self._loops.pop(old).close()
            replies = self._loops[loop] = _Replies(loop)
        return replies


class _Replies:
    """The outcomes of asynchronous verbs, for the futures of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._mailbox = Mailbox()
        self._tokens = itertools.count()
        self._futures: dict[int, asyncio.Future[Any]] = {}
        loop.add_reader(self._mailbox.fileno(), self._deliver)

    def call(self, verb: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        token = next(self._tokens)
        future = self._futures[token] = asyncio.get_running_loop().create_future()
        try:
            verb(*args, reply=(self._mailbox, token))
        except BaseException:
            del self._futures[token]
            raise
        return future

    def _deliver(self) -> None:
        for token, value, error in self._mailbox.take():
            future = self._futures.pop(token, None)
            if future is None or future.done():  # its waiter has gone
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def close(self) -> None:
        self._mailbox.close()


_default = Client()


def default_client() -> Client:
    """Return this process's client: the database of `configure`, else `WORKFLOWS_DATABASE_URL`."""
    return _default


def configure(database_url: str | None = None, max_payload_bytes: int | None = None) -> Client:
    """Set this process's database, and the largest payload in bytes; return its new client.

    Values that are not given come from the settings. Handles made before keep the client they have. Raises
    `SettingsError` for a value that cannot be used.
    """
    global _default
    if max_payload_bytes is not None:
        settings.load({"WORKFLOWS_MAX_PAYLOAD_BYTES": str(max_payload_bytes)})
    rust_bridge.set_database_url(database_url)
    codec.set_payload_limit(max_payload_bytes)
    _default = Client(database_url)
    return _default


class Handle(Generic[R]):
    """One execution. `id` and `str(handle)` are its id, a UUID as text; two handles on one execution are equal.

    `.queue()` and `get_handle` make it. Raises `ValueError` (also a `NotFound`) for a text that is no id.
    """

    __slots__ = ("_client", "_decode", "id")

    def __init__(self, id: str | UUID, client: Client | None = None, decode: Decode = codec.decode) -> None:
        self.id = id if type(id) is str and _is_canonical(id) else checked_id(id)
        self._client = client
        self._decode = decode

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def result(self, timeout: float | timedelta | None = None) -> Coroutine[object, None, R]:
        """Wait for the end; awaiting returns what the function returned.

        `timeout`: seconds or a timedelta; default: none. In a workflow this is a durable step and takes no time-out:
        use `asyncio.timeout`. Raises `TimeoutError`, `ExecutionFailed`, `ExecutionCancelled`, `NotFound`.
        """
        active = context.active_run()
        if active is not None:
            if timeout is not None:
                raise CurrantError("in a workflow a result takes no time-out: write `async with asyncio.timeout(...)`")
            return active.verb("result", self.id, "", b"null", self._decode)
        return self._result(waiting_time(timeout, "timeout"))

    def result_sync(self, timeout: float | timedelta | None = None) -> R:
        """As `result`, from code without an event loop: block until the end, and return what the function returned.

        Raises as `result` does, and `CurrantError` inside a workflow or an `async def` task.
        """
        _refuse_workflow("result_sync", "result")
        _refuse_loop_of_task()
        seconds = waiting_time(timeout, "timeout")
        limit = None if seconds is None else time.monotonic() + seconds
        while True:
            state, payload = self._core.wait_execution(self.id, _slice(limit, _SYNC_SLICE))
            if state in _TERMINAL:
                return self._outcome(state, payload)
            self._check(limit, seconds, state)

    def status(self) -> Coroutine[object, None, str]:
        """Return, when awaited, its state. Raises `NotFound`.

        It is one of `pending`, `running`, `suspended`, `completed`, `failed`, `cancelled`.
        """
        active = context.active_run()
        if active is not None:
            return active.verb("status", self.id, "", b"null", codec.decode)
        return self._status()

    def status_sync(self) -> str:
        """As `status`, from code without an event loop. Raises `NotFound`, and `CurrantError` inside a workflow."""
        _refuse_workflow("status_sync", "status")
        return _state(self._core.get_execution(self.id))

    def cancel(self, force: bool = False) -> Coroutine[object, None, None]:
        """Cancel the execution and everything below it.

        A workflow gets an `asyncio.CancelledError` and may clean up; with `force` it does not. Raises, when awaited,
        `NotFound`, and `NotRunning` when it has ended.
        """
        active = context.active_run()
        if active is not None:
            return active.verb("cancel", self.id, "", codec.encode(force), _nothing)
        return self.client.call("cancel_execution", self.id, force)

    def cancel_sync(self, force: bool = False) -> None:
        """As `cancel`, from code without an event loop. Raises as `cancel` does; `CurrantError` inside a workflow."""
        _refuse_workflow("cancel_sync", "cancel")
        self._core.cancel_execution(self.id, force)

    @property
    def client(self) -> Client:
        """The client that made the handle."""
        return self._client or default_client()

    # Parts

    @property
    def _core(self) -> Core:
        return self.client.core

    async def _result(self, seconds: float | None) -> R:
        limit = None if seconds is None else time.monotonic() + seconds
        client = self.client
        while True:
            state, payload = await client.call("wait_execution", self.id, _slice(limit, _ASYNC_SLICE))
            if state in _TERMINAL:
                return self._outcome(state, payload)
            self._check(limit, seconds, state)

    async def _status(self) -> str:
        return _state(await self.client.call("get_execution", self.id))

    def _outcome(self, state: str, payload: bytes) -> R:
        if state == "failed":
            error = codec.decode_error(payload)
            error.id = error.id or self.id
            raise error
        if state == "cancelled":
            raise ExecutionCancelled(f"execution {self.id} was cancelled")
        result: R = self._decode(payload)
        return result

    def _check(self, limit: float | None, timeout: float | None, state: str) -> None:
        if limit is not None and time.monotonic() >= limit:
            raise TimeoutError(f"execution {self.id} has not ended within {timeout:g} s; it is {state}")


def get_handle(execution_id: str | UUID, function: Any = None) -> Handle[Any]:
    """Return a handle on an execution by its id; with its `function` the result comes as its annotated type.

    Raises `ValueError` (also a `NotFound`) when the id is not one; whether it exists shows at the first verb.
    """
    id = checked_id(execution_id)
    return Handle(id) if function is None else Handle(id, None, function.decode_result)


def send_signal(target: Handle[Any] | str | UUID, name: str, payload: Any = None) -> Coroutine[object, None, None]:
    """Send a workflow a signal: a name and a payload, JSON. It is kept until a wait for `name` consumes it.

    `target` is a handle or an id. Inside a workflow it is sent exactly once.

    Raises `SerializationError` for the payload; when awaited `NotFound`, `NotRunning` when the workflow has ended.
    """
    id, data = _signal(target, name, payload)
    active = context.active_run()
    if active is not None:
        return active.verb("signal", id, name, data, _nothing)
    return _client_of(target).call("send_signal", id, name, data)


def send_signal_sync(target: Handle[Any] | str | UUID, name: str, payload: Any = None) -> None:
    """As `send_signal`, from code without an event loop. Raises as it does, and `CurrantError` inside a workflow."""
    _refuse_workflow("send_signal_sync", "send_signal")
    id, data = _signal(target, name, payload)
    _client_of(target).core.send_signal(id, name, data)


def checked_id(given: Handle[Any] | str | UUID) -> str:
    """The id as text. Raises `ValueError` (also a `NotFound`) when it is not one."""
    if isinstance(given, Handle):
        return given.id
    try:
        return str(given if isinstance(given, UUID) else UUID(given))
    except (ValueError, AttributeError, TypeError):
        raise InvalidId(f"{given!r} is not the id of an execution (a UUID)") from None


_TERMINAL = ("completed", "failed", "cancelled")


def _signal(target: Handle[Any] | str | UUID, name: str, payload: Any) -> tuple[str, bytes]:
    context.signal_name(name)
    return checked_id(target), codec.encode_untyped(payload, f"the payload of signal {name!r}")


def _client_of(target: Handle[Any] | str | UUID) -> Client:
    return target.client if isinstance(target, Handle) else default_client()


def _refuse_workflow(verb: str, instead: str) -> None:
    if context.active_run() is not None:
        raise CurrantError(f"{verb}() would block the workflow: inside a workflow write `await ... {instead}(...)`")


def _refuse_loop_of_task() -> None:
    """Refuse to block a loop that may be that of the worker which has to run the execution and hear a SIGTERM."""
    if context.attempt.get(None) is not None and asyncio._get_running_loop() is not None:
        raise CurrantError(
            "result_sync() would block the worker's event loop: in an async task write `await ... result(...)`"
        )


def _slice(limit: float | None, longest: float) -> float:
    return longest if limit is None else max(0.0, min(longest, limit - time.monotonic()))


def _state(execution: bytes) -> str:
    state: str = codec.decode(execution)["state"]
    return state


def _restless() -> CurrantError:
    return CurrantError("the input schema keeps changing; nothing was stored")


def _nothing(payload: bytes) -> None:
    return None
