"""A second function under a registered name is refused, unless it is the same function again.

The same function comes again when its module is run a second time (reloaded, or run as a script and imported), when a
cell of a notebook is run again, and when a factory is called again with the same values.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

_ATOMS = (int, float, complex, str, bytes, type(None), type(Ellipsis), range)
_CODE_FLAGS = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags", "co_argcount")
_CODE_COUNTS = ("co_posonlyargcount", "co_kwonlyargcount", "co_exceptiontable")
_MISSING = object()


@runtime_checkable
class Registered(Protocol):
    """A task or a workflow, as far as it is compared here."""

    kind: ClassVar[Any]
    name: str
    plain: Callable[..., Any]
    module_run: CodeType | None

    @property
    def annotations(self) -> Any: ...


def is_same(known: Registered, new: Registered) -> bool:
    """Whether `new` may take the name of `known`: it does the same, or its module is being run again."""
    return _is_run_again(known, new) or (
        known.kind == new.kind
        and _has_same_home(known.plain, new.plain)
        and known.annotations == new.annotations
        and _does_same(known.plain, new.plain)
    )


def place(function: Callable[..., Any]) -> str:
    """Where a function is defined, as a message names it."""
    code = _code(function)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def module_run(function: Callable[..., Any]) -> CodeType | None:
    """The object that the module of this function is being run from: another object every time that it is run.

    None when the module is not being run: a factory that is called from elsewhere.
    """
    names = getattr(_innermost(function), "__globals__", None)
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is names and frame.f_locals is names:
            return frame.f_code  # type: ignore[no-any-return]
        frame = frame.f_back
    return None


def _is_run_again(known: Registered, new: Registered) -> bool:
    if known.module_run is None or new.module_run is None or known.module_run is new.module_run:
        return False
    if _same_file(known.plain, new.plain):
        return True
    # A cell has no file of its own. What a factory made in an earlier cell is compared like anything else.
    cells = _is_interactive(known.plain) and _is_interactive(new.plain)
    return cells and "<locals>" not in known.plain.__qualname__ and "<locals>" not in new.plain.__qualname__


def _is_interactive(function: Callable[..., Any]) -> bool:
    return function.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")


def _has_same_home(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether the global names that the two use are the same, or those of one file."""
    own = getattr(_innermost(one), "__globals__", None)
    return own is getattr(_innermost(other), "__globals__", None) or _same_file(one, other)


def _same_file(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    files = [code.co_filename for function in (one, other) if (code := _code(function)) is not None]
    return len(files) == 2 and os.path.isfile(files[0]) and os.path.realpath(files[0]) == os.path.realpath(files[1])


def _innermost(function: Any) -> Any:
    """The function as it is written, without bound methods, partial objects and decorators that keep `__wrapped__`.

    `seen` ends the search where wrappers refer to each other in a circle.
    """
    seen: set[int] = set()
    while id(function) not in seen:
        seen.add(id(function))
        function = getattr(function, "__wrapped__", getattr(function, "__func__", getattr(function, "func", function)))
    return function


def _code(function: Callable[..., Any]) -> CodeType | None:
    code = getattr(_innermost(function), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _does_same(one: Any, other: Any, seen: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether two functions have the same code, defaults and closure. Decorators around them are compared too."""
    if one is other or (id(one), id(other)) in seen:
        return True
    seen |= {(id(one), id(other))}
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return (
            _same_code(one.__code__, other.__code__)
            and _same_value(one.__defaults__, other.__defaults__, seen)
            and _same_value(one.__kwdefaults__, other.__kwdefaults__, seen)
            and _same_closure(one, other, seen)
        )
    bound = getattr(one, "__self__", _MISSING)
    if bound is not _MISSING and bound is getattr(other, "__self__", _MISSING):
        return _does_same(getattr(one, "__func__", None), getattr(other, "__func__", _MISSING), seen)
    return False


def _same_closure(one: FunctionType, other: FunctionType, seen: frozenset[tuple[int, int]]) -> bool:
    known, new = one.__closure__ or (), other.__closure__ or ()
    return len(known) == len(new) and all(
        _same_value(_content(a), _content(b), seen) for a, b in zip(known, new, strict=True)
    )


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the name is defined below the function, or is the function itself
        return _MISSING


def _same_code(one: CodeType, other: CodeType) -> bool:
    """Whether two pieces of code do the same, wherever they stand."""
    return (
        all(getattr(one, name) == getattr(other, name) for name in (*_CODE_FLAGS, *_CODE_COUNTS))
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same_value, one.co_consts, other.co_consts))
    )


def _same_value(one: Any, other: Any, seen: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether two values of code or closures are the same for good. A value that can change equals only itself."""
    if one is other:
        return True
    if other is _MISSING:  # a function's name that is bound later
        return isinstance(one, (Registered, FunctionType, type))
    if isinstance(one, Registered) and isinstance(other, Registered):
        return one.name == other.name and _does_same(one.plain, other.plain, seen)
    if type(one) is not type(other) or isinstance(one, (ModuleType, type, Enum)):
        return False
    if isinstance(one, CodeType):
        return _same_code(one, other)
    if isinstance(one, _ATOMS):
        return repr(one) == repr(other)  # tells 0.0 from -0.0, and finds NaN equal to itself
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same_value(a, b, seen) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and seen:  # the defaults of keywords; any other that is not one can be changed
        return one.keys() == other.keys() and all(_same_value(one[key], other[key], seen) for key in one)
    if isinstance(one, (list, dict, set, bytearray)):
        return False
    if isinstance(one, functools.partial):
        return _same_value((one.func, one.args), (other.func, other.args), seen) and _same_value(
            tuple(sorted(one.keywords.items())), tuple(sorted(other.keywords.items())), seen
        )
    if callable(one) and hasattr(one, "__code__" if isinstance(one, FunctionType) else "__self__"):
        return _does_same(one, other, seen)
    try:
        return bool(one == other) and hash(one) == hash(other)
    except Exception:  # not comparable, or not hashable: it can be changed
        return False
