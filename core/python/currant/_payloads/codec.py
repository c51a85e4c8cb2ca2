"""Payloads are JSON of limited size: plain values as they are, richer types by the annotations of their function."""

from __future__ import annotations

import inspect
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, get_args, get_origin

import msgspec

from currant import settings
from currant._base.user_errors import is_a, message_of, traceback_of, type_name
from currant._payloads import fidelity
from currant.errors import ExecutionFailed, SerializationError

CERTAIN_LENGTH = 4_000  # bytes of JSON; in more there may be a number that is too long for Python
_SCALARS: frozenset[type] = frozenset({str, int, bool, bytes, type(None)})
_TOO_DEEP = "it is nested too deeply, or contains itself"
_PLAIN_CONTAINERS = (list, tuple, dict, set, frozenset)
_LISTS = (list, tuple, set, frozenset, deque)

_Class: Any = type  # where a parameter is named `type`
_limit: int | None = None


def payload_limit() -> int:
    """The largest payload in bytes: what `configure` was given, else `WORKFLOWS_MAX_PAYLOAD_BYTES`."""
    global _limit
    if _limit is None:
        _limit = settings.load().max_payload_bytes
    return _limit


def set_payload_limit(limit: int | None) -> None:
    """Set the largest payload in bytes. None means what `WORKFLOWS_MAX_PAYLOAD_BYTES` says."""
    global _limit
    _limit = limit


def encode(value: Any, what: str = "value", limit: int | None = None) -> bytes:
    """Return `value` as JSON of at most `limit` bytes (default: the configured limit).

    Raises `SerializationError`, naming `what`, for NaN, infinities, lone surrogates, keys that are not strings, objects
    that JSON cannot carry, and payloads that are too large.
    """
    data = to_json(value, what)
    # msgspec writes NaN and infinities as null and numbers that are keys as strings. Only data with a null or an
    # object in it can hold such a thing, so most values are not walked.
    if (b"null" in data and value is not None) or b'":' in data:
        reason = _fault(value)
        if reason is not None:
            raise SerializationError(f"{what} cannot be carried as JSON: {reason}")
    if len(data) > (limit or _limit or payload_limit()):
        check_size(data, what, limit)
    return data


def to_json(value: Any, what: str) -> bytes:
    """As `encode`, for a value that is decoded again to compare: nothing is checked, and any size is allowed."""
    try:
        return _encoder.encode(value)
    except Exception as error:
        raise SerializationError(f"{what} cannot be carried as JSON: {_reason(value, error)}") from error


def refuse_no_numbers(value: Any, what: str) -> None:
    """Raise `SerializationError`, naming `what`, if `value` contains NaN or an infinity, for which JSON has null."""
    reason = _fault(value, keys=False)
    if reason is not None:
        raise SerializationError(f"{what} cannot be carried as JSON: {reason}")


