"""Whether a value that has gone through JSON is still the same. If it would not be, the call with the value raises.

`difference` compares what was given with what would arrive, types included. Which types need that is decided once for
each annotation: `certain` and `is_plain`.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property, lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

Path = tuple[Any, str, Any] | None  # the way to the container, the last part with its form; None for the value itself
Stack = list[tuple[Any, Any, Path]]
Compare = Callable[[Any, Any, Path, Stack], str | None]

_MISSING: Any = object()
_CHANGED = "its value would change"
_NONE: frozenset[type] = frozenset([NoneType])
_SCALARS: frozenset[type] = _NONE | {str, int, float, bool}
_EXACT = frozenset({str, int, bool, NoneType, bytes})  # equal and of one type is the same
# An instance of a subclass may arrive as an instance of these: it has the same value.
_BASES = (str, int, float, datetime, date, time, timedelta, Decimal, UUID, list, tuple, dict, set, frozenset)
_ABSTRACT = (Sequence, Iterable, Collection, Mapping)
_Class: Any = type
_asked: list[type] = []


# Annotations


def certain(annotation: Any) -> frozenset[type]:
    """The types whose values come back as they are where they are annotated so. All but very long numbers do."""
    if annotation is Any:
        return _SCALARS
    if annotation in (None, NoneType):
        return _NONE
    if _is_union(annotation):
        parts = list(map(certain, get_args(annotation)))
        found: set[type] = set()
        for part in parts:
            found |= part
        return frozenset(found if all(parts) else ())
    return frozenset({annotation}) if isinstance(annotation, _Class) and annotation in _SCALARS else frozenset()


def is_plain(annotation: Any) -> bool:
    """Whether an annotation has only JSON's types in it: equal values are then the same."""
    if certain(annotation) or annotation in (list, dict, tuple):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (dict, Mapping):
        return arguments[0] is str and is_plain(arguments[1])
    if origin in (list, tuple, *_ABSTRACT) or _is_union(annotation):
        return all(is_plain(argument) for argument in arguments if argument is not ...)
    return isinstance(annotation, _Class) and issubclass(annotation, msgspec.Struct) and _is_plain_struct(annotation)


@lru_cache(maxsize=1024)
def _is_plain_struct(kind: Any) -> bool:
    """Whether its own `==`, which msgspec writes, compares all its fields, and these are only of JSON's types."""
    if kind.__eq__ is not msgspec.Struct.__eq__ or kind.__dictoffset__ or kind in _asked:
        return False
    _asked.append(kind)  # a class that contains itself does not count as plain
    try:
        hints = get_type_hints(kind)
        return all(is_plain(hints[name]) for name in kind.__struct_fields__)
    except (NameError, TypeError):
        return False
    finally:
        _asked.remove(kind)


def is_loose(annotation: Any) -> bool:
    """Whether an annotation leaves open which kind of sequence is meant. Then a tuple arrives as a list, as in JSON."""
    if annotation in (Any, object, list, dict, *_ABSTRACT) or get_origin(annotation) in _ABSTRACT:
        return True
    return any(map(is_loose, get_args(annotation)))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


# Values: the given one, and the one that would arrive


def difference(before: Any, after: Any, loose: bool = False) -> str | None:
    """The first place where `after` is not what `before` was, and why, or None if they are the same.

    An int that arrives as a float of the same value is the same, and so is an instance of a subclass of a plain type
    that arrives as one of the type itself. With `loose` a tuple may arrive as a list.
    """
    stack: Stack = [(before, after, None)]
    while stack:
        before, after, path = stack.pop()
        kind = _Class(before)
        if kind is _Class(after):
            problem = _compare(kind)(before, after, path, stack)
        else:
            problem = _arrived_as_another(before, after, path, stack, loose)
        if problem is not None:
            return f"{_shown(path)}{problem}"
    return None


def _arrived_as_another(before: Any, after: Any, path: Path, stack: Stack, loose: bool) -> str | None:
    kind = _Class(after)
    if type(before) is int and kind is float:
        return None if before == after else "as a float it would be another number"
    if loose and type(before) is tuple and kind is list:
        return _compare_items(before, after, path, stack)
    if kind in _BASES and isinstance(before, kind) and not isinstance(before, bool):
        compare: Compare = _compare(kind)
        return compare(before, after, path, stack)
    return f"{_named(type(before))} would arrive as {_named(kind)}"


def _named(kind: type) -> str:
    return "None" if kind is NoneType else f"a {kind.__qualname__}"


