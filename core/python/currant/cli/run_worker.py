"""A worker in this process: what `currant worker` and `currant dev` share."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable

from currant import tracing
from currant._worker import logs
from currant.cli.functions import Mistake, import_module
from currant.worker import Worker, run_alone


def prepare(modules: Iterable[str]) -> None:
    """Set up the log and the signals, then import the modules for what they register."""
    _configure_logging()
    _end_by_signals()
    for module in modules:
        import_module(module)


def _end_by_signals() -> None:
    """SIGTERM, and SIGHUP unless it is ignored, end us as Ctrl-C does, whatever we are at.

    Process 1 of a container has no default for them: without a handler a SIGTERM while modules are imported is lost.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def run_worker(queues: tuple[str, ...], concurrency: int | None, name: str | None) -> None:
    """Run a worker until it is told to stop. Raises `Mistake` for what it cannot be run with."""
    tracing.export()
    try:
        worker = Worker(queues=list(queues), concurrency=concurrency, name=name)
    except ValueError as error:
        raise Mistake(str(error)) from None
    run_alone(worker, loop_factory())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:  # there is no wheel for every platform
        return None
    return uvloop.new_event_loop


def _configure_logging() -> None:
    level = _choice("WORKFLOWS_LOG_LEVEL", logs.LEVELS, "INFO")
    logs.set_up(level, _choice("WORKFLOWS_LOG_FORMAT", logs.FORMATS, "text"))


def _choice(variable: str, known: tuple[str, ...], default: str) -> str:
    given = os.environ.get(variable, "").strip() or default
    for each in known:
        if given.lower() == each.lower():
            return each
    raise Mistake(f"{variable} cannot be {given!r}: write one of {', '.join(known)}")
