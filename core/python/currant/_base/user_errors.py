"""Exceptions of users' code, shown and classified without raising another one.

Every method of an exception and of its class is users' code (`__str__`, a property `__class__`, a metaclass), and so is
what a program has given to `logging`. Whatever they raise, also what is not an `Exception`, stops here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import traceback as tracebacks
from collections.abc import Callable
from typing import Any

_LONGEST_MESSAGE = 16_384  # characters of an error's message that are kept
_LONGEST_TRACEBACK = 32_768
_MOST_FRAMES = 500  # the innermost frames of each traceback; more would not fit into the limit above

# A metaclass may have a property of these names, so `type`'s own descriptors are called.
_name, _qualname, _mro = (type.__dict__[name].__get__ for name in ("__name__", "__qualname__", "__mro__"))


def is_a(error: BaseException, kind: type) -> bool:
    """`isinstance` by the real class alone: the property `__class__` of an object is users' code."""
    return any(each is kind for each in _mro(type(error)))


def type_name(error: BaseException) -> str:
    """The name of an error's class."""
    return _text(str.__str__(_name(type(error))))


def class_names(error: BaseException, qualified: Callable[[type], str]) -> set[str]:
    """The names of the error's class and its base classes, bare and with their module (`qualified` has the second)."""
    names: set[str] = set()
    for kind in _mro(type(error)):
        names |= {str.__str__(_name(kind)), str.__str__(_qualname(kind))}
        with contextlib.suppress(BaseException):  # a class whose module or name is something else
            names |= {qualified(kind), f"{kind.__module__}.{kind.__qualname__}"}
    return names


def message_of(error: BaseException) -> str:
    """`str(error)`, at most 16,384 characters of it, or what was raised instead."""
    try:
        message = str.__str__(str(error))
    except BaseException as broken:
        return f"(its message cannot be shown: {type_name(broken)})"
    return _text(message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 3] + "...")


def one_line(error: BaseException) -> str:
    """The class and the message of an error in one line, for a log."""
    return f"{type_name(error)}: {' '.join(message_of(error).split())}"


def traceback_of(error: BaseException) -> str:
    """The traceback with causes and notes, its last 32,768 characters; a part that cannot be shown is left out."""
    attempts: tuple[Callable[[], list[str]], ...] = (
        lambda: tracebacks.format_exception(error, limit=-_MOST_FRAMES),
        lambda: [*tracebacks.format_tb(error.__traceback__, limit=-_MOST_FRAMES), one_line(error)],
    )
    for attempt in attempts:
        try:
            text = "".join(attempt())
        except BaseException:  # noqa: S112  users' code again: `__notes__`, `__cause__`, a module's loader
            continue
        return _text(text if len(text) <= _LONGEST_TRACEBACK else "..." + text[3 - _LONGEST_TRACEBACK :])
    return one_line(error)


def _text(value: str) -> str:
    """The text with lone surrogates as escapes: UTF-8 cannot carry them."""
    return value.encode("utf-8", "backslashreplace").decode()


def interrupted(error: BaseException) -> bool:
    """Whether this is Ctrl-C in a program of `asyncio.run`: its handler raises it in whatever code runs."""
    if not is_a(error, KeyboardInterrupt):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is asyncio.Runner._on_sigint.__code__  # type: ignore[attr-defined]


class SafeLogger:
    """A logger that never raises: when a filter or handler of the program does, the line goes to standard error."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def log(self, level: int, message: str, *args: Any, **more: Any) -> None:
        """See `logging.Logger.log`."""
        more["stacklevel"] = more.get("stacklevel", 1) + 1
        try:
            self._logger.log(level, message, *args, **more)
        except BaseException as error:
            if interrupted(error):
                raise
            with contextlib.suppress(BaseException):
                said = message % args if args else message
                print(f"{self._logger.name}: {said} (logging it raised {type_name(error)})", file=sys.stderr)

    def info(self, message: str, *args: Any, **more: Any) -> None:
        """See `logging.Logger.info`."""
        self.log(logging.INFO, message, *args, stacklevel=2, **more)

    def warning(self, message: str, *args: Any, **more: Any) -> None:
        """See `logging.Logger.warning`."""
        self.log(logging.WARNING, message, *args, stacklevel=2, **more)

    def error(self, message: str, *args: Any, **more: Any) -> None:
        """See `logging.Logger.error`."""
        self.log(logging.ERROR, message, *args, stacklevel=2, **more)

    def failure(self, error: BaseException, message: str, *args: Any) -> None:
        """As `logging.Logger.exception`, for an error that is not necessarily being handled."""
        self.log(logging.ERROR, message, *args, exc_info=error, stacklevel=2)