def _shown(path: Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, form, part = path
        parts.append(form.format(part))
    return f"at {''.join(reversed(parts))}: " if parts else ""


@lru_cache(maxsize=4096)
def _compare(kind: Any) -> Compare:
    """How two values of a type are compared."""
    for base, compare in _COMPARES.items():
        if issubclass(kind, base):
            return compare
    return _compare_objects_of(kind)


def _compare_equal(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
    return None if before == after else _CHANGED


def _compare_floats(before: float, after: float, path: Path, stack: Stack) -> str | None:
    if before == after:
        return None if math.copysign(1, before) == math.copysign(1, after) else _CHANGED
    return None if math.isnan(before) and math.isnan(after) else _CHANGED


def _compare_decimals(before: Decimal, after: Decimal, path: Path, stack: Stack) -> str | None:
    return None if before.as_tuple() == after.as_tuple() else _CHANGED


def _compare_times(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
    """A time zone comes back as its offset; that is the same moment."""
    if before.tzinfo is after.tzinfo and not before.fold:
        return None if before == after else _CHANGED
    if before.tzinfo is None and after.tzinfo is None:
        if before.fold:
            return "fold=1 would be lost; give it a time zone"
    elif before.utcoffset() is None:
        return "its time zone would be lost: it has no offset without a date"
    elif before.utcoffset() != after.utcoffset():
        return "its UTC offset has seconds, which would be lost; give it in UTC, value.astimezone(UTC)"
    return None if before.replace(tzinfo=None) == after.replace(tzinfo=None) else _CHANGED


def _compare_items(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
    if len(before) != len(after):
        return "items would be lost"
    types = list(map(type, before))
    if _EXACT.issuperset(types) and types == list(map(type, after)) and [*before] == [*after]:
        return None
    stack.extend((item, after[index], (path, "[{}]", index)) for index, item in enumerate(before))
    return None


def _compare_dicts(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
    lost = before.keys() ^ after.keys()
    if lost:
        key = next(key for key in (*before, *after) if key in lost)
        return f"the key {key!r} {'would be lost' if isinstance(key, str) else 'is not a string, nor declared'}"
    for key, item in before.items():
        arrived, kind = after[key], type(item)
        if item is not arrived and not (kind is type(arrived) and kind in _EXACT and item == arrived):
            stack.append((item, arrived, (path, "[{!r}]", key)))
    if any(type(key) is not str for key in before):
        keys = {key: key for key in after}
        stack.extend((key, keys[key], (path, "[{!r}]", key)) for key in before)
    return None


def _compare_sets(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
    known = {item: item for item in after}
    if len(before) != len(known) or any(item not in known for item in before):
        return _CHANGED
    stack.extend((item, known[item], (path, "{}", "{...}")) for item in before)
    return None


def _compare_uuids(before: UUID, after: UUID, path: Path, stack: Stack) -> str | None:
    return None if before.int == after.int else _CHANGED


def _compare_objects_of(kind: Any) -> Compare:
    """How objects of a class are compared: by all their attributes; where those are not known, by their own `==`."""
    names = _fields(kind)
    pydantic = sys.modules.get("pydantic")
    stores = ["__dict__"] if kind.__dictoffset__ else []
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        names, stores = (), ["__dict__", "__pydantic_extra__", "__pydantic_private__"]
    elif names is None:
        if kind.__eq__ is not object.__eq__ or not stores:
            return _compare_opaque
        names = ()
    # A cached property is made from the other attributes at its first use: it is no part of the value.
    made = {name for base in kind.__mro__ for name, item in vars(base).items() if isinstance(item, cached_property)}
    hidden = frozenset({*made, "__orig_class__", *names})

    def compare(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
        problem = _compare_attributes(before, after, names, path, stack)
        for store in stores:
            known, new = getattr(before, store, None) or {}, getattr(after, store, None) or {}
            if problem is None and not (len(known) == len(new) == len(names)):
                problem = _compare_stores(known, new, hidden, path, stack)
        return problem

    return compare


def _fields(kind: Any) -> tuple[str, ...] | None:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__  # type: ignore[no-any-return]
    if is_dataclass(kind):
        return tuple(entry.name for entry in fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(entry.name for entry in kind.__attrs_attrs__)
    return None


def _compare_attributes(before: Any, after: Any, names: Iterable[str], path: Path, stack: Stack) -> str | None:
    for name in names:
        known, new = getattr(before, name, _MISSING), getattr(after, name, _MISSING)
        kind = type(known)
        if known is new or (kind is type(new) and kind in _EXACT and known == new):
            continue
        if known is _MISSING or new is _MISSING:
            return f"the attribute {name!r} would be lost"
        stack.append((known, new, (path, ".{}", name)))
    return None


def _compare_stores(known: Any, new: Any, hidden: frozenset[str], path: Path, stack: Stack) -> str | None:
    for name, item in known.items():
        arrived, kind = new.get(name, _MISSING), type(item)
        if name in hidden or item is arrived or (kind is type(arrived) and kind in _EXACT and item == arrived):
            continue
        if arrived is _MISSING:
            return f"the attribute {name!r} would be lost"
        stack.append((item, arrived, (path, ".{}", name)))
    more = new.keys() - known.keys() - hidden
    return f"the attribute {more.pop()!r} would be added" if more else None


def _compare_opaque(before: Any, after: Any, path: Path, stack: Stack) -> str | None:
    try:
        return None if before is after or bool(before == after) else _CHANGED
    except Exception:  # a user's __eq__
        return _CHANGED


# A subclass stands before its base.
_COMPARES: dict[type, Compare] = {
    Enum: _compare_equal,
    bool: _compare_equal,
    str: _compare_equal,
    int: _compare_equal,
    NoneType: _compare_equal,
    float: _compare_floats,
    bytes: _compare_equal,
    bytearray: _compare_equal,
    memoryview: _compare_equal,
    Decimal: _compare_decimals,
    datetime: _compare_times,
    time: _compare_times,
    date: _compare_equal,
    timedelta: _compare_equal,
    UUID: _compare_uuids,
    list: _compare_items,
    tuple: _compare_items,
    deque: _compare_items,
    dict: _compare_dicts,
    set: _compare_sets,
    frozenset: _compare_sets,
}