def encode_sorted(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys of objects and members of sets: for comparing, not for storing."""
    _fill_in(value)
    return _sorted_encoder.encode(value)


def check_size(data: bytes, what: str, limit: int | None = None) -> None:
    """Raise `SerializationError` if `data` is larger than `limit` bytes (default: the configured limit)."""
    if limit is None:
        limit = payload_limit()
    if len(data) > limit:
        raise SerializationError(
            f"{what}: too large, {len(data)} bytes of JSON; at most {limit} are allowed (WORKFLOWS_MAX_PAYLOAD_BYTES)"
        )


def decode(data: bytes, type: Any = Any, what: str = "value") -> Any:
    """Decode the JSON `data` as `type`. Raises `SerializationError`, naming `what`, when it does not fit."""
    return decoder(type, what)(data)


def decoder(type: Any, what: str = "value") -> Callable[[bytes], Any]:
    """The function that decodes JSON to `type`. Raises `SerializationError` for a type that JSON cannot tell apart."""
    if type is Any:
        decode_json = _plain_decoder.decode
    else:
        try:
            decode_json = _typed_decoder(type).decode
        except Exception as error:  # also a NameError: a dataclass whose annotations name what is not there
            raise SerializationError(f"{what} cannot be carried as {show_type(type)}: {error}") from None

    def decode_value(data: bytes) -> Any:
        try:
            return decode_json(data)
        except Exception as error:
            raise SerializationError(f"{what} does not fit {show_type(type)}: {error}") from error

    return decode_value


class Carrier:
    """Translates the values of one annotation to JSON and back, and checks that they arrive as they were.

    Raises `SerializationError`, naming `what`, for a type that JSON cannot tell apart.
    """

    __slots__ = ("_is_loose", "_is_plain", "certain", "decode", "what")

    def __init__(self, type: Any, what: str) -> None:
        self.what = what
        self.decode = decoder(type, what)
        self.certain = fidelity.certain(type)  # any value of such a type arrives unchanged
        self._is_plain = fidelity.is_plain(type)
        self._is_loose = fidelity.is_loose(type)

    def check(self, value: Any, arrived: Any) -> None:
        """Raise `SerializationError` if `arrived`, which was decoded, is not what `value` was."""
        try:
            if self._is_plain and value == arrived:
                return
        except RecursionError:  # it is nested deeply, which `difference` allows
            pass
        found = fidelity.difference(value, arrived, self._is_loose)
        if found is not None:
            raise SerializationError(f"{self.what} would not arrive as it is: {found}")

    def encode(self, value: Any) -> bytes:
        """Return a value as JSON. Raises `SerializationError` if it would not arrive as it is, or is too large."""
        data = to_json(value, self.what)
        if len(data) > (_limit or payload_limit()):
            check_size(data, self.what)
        if type(value) in self.certain and len(data) <= CERTAIN_LENGTH and (data != b"null" or value is None):
            return data
        try:
            self.check(value, self.decode(data))
        except SerializationError:
            refuse_no_numbers(value, self.what)  # the better message
            raise
        return data


def encode_untyped(value: Any, what: str) -> bytes:
    """As `encode`, for a value whose reader says what it is: each part has to come back by its own class."""
    data = encode(value, what)
    if type(value) in _SCALARS:
        return data
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if type(item) in _PLAIN_CONTAINERS:
            stack.extend(item.values() if isinstance(item, dict) else item)
        elif type(item) not in _SCALARS and type(item) is not float:
            carrier = Carrier(getattr(item, "__orig_class__", type(item)), what)
            carrier.check(item, carrier.decode(_encoder.encode(item)))
    return data


def show_type(type: Any) -> str:
    """A type as a message names it."""
    if type is Any:
        return "JSON"
    return type.__name__ if isinstance(type, _Class) else str(type).replace("typing.", "")


def encode_error(error: BaseException, execution_id: str | None = None) -> bytes:
    """Return an error as the JSON that is stored. An `ExecutionFailed` still tells of the execution that failed first.

    It never raises: parts of the error that cannot be shown are left out.
    """
    found = _attributes_of(error) if is_a(error, ExecutionFailed) else None
    if found is None:
        found = {"type": type_name(error), "message": message_of(error), "traceback": traceback_of(error)}
        return _encoder.encode({**found, "id": execution_id})
    return _encoder.encode(found)


def _attributes_of(failed: Any) -> dict[str, str] | None:
    """The attributes of an `ExecutionFailed`, or None when users' code has put something else than text into them."""
    try:
        found = {name: getattr(failed, name) for name in ("type", "message", "traceback", "id")}
        return {name: str.encode(text, "utf-8", "backslashreplace").decode() for name, text in found.items()}
    except BaseException:  # a subclass that does not call our constructor, or has properties of these names
        return None


def decode_error(data: bytes) -> ExecutionFailed:
    """Return a stored error as the exception that a caller sees."""
    stored = decode(data, dict, "error")
    return ExecutionFailed(
        stored.get("id") or "",
        stored.get("type") or "Error",
        stored.get("message") or "",
        stored.get("traceback") or "",
    )


def _plain(value: Any) -> Any:
    """A hook of msgspec for types that it does not know: pydantic's models, subclasses of the plain types."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", warnings=False, **_pydantic_way(pydantic)[0])
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    hint = ""
    if inspect.isawaitable(value):
        hint = "; an `await` is missing"
        if inspect.iscoroutine(value):
            value.close()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not a JSON type{hint}")


@lru_cache(maxsize=1)
def _pydantic_way(pydantic: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options to dump and to validate by which a model with aliases comes back as itself."""
    if tuple(map(int, pydantic.VERSION.split(".")[:2])) >= (2, 11):
        return {"round_trip": True}, {"by_alias": True, "by_name": True}
    return {"round_trip": True, "by_alias": True}, {}


def _rich(wanted: Any, value: Any) -> Any:
    pydantic = sys.modules.get("pydantic")
    if wanted is object:
        return value
    if (get_origin(wanted) or wanted) is Iterable:
        items: Any = list[get_args(wanted)] if get_args(wanted) else list  # type: ignore[misc]
        return msgspec.convert(value, items, dec_hook=_rich)
    if isinstance(wanted, _Class):
        if pydantic is not None and issubclass(wanted, pydantic.BaseModel):
            # By its rules for JSON: a strict model takes the text of a date, as JSON has it.
            return wanted.model_validate_json(_encoder.encode(value), **_pydantic_way(pydantic)[1])
        for base in (str, int, float):
            if issubclass(wanted, base) and type(value) in (base, int):
                return wanted(value)
    raise TypeError(f"{show_type(wanted)} is not a type that JSON can carry")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_sorted_encoder = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")
_plain_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


@lru_cache(maxsize=4096)
def _cached_decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type, dec_hook=_rich)


