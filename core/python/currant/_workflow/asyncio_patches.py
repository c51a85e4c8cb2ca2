"""Functions and methods of asyncio where the loop is a workflow's; on any other loop they are as they were.

asyncio's own differ between Python versions (3.11's `wait_for` starts a task, its `gather` takes a turn of the loop for
what is done already) or go through sets of coroutines, which iterate by address (`as_completed`). Functions are in this
file, methods of classes in `asyncio_methods`.

Importing this changes nothing. `install` gives asyncio's three functions another code, and its classes other methods,
while a worker runs; `uninstall` gives them their own back. The function objects and the classes stay, so a module that
said `from asyncio import gather` has ours too.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import CodeType, FunctionType
from typing import Any

from currant._workflow import asyncio_methods
from currant._workflow.loop import WorkflowLoop

_PlainGathering: Any = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]


def _own(name: str) -> FunctionType:
    """asyncio's function of that name, below whatever an instrumentation has wrapped around it."""
    function = inspect.unwrap(getattr(asyncio.tasks, name))
    if not isinstance(function, FunctionType):
        raise RuntimeError(f"asyncio.{name} is {function!r}, not asyncio's own: import currant before what replaces it")
    return function


def _copy(function: FunctionType) -> Callable[..., Any]:
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_functions = [_own(name) for name in ("wait_for", "as_completed", "gather")]
_plain_wait_for, _plain_as_completed, _plain_gather = map(_copy, _functions)


