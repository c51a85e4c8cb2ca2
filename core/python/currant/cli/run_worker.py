"""A worker in this process: what `currant worker` and `currant dev` share."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from currant import tracing
from currant._base.user_errors import SafeLogger, interrupted
from currant._worker import logs
from currant.cli.functions import Mistake, import_module
from currant.worker import Worker

_log = SafeLogger(logging.getLogger("currant.worker"))


def prepare(modules: Iterable[str]) -> None:
    """Set up the log and the signals, then import the modules for what they register."""
    _configure_logging()
    _end_by_signals()
    for module in modules:
        import_module(module)


def _end_by_signals() -> None:
    """Let SIGTERM, and SIGHUP unless it is ignored, end the process as Ctrl-C does.

    Process 1 of a container has no default for them: without a handler a SIGTERM during the imports would be lost.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def run_worker(queues: tuple[str, ...], concurrency: int | None, name: str | None) -> None:
    """Run a worker until it is asked to stop. Raises `Mistake` for wrong arguments."""
    tracing.export()
    try:
        worker = Worker(queues=list(queues), concurrency=concurrency, name=name)
    except ValueError as error:
        raise Mistake(str(error)) from None
    run_alone(worker, loop_factory())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The factory of uvloop if that is installed, or None for asyncio's own loop."""
    try:
        import uvloop
    except ImportError:  # there is no wheel for every platform
        return None
    return uvloop.new_event_loop


class LogSetting(NamedTuple):
    """A setting of the command line's logs: its variable, its values, its default, and what it is (Markdown)."""

    variable: str
    known: tuple[str, ...]
    default: str
    about: str


LOG_LEVEL = LogSetting(
    "WORKFLOWS_LOG_LEVEL", logs.LEVELS, "INFO", "The least level of what `currant worker` and `currant dev` log."
)
LOG_FORMAT = LogSetting(
    "WORKFLOWS_LOG_FORMAT",
    logs.FORMATS,
    "text",
    "The form of logs; `json`: one JSON object in each line, with execution, attempt and queue.",
)


def _configure_logging() -> None:
    logs.set_up(_choice(LOG_LEVEL), _choice(LOG_FORMAT))


def _choice(setting: LogSetting) -> str:
    given = os.environ.get(setting.variable, "").strip() or setting.default
    for each in setting.known:
        if given.lower() == each.lower():
            return each
    raise Mistake(f"{setting.variable} cannot be {given!r}: write one of {', '.join(setting.known)}")


def run_alone(worker: Worker, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    """`asyncio.run(worker.run())` for a process that is there for this worker only: users' code cannot end its loop.

    asyncio ends a loop when one of its tasks raises SystemExit or KeyboardInterrupt, for which an `exit()` below a
    `gather` is enough, when `loop.stop()` is called, and when a signal's handler raises (an alarm as a time-out).
    Code that awaits such a task gets the error nevertheless.
    """
    main: list[asyncio.Task[None]] = []

    async def run() -> None:
        main.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await worker.run()
        finally:
            # The runner waits for the threads of the loop's executor (`asyncio.to_thread`), which may never end.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        go_on = partial(runner.run, run())
        while True:
            try:
                go_on()
                return
            except BaseException as error:
                if worker.closed or interrupted(error) or main[0].done() or _is_of_system(error):
                    raise
                _log.failure(error, "worker %s goes on after code of a task has ended its event loop", worker.name)
                go_on = partial(runner.get_loop().run_until_complete, main[0])


def _is_of_system(error: BaseException) -> bool:
    """Whether the operating system has refused something: then the loop itself is broken and cannot go on."""
    return isinstance(error, OSError) and error.errno is not None
