"""`asyncio.wait_for`, `as_completed`, `gather` where the loop is a workflow's; on any other loop they are as they were.

asyncio's own differ between Python versions (3.11's `wait_for` starts a task, its `gather` takes a turn of the loop for
what is done already) or go through sets of coroutines, which iterate by address (`as_completed`). `install` runs once,
when this module is imported; a module that said `from asyncio import as_completed` before that keeps asyncio's own.
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import _get_running_loop
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

from currant.loop import WorkflowLoop

_plain_wait_for = asyncio.wait_for
_plain_as_completed = asyncio.as_completed
_plain_gather = asyncio.gather
_PlainGathering: Any = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]


@functools.wraps(_plain_wait_for)
async def wait_for(fut: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
    if isinstance(_get_running_loop(), WorkflowLoop):
        return await _wait_for(fut, timeout)
    return await _plain_wait_for(fut, timeout)


@functools.wraps(_plain_as_completed)
def as_completed(fs: Iterable[Awaitable[Any]], *, timeout: float | None = None) -> Any:
    if isinstance(_get_running_loop(), WorkflowLoop):
        return _AsCompleted(fs, timeout)
    return _plain_as_completed(fs, timeout=timeout)


@functools.wraps(_plain_gather)
def gather(*coros_or_futures: Any, return_exceptions: bool = False) -> Any:
    if coros_or_futures and isinstance(_get_running_loop(), WorkflowLoop):
        return _Gathering(coros_or_futures, return_exceptions).outer
    return _plain_gather(*coros_or_futures, return_exceptions=return_exceptions)


async def _wait_for(fut: Any, timeout: float | None) -> Any:  # noqa: ASYNC109
    """As in Python 3.12: no task of its own."""
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
            return  # the time-out was first
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
    """What `gather` returns. In a workflow its hash is its number in the run, like that of every future there."""

    _number: int | None = None

    def __hash__(self) -> int:
        loop = self.get_loop()
        if not isinstance(loop, WorkflowLoop):
            return object.__hash__(self)
        if self._number is None:
            self._number = loop.next_number()
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
        error = _error(child)  # to look at it is to say that it does not go unseen
        if self.outer.done():
            return
        if error is not None and not self._return_exceptions:
            self.outer.set_exception(error)
        elif not self._missing:
            if self.outer._cancel_requested:
                # The gathering was cancelled, and some child may have caught it: it counts all the same.
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


def install() -> None:
    """Put these in the place of asyncio's own, under both of their names."""
    modules: tuple[Any, ...] = (asyncio, asyncio.tasks)
    for module in modules:
        module.wait_for = wait_for
        module.as_completed = as_completed
        module.gather = gather
    modules[1]._GatheringFuture = _GatheringFuture


install()
