"""Processes that tasks fork: a signal to one of them is its own, and none of them goes on as a worker.

An event loop learns of a signal by a byte in its wake-up fd, which a forked child shares: a SIGTERM to the child
would drain the worker. The child of a process with a worker therefore gets back the handlers that the worker has
replaced, and no signal before that. A child that outlives the worker must not keep its port: the next worker needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from currant._base.user_errors import is_a, traceback_of

Handler = Callable[[int, Any], Any] | int | None

_workers = 0  # in this process
_replaced: dict[int, Handler] = {}  # the handlers that were there before a worker set its own
_mask = threading.local()  # the signals that the forking thread had blocked
_ports: dict[int, int] = {}  # ports where workers serve health and metrics, and the sockets' descriptors
_hooked = False


def worker_starts(port: int | None) -> None:
    """Note that a worker runs in this process from now on; it serves health and metrics on `port`."""
    global _workers, _hooked
    _workers += 1
    if port is not None:
        _ports.update((port, fd) for fd in _descriptors() if _listens(fd, port))
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before, after_in_parent=_unblock, after_in_child=_after_in_child)


def worker_ends(port: int | None) -> None:
    """Note that a worker of this process has ended."""
    global _workers
    _workers -= 1
    if port is not None:
        _ports.pop(port, None)


def replaces(handlers: dict[int, Handler]) -> None:
    """Note that a worker has replaced these handlers, or, with an empty dictionary, has put them back."""
    _replaced.clear()
    _replaced.update(handlers)


def leave(error: BaseException | None) -> NoReturn:
    """End a forked child whose code has come back to the worker, with the exit code that a script would have."""
    code: object = 0
    with contextlib.suppress(BaseException):
        if error is not None and is_a(error, SystemExit):
            code = error.code  # type: ignore[attr-defined]
            if code is not None and not isinstance(code, int):
                print(code, file=sys.stderr)
                code = 1
        elif error is not None:
            print(traceback_of(error), file=sys.stderr)
            code = 1
        if error is not None and is_a(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF if isinstance(code, int) else 0)


def _before() -> None:
    # A signal that comes to the child before its handlers are its own must wait, or it would reach the parent's loop.
    if _workers:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _unblock() -> None:
    before = _mask.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _after_in_child() -> None:
    global _workers
    if not _workers:
        return
    _workers = 0
    _give_up_ports()
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if number in _replaced or _only_wakes(handler):
                signal.signal(number, _for_child(number, _replaced.get(number)))
        # A signal that has waited ends the child: a KeyboardInterrupt that is raised here would be lost.
        interrupt = signal.getsignal(signal.SIGINT)
        if interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    finally:
        _replaced.clear()
        _unblock()
    signal.signal(signal.SIGINT, interrupt)


def _give_up_ports() -> None:
    for port, fd in _ports.items():
        if _listens(fd, port):
            # Not closed: a file that the child opens must not get a number that the engine knows.
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nothing, fd, inheritable=False)
            os.close(nothing)
    _ports.clear()


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:  # no such directory in this system, or no descriptor is left to read it with
        return []


def _listens(fd: int, port: int) -> bool:
    """Whether a descriptor is a socket that takes connections on a TCP port."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        found = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        accepts = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return bool(accepts) and found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port
    except OSError:
        return False
    finally:
        found.detach()


def _only_wakes(handler: object) -> bool:
    """Whether an event loop has set this handler, which does nothing by itself."""
    name = getattr(handler, "__qualname__", "")
    return getattr(handler, "__module__", "") in ("asyncio.unix_events", "uvloop.loop") and "sighandler" in name


def _for_child(number: int, before: Any) -> Any:
    """The handler that a signal has in a child. One that ends the parent by an exception would do nothing there."""
    ends_by_exception = before is signal.default_int_handler or _is_of_asyncio_run(before)
    if before is None or ends_by_exception:
        return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    return before


def _is_of_asyncio_run(handler: Any) -> bool:
    function = getattr(getattr(handler, "func", None), "__func__", None)  # a `partial` of a method
    return function is asyncio.Runner._on_sigint  # type: ignore[attr-defined]
