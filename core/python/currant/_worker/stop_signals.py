"""The signals that stop workers. Every worker of a process gets them; the last one restores the earlier handlers.

An event loop has one handler for each signal, so a worker that set its own would keep it from another worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from currant._worker import forks

OnSignal = Callable[[int], None]

_hearing: list[OnSignal] = []
_loop: asyncio.AbstractEventLoop | None = None  # the event loop of the workers
_before: dict[int, Any] = {}  # the handlers of before the first worker


@contextlib.contextmanager
def heard(loop: asyncio.AbstractEventLoop, on_signal: OnSignal) -> Iterator[None]:
    """In this context SIGTERM and SIGINT call `on_signal`, and so does SIGHUP where it would end the process.

    A SIGHUP that is ignored (`nohup`) or that the program handles itself is left alone. Outside of the main thread
    no signal arrives: Python handles signals in the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _loop is not loop or not _hearing:
        _begin(loop)
    _hearing.append(on_signal)
    try:
        yield
    finally:
        if _loop is loop:
            _hearing.remove(on_signal)
            if not _hearing:
                _end(loop)


def _begin(loop: asyncio.AbstractEventLoop) -> None:
    global _loop
    _loop = loop
    _hearing.clear()  # left over: of a loop that did not end, or of the process that has forked this one
    _before.clear()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        handler = signal.getsignal(number)
        if number == signal.SIGHUP and handler not in (signal.SIG_DFL, signal.default_int_handler):
            continue
        _before[number] = handler
        loop.add_signal_handler(number, _tell, number)
    forks.replaces(_before)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    forks.replaces({})
    for number, handler in _before.items():
        loop.remove_signal_handler(number)
        if handler is not None:  # not set by Python
            signal.signal(number, handler)
    _before.clear()


def _tell(number: int) -> None:
    for on_signal in list(_hearing):
        on_signal(number)
