"""Errors whose own code raises, by what is odd in them. Each function of `HOSTILE` makes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from currant import ExecutionFailed


def refuse(*_: object, **__: object) -> NoReturn:
    """A method that raises."""
    raise ValueError("not to be shown")


def leave(*_: object, **__: object) -> NoReturn:
    """A method that raises what is no Exception."""
    raise SystemExit("a method left")


class NoStr(Exception):
    __str__ = __repr__ = refuse


class ExitingStr(Exception):
    __str__ = __repr__ = leave


class InterruptingStr(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class EndlessStr(Exception):
    def __str__(self) -> str:
        return str(self)


class NumberStr(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Text(str):
    __len__ = __getitem__ = split = encode = __str__ = __repr__ = __hash__ = __eq__ = refuse  # type: ignore[assignment]


class TextStr(Exception):
    def __str__(self) -> str:
        return Text("a subclass of str")


class NoClass(Exception):
    __class__ = property(leave)  # type: ignore[assignment]


class NoAttributes(Exception):
    __getattribute__ = leave


class Meta(type):
    __getattribute__ = leave  # type: ignore[assignment]
    __eq__ = __hash__ = __instancecheck__ = __subclasscheck__ = leave  # type: ignore[assignment]


class OddMeta(Exception, metaclass=Meta):
    pass


class NoNotes(Exception):
    __notes__ = property(leave)  # type: ignore[assignment]


class NoConstructor(ExecutionFailed):
    def __init__(self) -> None:
        Exception.__init__(self, "bare")


class OddFailed(ExecutionFailed):
    __init__ = Exception.__init__  # type: ignore[assignment]
    type = property(leave)  # type: ignore[assignment]


class NoGroup(ExceptionGroup[Exception]):
    exceptions = property(leave)  # type: ignore[assignment]
    __str__ = leave


class OwnBase(BaseException):
    pass


def _changed(error: BaseException, **attributes: Any) -> BaseException:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def _deep() -> BaseException:
    def down() -> None:
        down()

    try:
        down()
    except RecursionError as error:
        return error
    raise AssertionError


HOSTILE: dict[str, Callable[[], BaseException]] = {
    "str raises": NoStr,
    "str exits": ExitingStr,
    "str interrupts": InterruptingStr,
    "str calls itself": EndlessStr,
    "str gives a number": NumberStr,
    "str gives a subclass": TextStr,
    "__class__ raises": NoClass,
    "__getattribute__ raises": NoAttributes,
    "a metaclass raises": OddMeta,
    "__notes__ raises": NoNotes,
    "a note cannot be shown": lambda: _changed(ValueError("v"), __notes__=[NoStr()]),
    "the notes are no list": lambda: _changed(ValueError("v"), __notes__=NoStr()),
    "the cause cannot be shown": lambda: _changed(ValueError("v"), __cause__=ExitingStr()),
    "the context cannot be shown": lambda: _changed(ValueError("v"), __context__=InterruptingStr()),
    "the cause is the error": lambda: _changed(error := ValueError("v"), __cause__=error),
    "an argument cannot be shown": lambda: ValueError(NoStr()),
    "a group of such": lambda: ExceptionGroup("g", [NoStr(), OddMeta(), ExceptionGroup("h", [ExitingStr()])]),
    "a base group": lambda: BaseExceptionGroup("g", [OwnBase(), KeyboardInterrupt()]),
    "a group without members": lambda: NoGroup("g", [ValueError("v")]),
    "a failed execution without its fields": NoConstructor,
    "a failed execution with a property": lambda: OddFailed("i"),
    "a failed execution of no text": lambda: ExecutionFailed(5, [], {}, b""),  # type: ignore[arg-type]
    "a broken syntax error": lambda: _changed(SyntaxError("s"), text=5, lineno="x", filename=b"f", offset=-1),
    "lone surrogates": lambda: ValueError("\ud800 \udfff"),
    "nul and control characters": lambda: ValueError("\0 \x1b[31m \u2028"),
    "ten megabytes": lambda: ValueError("\udcff" * 10_000_000),
    "a failed execution of lone surrogates": lambda: ExecutionFailed("\ud800", "\ud801", "\ud802", "\ud803"),
    "SystemExit": lambda: SystemExit(3),
    "SystemExit of an object": lambda: SystemExit(ExitingStr()),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": lambda: asyncio.CancelledError("by myself"),
    "RecursionError": _deep,
    "MemoryError": MemoryError,
    "an own BaseException": OwnBase,
}