async def wait_for(fut: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
    """See `asyncio.wait_for`."""
    if isinstance(_get_running_loop(), WorkflowLoop):
        return await _wait_for(fut, timeout)
    return await _plain_wait_for(fut, timeout)


def as_completed(fs: Iterable[Awaitable[Any]], *, timeout: float | None = None) -> Any:
    """See `asyncio.as_completed`."""
    if isinstance(_get_running_loop(), WorkflowLoop):
        return _AsCompleted(fs, timeout)
    return _plain_as_completed(fs, timeout=timeout)


def gather(*coros_or_futures: Any, return_exceptions: bool = False) -> Any:
    """See `asyncio.gather`."""
    if coros_or_futures and isinstance(_get_running_loop(), WorkflowLoop):
        return _Gathering(coros_or_futures, return_exceptions).outer
    return _plain_gather(*coros_or_futures, return_exceptions=return_exceptions)


async def _wait_for(fut: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
    """`wait_for` as in Python 3.12: it makes no task of its own."""
    if timeout is None or timeout > 0:
        async with asyncio.timeout(timeout):
            return await fut
    fut = asyncio.ensure_future(fut)
    if not fut.done():
        fut.cancel()
        await asyncio.wait([fut])
    try:
        return fut.result()
    except asyncio.CancelledError as error:
        raise TimeoutError from error


class _AsCompleted:
    """As in Python 3.13, a plain and an asynchronous iterator; the awaitables start in the order given."""

    def __init__(self, fs: Iterable[Awaitable[Any]], timeout: float | None) -> None:
        if asyncio.isfuture(fs) or isinstance(fs, Coroutine):
            raise TypeError(f"expect an iterable of futures, not {type(fs).__name__}")
        self._done: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue()
        self._todo = dict.fromkeys([asyncio.ensure_future(awaitable) for awaitable in dict.fromkeys(fs)])
        self._left = len(self._todo)
        self._timer: asyncio.TimerHandle | None = None
        for future in self._todo:
            future.add_done_callback(self._completed)
        if self._todo and timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._timed_out)

    def _completed(self, future: asyncio.Future[Any]) -> None:
        if future not in self._todo:
            return  # the time-out came first
        del self._todo[future]
        self._done.put_nowait(future)
        if not self._todo and self._timer is not None:
            self._timer.cancel()

    def _timed_out(self) -> None:
        for future in self._todo:
            future.remove_done_callback(self._completed)
            self._done.put_nowait(None)
        self._todo.clear()

    async def _next(self) -> asyncio.Future[Any]:
        future = await self._done.get()
        if future is None:
            raise TimeoutError
        return future

    async def _next_result(self) -> Any:
        return (await self._next()).result()

    def __iter__(self) -> _AsCompleted:
        return self

    def __next__(self) -> Any:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._next_result()

    def __aiter__(self) -> _AsCompleted:
        return self

    async def __anext__(self) -> asyncio.Future[Any]:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._next()


class _GatheringFuture(_PlainGathering):  # type: ignore[misc]
    """The future that `gather` returns; its hash is its number in the run, like that of every future there."""

    _number: int | None = None

    def __hash__(self) -> int:
        if self._number is None:
            self._number = self.get_loop().next_number()
        return self._number


class _Gathering:
    """As in Python 3.12: what is done already counts at once."""

    def __init__(self, awaitables: tuple[Any, ...], return_exceptions: bool) -> None:
        self._return_exceptions = return_exceptions
        futures: dict[Any, asyncio.Future[Any]] = {}
        for awaitable in awaitables:
            if awaitable not in futures:
                futures[awaitable] = asyncio.ensure_future(awaitable)
        self._children = [futures[awaitable] for awaitable in awaitables]
        self._missing = len(futures)
        done = [future for future in futures.values() if future.done()]
        for future in futures.values():
            if not future.done():
                future.add_done_callback(self._child_done)
        self.outer: Any = _GatheringFuture(self._children, loop=asyncio.get_running_loop())
        for future in done:
            self._child_done(future)

    def _child_done(self, child: asyncio.Future[Any]) -> None:
        self._missing -= 1
        error = _error(child)  # asking for the exception marks it as retrieved
        if self.outer.done():
            return
        if error is not None and not self._return_exceptions:
            self.outer.set_exception(error)
        elif not self._missing:
            if self.outer._cancel_requested:
                # The gathering was cancelled, and some child may have caught it: the cancel counts nevertheless.
                self.outer.set_exception(asyncio.CancelledError())
            else:
                self.outer.set_result([_value(child) for child in self._children])


def _error(future: Any) -> BaseException | None:
    if not future.cancelled():
        error: BaseException | None = future.exception()
        return error
    message = future._cancel_message
    return asyncio.CancelledError() if message is None else asyncio.CancelledError(message)


def _value(future: asyncio.Future[Any]) -> Any:
    error = _error(future)
    return future.result() if error is None else error


class _Codes:
    """The code of asyncio's functions while they are ours. Its globals are asyncio's, so it imports what it calls."""

    @staticmethod
    async def wait_for(fut: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
        from currant._workflow import asyncio_patches

        return await asyncio_patches.wait_for(fut, timeout)

    @staticmethod
    def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
        from currant._workflow import asyncio_patches

        return asyncio_patches.as_completed(fs, timeout=timeout)

    @staticmethod
    def gather(*coros_or_futures: Any, return_exceptions: bool = False) -> Any:
        from currant._workflow import asyncio_patches

        return asyncio_patches.gather(*coros_or_futures, return_exceptions=return_exceptions)


_METHODS: list[tuple[type, str, Callable[..., Any]]] = [
    (asyncio.Timeout, "reschedule", asyncio_methods.reschedule_timeout),
    (asyncio.Timeout, "__aenter__", asyncio_methods.enter_timeout),
    (asyncio.Timeout, "__aexit__", asyncio_methods.exit_timeout),
    (asyncio.TaskGroup, "__aexit__", asyncio_methods.exit_group),
    (asyncio.Condition, "wait", asyncio_methods.wait_for_notification),
    (asyncio.Semaphore, "acquire", asyncio_methods.acquire_semaphore),
]


def _either(plain: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    """The method that is `own` in a workflow, and `plain` elsewhere."""

    @functools.wraps(plain)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (own if type(_get_running_loop()) is WorkflowLoop else plain)(self, *args, **kwargs)

    return method


_asyncios_methods = [vars(kind)[name] for kind, name, _ in _METHODS]
_our_methods = [_either(plain, own) for plain, (_, _, own) in zip(_asyncios_methods, _METHODS, strict=True)]
_asyncios_codes = [function.__code__ for function in _functions]
_our_codes = [getattr(_Codes, function.__name__).__code__ for function in _functions]
_users = 0
_lock = threading.Lock()


def install() -> None:
    """Put our functions and methods in place of asyncio's until `uninstall` has been called as often."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _put(_our_codes, _our_methods)


def uninstall() -> None:
    """Put asyncio's own functions and methods back, if nobody else has called `install`."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            _put(_asyncios_codes, _asyncios_methods)


def installed() -> bool:
    """Whether asyncio's functions are ours at present."""
    return _users > 0


def _put(codes: list[CodeType], methods: list[Callable[..., Any]]) -> None:
    for function, code in zip(_functions, codes, strict=True):
        function.__code__ = code
    for (kind, name, _), method in zip(_METHODS, methods, strict=True):
        setattr(kind, name, method)
