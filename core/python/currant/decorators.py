"""`@task` and `@workflow`: durable functions, and the registry that workers look them up in."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from currant import context, tracing, transactional
from currant._base import limits
from currant._base.checks import Range, text, whole_number
from currant._base.names import real_module
from currant._calls.options import Call, CallOptions, DeclaredOptions, NewExecution, Options
from currant._functions import duplicates
from currant._payloads.signatures import Signature
from currant._workflow.replay_check import CHECKS, ReplayCheck
from currant.client import Handle, default_client
from currant.errors import CurrantError, NotRunning, SerializationError, mistake
from currant.rust_bridge import new_id

P = ParamSpec("P")
R = TypeVar("R")
Kind = Literal["task", "workflow"]
Item = tuple[Any, ...] | Mapping[str, Any]  # one call of `queue_many`: positional or keyword arguments

_GENERATORS = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)

registry: dict[str, Function[..., Any]] = {}
"""Every task and workflow of this process by its name, as the decorators put them there."""


class Function(Generic[P, R]):
    """A registered task or workflow, as `@task` and `@workflow` make it of a plain function.

    Calling it runs the plain function here and now; `run` and `queue` make durable executions. `name` is the name under
    which it is stored, `kind` is `"task"` or `"workflow"`, `plain` is the function itself.
    """

    # The verbs return Coroutine[object, None, R]: with Any in it, mypy finds asyncio.gather's overloads ambiguous.

    kind: ClassVar[Kind]
    version: int | None = None
    replay_check: ReplayCheck = "arguments"

    def __init__(self, plain: Callable[P, Any], name: str | None, options: Options, names: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, plain)  # type: ignore[arg-type]  # its __call__ is that of the subclasses
        self.plain = plain
        self.name = name or f"{real_module(plain.__module__)}.{plain.__qualname__}"
        self.is_async = inspect.iscoroutinefunction(plain)
        self._options = options
        self._signature = Signature(plain, self.name, names)
        self._stored: tuple[Any, ...] | None = None
        self.module_run = duplicates.module_run(plain)
        self.bind = self._signature.bind
        self.encode_args = self._signature.encode_args
        self.decode_args = self._signature.decode_args
        self.encode_result = self._signature.encode_result
        self.named_arguments = self._signature.named_arguments
        self.with_own_defaults = self._signature.with_own_defaults
        self.arguments = self._signature.arguments

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The types of its parameters and its result, as far as they are known."""
        return self._signature.hints

    @property
    def queue_name(self) -> str | None:
        """The queue given to the decorator or to `options`. None means the calling workflow's queue, else `default`."""
        return self._options.queue

    def decode_result(self, data: bytes) -> R:
        """Return a stored result as the annotated type. Raises `SerializationError`."""
        result: R = self._signature.decode_result(data)
        return result

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], workflow_queue: str | None = None) -> Call:
        """The durable call as it is stored. Raises `TypeError` and `SerializationError`."""
        options = self._options
        if self._stored is None:  # the settings are read at the first call, not at import
            self._stored = options.fields(self.kind)
        return Call(
            self.kind,
            self.name,
            options.queue or workflow_queue or "default",
            options.priority,
            self.encode_args(args, kwargs),
            *self._stored,
        )

    def declaration(self) -> dict[str, Any]:
        """The values of decorator and settings, as workers register them for enqueues from SQL and by schedules."""
        return {"function": self.name, "kind": self.kind, **self._options.declaration(self.kind)}

    def options(self, **given: Unpack[CallOptions]) -> Self:
        """Return a copy with the same verbs and other options: `await fn.options(delay=60).queue(...)`.

        docs/reference/options.md has them all. `queue`, `priority`, `timeout`, `retry`, `retries` and
        `max_worker_losses` given here outrank the function's definition, which outranks its decorator.

        Raises `TypeError` for an unknown option or a wrong type, `ValueError` for a value out of range or two options
        that contradict each other (`retry` and `retries`, `delay` and `run_at`).
        """
        bound = copy.copy(self)
        bound._options = self._options.overriding(given)
        bound._stored = None
        return bound

    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]:
        """Call it as a durable step of the workflow that is running; awaiting returns its result.

        Raises `NotRunning` outside a workflow, `TypeError` and `SerializationError` for the arguments; when awaited,
        `ExecutionFailed` if the step fails for good.
        """
        active = context.active_run()
        if active is None:
            raise mistake(
                NotRunning(
                    f"{self.name}.run() was called outside a workflow: there, use .queue() for a durable execution, "
                    "or call the function itself"
                )
            )
        if self._options.idempotency_key is not None or self._options.connection is not None:
            raise ValueError("idempotency_key and connection are for .queue(): a step is exactly once by itself")
        return active.execute(self.call(args, kwargs, active.queue), self.decode_result, self.arguments)

    def queue(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, Handle[R]]:
        """Start a durable execution; awaiting returns its `Handle` once it is committed.

        With `options(connection=...)` it commits with that connection's transaction. Inside a workflow it is detached
        from the workflow, and started exactly once.

        Raises `TypeError` and `SerializationError` for the arguments; when awaited, `InvalidInput` if they do not fit
        the input schema of the function's definition (not checked inside a workflow), `DatabaseUnavailable` and
        `SchemaMismatch`.
        """
        active = context.active_run()
        if active is not None:
            self._refuse_connection()
            call, key = self.call(args, kwargs, active.queue), self._options.idempotency_key
            if key is None:
                return self._handle_of(active.detach(call, self.arguments))
            return self._handle_when(active.enqueue(call, key, self.arguments))
        new = self._new([self.call(args, kwargs)])
        if self._options.connection is not None:
            ids = transactional.enqueue(self._options.connection, new, self.named_arguments)
        else:
            ids = default_client().enqueue(new, self.named_arguments)
        return _called(self._one(ids), f"{self.name}.queue")

    def queue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """As `queue`, from code without an event loop: block until the execution is committed, and return its `Handle`.

        Raises as `queue` does, and `CurrantError` inside a workflow.
        """
        self._refuse_workflow("queue_sync", "queue")
        new = self._new([self.call(args, kwargs)])
        return self._handles(self._enqueue_sync(new))[0]

    def queue_many(self, items: Iterable[Item]) -> Coroutine[object, None, list[Handle[R]]]:
        """Start one execution for each item, in one commit. Awaiting returns their handles in the order of the items.

        An item is a tuple of positional arguments, or a mapping of keyword arguments. Raises as `queue` does, before
        anything is enqueued, and names the item.
        """
        active = context.active_run()
        calls = self._calls(items, None if active is None else active.queue)
        if active is not None:
            self._refuse_connection()
            return self._handles_of([active.detach(call, self.arguments) for call in calls])
        new = self._new(calls)
        if self._options.connection is not None:
            ids = transactional.enqueue(self._options.connection, new, self.named_arguments)
        else:
            ids = default_client().enqueue(new, self.named_arguments)
        return _called(self._many(ids), f"{self.name}.queue_many")

    def queue_many_sync(self, items: Iterable[Item]) -> list[Handle[R]]:
        """As `queue_many`, from code without an event loop. Raises `CurrantError` inside a workflow."""
        self._refuse_workflow("queue_many_sync", "queue_many")
        return self._handles(self._enqueue_sync(self._new(self._calls(items, None))))

    # Parts of the verbs

    def _calls(self, items: Iterable[Item], workflow_queue: str | None) -> list[Call]:
        if self._options.idempotency_key is not None:
            raise ValueError("queue_many with an idempotency_key would enqueue once: queue each with a key of its own")
        calls = []
        for index, item in enumerate(items):
            if isinstance(item, tuple):
                args, kwargs = item, {}
            elif isinstance(item, Mapping):
                args, kwargs = (), dict(item)
            else:
                raise TypeError(
                    f"queue_many: item {index} is a tuple of positional or a dict of keyword arguments, not {item!r}"
                )
            try:
                calls.append(self.call(args, kwargs, workflow_queue))
            except (TypeError, SerializationError) as error:
                error.args = (f"queue_many: item {index}: {error}",)
                raise
        return calls

    def _new(self, calls: list[Call]) -> list[NewExecution]:
        headers = tracing.headers()
        if headers is not None:
            calls = [call._replace(headers=headers) for call in calls]
        key = self._options.idempotency_key
        return [NewExecution(new_id(), call, key, "") for call in calls]

    def _enqueue_sync(self, new: list[NewExecution]) -> list[str]:
        if self._options.connection is not None:
            return transactional.enqueue_sync(self._options.connection, new, self.named_arguments)
        return default_client().enqueue_sync(new, self.named_arguments)

    def _handles(self, ids: list[str]) -> list[Handle[R]]:
        client = None if context.active_run() is not None else default_client()  # a workflow's verbs need none
        return [Handle(id, client, self.decode_result) for id in ids]

    async def _one(self, ids: Coroutine[Any, Any, list[str]]) -> Handle[R]:
        return self._handles(await ids)[0]

    async def _many(self, ids: Coroutine[Any, Any, list[str]]) -> list[Handle[R]]:
        return self._handles(await ids)

    async def _handle_of(self, id: str) -> Handle[R]:
        return self._handles([id])[0]

    async def _handles_of(self, ids: list[str]) -> list[Handle[R]]:
        return self._handles(ids)

    async def _handle_when(self, id: Coroutine[Any, Any, str]) -> Handle[R]:
        return self._handles([await id])[0]

    def _refuse_connection(self) -> None:
        if self._options.connection is not None:
            raise CurrantError("connection= cannot be used inside a workflow: there .queue() commits with the workflow")

    def _refuse_workflow(self, verb: str, instead: str) -> None:
        if context.active_run() is not None:
            raise CurrantError(f"{verb}() would block the workflow: inside a workflow write `await fn.{instead}(...)`")