def _typed_decoder(type: Any) -> msgspec.json.Decoder[Any]:
    try:
        hash(type)
    except TypeError:  # Annotated[int, []] is not hashable
        return msgspec.json.Decoder(type, dec_hook=_rich)
    return _cached_decoder(type)


def _reason(value: Any, error: Exception) -> str:
    """Why msgspec refused `value`: the place of the fault where a search finds it, else msgspec's own message."""
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    try:
        return _fault(value, strings=True) or next(_strangers(value, ""), str(error))
    except Exception:  # a property of the value that raises
        return str(error)


def _fault(value: Any, strings: bool = False, keys: bool = True) -> str | None:
    """The first thing in `value` that JSON cannot carry, or that msgspec would carry as something else.

    `strings`: also lone surrogates, which msgspec finds by itself. `keys`: also keys that are not strings.
    """
    try:
        return next(_faults(value, "", _SCALARS - {str} if strings else _SCALARS, keys), None)
    except RecursionError:
        return _TOO_DEEP


def _faults(value: Any, path: str, fine: frozenset[type], keys: bool) -> Iterator[str]:
    if type(value) in fine:
        return
    if isinstance(value, Enum):
        yield from _faults(value.value, path, fine, keys)
    elif isinstance(value, str):
        if not _encodes(value):
            yield f"{_at(path)}{value!r} has a lone surrogate"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{_at(path)}{float.__repr__(value)} is not a JSON number"
    elif isinstance(value, dict):
        for key, item in value.items():
            if keys and not isinstance(key, str):
                yield f"{_at(path)}the key {key!r} is not a string"
            elif str not in fine and isinstance(key, str) and not _encodes(key):
                yield f"{_at(path)}the key {key!r} has a lone surrogate"
            elif type(item) not in fine:
                yield from _faults(item, f"{path}[{key!r}]", fine, keys)
    elif isinstance(value, _LISTS):
        for index, item in enumerate(value):
            if type(item) not in fine:
                yield from _faults(item, f"{path}[{index}]", fine, keys)
    else:
        for name, item in _attributes(value):
            yield from _faults(item, f"{path}.{name}", fine, keys)


def _strangers(value: Any, path: str) -> Iterator[str]:
    """The part of a value without a form in JSON, with its place. A pydantic model gives its own reasons."""
    if isinstance(value, dict):
        parts = [(f"{path}[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, _LISTS):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif hasattr(type(value), "model_fields"):
        return
    else:
        parts = [(f"{path}.{name}", item) for name, item in _attributes(value)]
    for place, item in parts:
        yield from _strangers(item, place)
    if not parts and type(value) not in _SCALARS:
        try:
            _encoder.encode(value)
        except TypeError as error:
            yield f"{_at(path)}{error}"


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        names: Any = value.__struct_fields__
    elif is_dataclass(value):
        names = [entry.name for entry in fields(value)]
    elif hasattr(type(value), "__attrs_attrs__"):
        names = [entry.name for entry in type(value).__attrs_attrs__]
    elif hasattr(type(value), "model_fields"):
        names = type(value).model_fields
    else:
        return
    for name in names:
        yield name, getattr(value, name, None)


def _fill_in(value: Any) -> None:
    """Set the defaults of dataclasses: msgspec decodes without setting them, and encodes only what is set."""
    if isinstance(value, dict):
        for item in value.values():
            _fill_in(item)
    elif isinstance(value, _LISTS):
        for item in value:
            _fill_in(item)
    elif not isinstance(value, (str, int, float, bytes, type)):
        for name, item in _attributes(value):
            if is_dataclass(value) and name not in getattr(value, "__dict__", (name,)):
                object.__setattr__(value, name, item)
            _fill_in(item)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at(path: str) -> str:
    return f"at {path}: " if path else ""