def _called(verb: Coroutine[Any, Any, R], name: str) -> Coroutine[object, None, R]:
    """The coroutine of a verb, by the name that users know: Python warns of one that is never awaited."""
    verb.__qualname__ = name  # type: ignore[attr-defined]
    return verb


class Task(Function[P, R]):
    """A registered `async def` task; the worker runs it in its event loop."""

    kind = "task"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]:
        """Call the plain function: nothing is durable (unit tests)."""
        called: Coroutine[Any, Any, R] = self.plain(*args, **kwargs)
        return called


class SyncTask(Function[P, R]):
    """A registered `def` task; the worker runs it in a thread."""

    kind = "task"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function: nothing is durable (unit tests)."""
        result: R = self.plain(*args, **kwargs)
        return result


class Workflow(Function[P, R]):
    """A registered workflow. `version` and `replay_check` are those of its decorator."""

    kind = "workflow"

    def __init__(
        self,
        plain: Callable[P, Any],
        name: str | None,
        options: Options,
        names: Mapping[str, Any],
        version: int,
        replay_check: ReplayCheck,
    ) -> None:
        super().__init__(plain, name, options, names)
        if not self.is_async:
            below = inspect.iscoroutinefunction(inspect.unwrap(plain))
            hint = "; a decorator below @workflow makes a `def` of it" if below else ""
            raise TypeError(f"@workflow {plain.__qualname__}: a workflow is an `async def` function{hint}")
        self.version = version
        self.replay_check = replay_check

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R]:
        """Call the plain function: nothing is durable, and its `.run` steps raise `NotRunning`."""
        called: Coroutine[Any, Any, R] = self.plain(*args, **kwargs)
        return called


class TaskDecorator(Protocol):
    """The result of `@task(...)`: a decorator that registers its function."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine function is the more special case
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class WorkflowDecorator(Protocol):
    """The result of `@workflow(...)`: a decorator that registers its `async def` function."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def task(  # type: ignore[overload-overlap]  # as above
    function: Callable[P, Coroutine[Any, Any, R]], /
) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> SyncTask[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    **options: Unpack[DeclaredOptions],
) -> TaskDecorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    **options: Unpack[DeclaredOptions],
) -> Any:
    """Register a function, `async def` or `def` (run in a thread), as a task: one unit of work, any I/O allowed.

    - `name`: the name under which it is stored. Default: `module.qualname`.
    - `options`: such as `queue`, `timeout` or `retries`; docs/reference/options.md has them all, with their defaults.

    Raises `TypeError` or `ValueError` for a bad parameter, for a function that could never run, or for a name that is
    taken.
    """
    checked = Options.declared(options)
    names = sys._getframe(1).f_locals

    def decorate(plain: Callable[..., Any]) -> Function[..., Any]:
        plain = _plain_function(plain, "task")
        kind = Task if inspect.iscoroutinefunction(plain) else SyncTask
        return _register(kind(plain, _checked_name(name), checked, names))

    return decorate if function is None else decorate(function)


@overload
def workflow(function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: int = 1,
    replay_check: ReplayCheck = "arguments",
    **options: Unpack[DeclaredOptions],
) -> WorkflowDecorator: ...
def workflow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    replay_check: ReplayCheck = "arguments",
    **options: Unpack[DeclaredOptions],
) -> Any:
    """Register an `async def` function as a workflow: deterministic code whose `.run` calls are durable steps.

    - `name`: the name under which it is stored. Default: `module.qualname`.
    - `version`: the version of its code, 1 or more.
    - `replay_check`: a run that is rebuilt must ask for the steps that are recorded, with the same `"arguments"`, or
      only by the same `"names"`; else it becomes incompatible (`NonDeterminismError`).
    - `options`: as for `task`, with other defaults: a workflow is not retried (a replay would fail, too), and its
      time-out is `WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT`, counted from its first start.

    Raises `TypeError` or `ValueError` for a bad parameter, or for a name that is taken.
    """
    checked = Options.declared(options)
    whole_number(version, "version", Range(1, 2**31 - 1))
    if replay_check not in CHECKS:
        raise ValueError(f'replay_check is "arguments" or "names", not {replay_check!r}')
    names = sys._getframe(1).f_locals

    def decorate(plain: Callable[..., Any]) -> Function[..., Any]:
        plain = _plain_function(plain, "workflow")
        return _register(Workflow(plain, _checked_name(name), checked, names, version, replay_check))

    return decorate if function is None else decorate(function)


def _checked_name(name: str | None) -> str | None:
    return None if name is None else text(name, "name", limits.FUNCTION_CHARACTERS)


def _register(function: Function[..., Any]) -> Function[..., Any]:
    known = registry.get(function.name)
    if known is not None and not duplicates.is_same(known, function):
        raise taken(known, function)
    registry[function.name] = function
    return function


def taken(known: Function[..., Any], other: Function[..., Any]) -> ValueError:
    """The error for two functions under one name."""
    return ValueError(
        f"the name {other.name!r} is taken by the {known.kind} at {duplicates.place(known.plain)}; "
        f"give the {other.kind} at {duplicates.place(other.plain)} another name: "
        f"@{other.kind}(name=...)"
    )


def by_name(functions: Iterable[Function[..., Any]]) -> dict[str, Function[..., Any]]:
    """Some tasks and workflows by their names. Raises `TypeError` for anything else, `ValueError` for two of a name."""
    found: dict[str, Function[..., Any]] = {}
    for function in functions:
        if not isinstance(function, Function):
            raise TypeError(f"functions: a list of tasks and workflows, not {function!r}")
        known = found.setdefault(function.name, function)
        if known.plain is not function.plain and not duplicates.is_same(known, function):
            raise taken(known, function)
    return found


def _plain_function(given: Any, kind: Kind) -> Callable[..., Any]:
    """The function that a decorator was given. Raises `TypeError` for what could never run."""
    if isinstance(given, staticmethod):
        given = given.__func__
    if isinstance(given, Function):
        raise TypeError(f"@{kind} {given.plain.__qualname__}: it is a {given.kind} already; decorate it once")
    if isinstance(given, classmethod):
        raise TypeError(f"@{kind} {given.__qualname__}: a class method cannot be a {kind}; make it a static method")
    if isinstance(given, type):
        raise TypeError(f"@{kind} decorates a function, not the class {given.__qualname__}")
    if not callable(given) or not hasattr(given, "__qualname__"):
        raise TypeError(f"@{kind} decorates a function, not {given!r}")
    if any(is_generator(inspect.unwrap(given)) for is_generator in _GENERATORS):
        raise TypeError(f"@{kind} {given.__qualname__}: a generator cannot be a {kind}; return a list")
    if _is_method(given):
        raise TypeError(
            f"@{kind} {given.__qualname__}: a method cannot be a {kind}, there is no object to call it on in a worker; "
            "make it a function, or a static method"
        )
    return given  # type: ignore[no-any-return]


def _is_method(function: Any) -> bool:
    """Whether it is defined in a class and takes the object."""
    if inspect.ismethod(function) or "." not in function.__qualname__.rpartition("<locals>")[2].lstrip("."):
        return False
    parameters = list(inspect.signature(function).parameters)
    return bool(parameters) and parameters[0] in ("self", "cls")
