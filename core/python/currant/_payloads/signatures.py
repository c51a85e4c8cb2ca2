"""A function's arguments and result as JSON, by its signature. Everything is computed once."""

from __future__ import annotations

import copy
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, Never, NoReturn, Optional, get_type_hints

import msgspec

from currant._payloads import codec
from currant._payloads.codec import CERTAIN_LENGTH, Carrier
from currant.errors import SerializationError, mistake

_EMPTY = inspect.Parameter.empty
_MOST_CERTAIN = 1_000


class Argument(NamedTuple):
    """One argument of a call. `json`: as it is stored, or None for the parameter's default; `value` decodes it."""

    json: bytes | None
    value: Callable[[], Any]


Arguments = Callable[[bytes], dict[str, Argument]]  # the stored arguments of a function, by parameter


class _Raw(msgspec.Struct):
    """The stored form of arguments, each still JSON."""

    args: list[msgspec.Raw] = []
    kwargs: dict[str, msgspec.Raw] = {}


_decode_raw = msgspec.json.Decoder(_Raw).decode


def _give(value: Any) -> Any:
    return value


class Signature:
    """Binds, encodes and decodes the arguments and the result of one function.

    Annotations are looked up when the function is decorated, else (a name defined further down) at their first use.
    """

    def __init__(self, function: Callable[..., Any], name: str, local_names: Mapping[str, Any]) -> None:
        self.name = name
        self._result_name = f"the result of {name}"
        try:
            self._signature = inspect.signature(function)
        except ValueError:  # some functions that are written in C
            raise TypeError(
                f"{name}: the parameters of {function!r} are not known; write a function around it"
            ) from None
        self._globals = getattr(inspect.unwrap(function), "__globals__", {})
        self.hints: dict[str, Any] = {}
        for key in [*self._signature.parameters, "return"]:
            self._resolve(key, local_names)
        self._least, self._most = self._positional_counts()
        self._mutable_defaults = list(self._find_mutable_defaults())
        self._carriers: tuple[list[Carrier], Carrier, dict[str, Carrier], Carrier] | None = None
        self._result: Carrier | None = None
        self._certain: set[tuple[type, ...]] = set()  # types of positional arguments that arrive unchanged

    # Arguments

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `TypeError` if the function cannot be called with these arguments; a task is then not tried again."""
        if kwargs or not self._least <= len(args) <= self._most:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise mistake(TypeError(f"{self.name}(): {error}")) from None

    def encode_args(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Return arguments as they are stored. Raises `TypeError`, and `SerializationError` naming the argument."""
        self.bind(args, kwargs)
        try:
            positional = codec.to_json(args, "")
            named = codec.to_json(kwargs, "") if kwargs else b"{}"
        except SerializationError:
            self._raise_for_culprit(args, kwargs)
            raise
        data = b'{"args":%b,"kwargs":%b}' % (positional, named)
        if len(data) > codec.payload_limit():
            codec.check_size(data, f"the arguments of {self.name}")
        # Arguments that the worker could not decode, or would decode to another value, are refused here.
        types = tuple(map(type, args))
        if kwargs or types not in self._certain or len(data) > CERTAIN_LENGTH or (float in types and b"null" in data):
            try:
                self._check_args(args, kwargs, data)
            except SerializationError:
                for name, value in self._named(args, kwargs):
                    codec.refuse_no_numbers(value, name)  # the better message
                self._raise_for_variable(args, kwargs)
                raise
        return data

    def _check_args(self, args: tuple[Any, ...], kwargs: dict[str, Any], data: bytes) -> None:
        positional, rest, named, other = self._carriers or self._make_carriers()
        carriers = [positional[i] if i < len(positional) else rest for i in range(len(args))]
        kinds = tuple(map(type, args))
        if len(data) <= CERTAIN_LENGTH and all(map(_is_certain, carriers, kinds)):
            if len(self._certain) < _MOST_CERTAIN:
                self._certain.add(kinds)
            if b"null" not in data and all(_is_certain(named.get(key, other), type(kwargs[key])) for key in kwargs):
                return
        arrived_args, arrived_kwargs = self.decode_args(data)
        for carrier, value, arrived in zip(carriers, args, arrived_args, strict=True):
            carrier.check(value, arrived)
        for key, value in kwargs.items():
            named.get(key, other).check(value, arrived_kwargs[key])

    def decode_args(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return stored arguments as the annotated types. Raises `SerializationError`, naming the argument."""
        try:
            raw = _decode_raw(data)
        except msgspec.MsgspecError as error:
            raise SerializationError(
                f'the arguments of {self.name} are not {{"args": [...], "kwargs": {{...}}}}: {error}'
            ) from None
        positional, rest, named, other = self._carriers or self._make_carriers()
        count = len(positional)
        args = tuple([(positional[i] if i < count else rest).decode(value) for i, value in enumerate(raw.args)])
        if not raw.kwargs:
            return args, {}
        return args, {key: named.get(key, other).decode(value) for key, value in raw.kwargs.items()}

    def with_own_defaults(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return `kwargs` with a copy of each list, dict or set that is a default and is not given.

        Without a copy, a default that a workflow changes would be the default of the next run, not of its own replay.
        """
        for index, key, default in self._mutable_defaults:
            if index >= len(args) and key not in kwargs:
                kwargs = {**kwargs, key: copy.deepcopy(default)}
        return kwargs

    def arguments(self, data: bytes) -> dict[str, Argument]:
        """Return stored arguments by parameter, defaults included. Raises `TypeError` if they do not bind."""
        raw = _decode_raw(data)
        bound = self._signature.bind(*raw.args, **raw.kwargs).arguments
        found: dict[str, Argument] = {}
        for key, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                found.update(
                    (f"{key}[{place}]", self._stored(key, one)) for place, one in enumerate(bound.get(key, ()))
                )
            elif parameter.kind is parameter.VAR_KEYWORD:
                found.update((name, self._stored(key, one)) for name, one in bound.get(key, {}).items())
            elif key in bound:
                found[key] = self._stored(key, bound[key])
            else:
                found[key] = Argument(None, partial(_give, parameter.default))
        return found

    def _stored(self, key: str, raw: msgspec.Raw) -> Argument:
        data = bytes(raw)
        return Argument(data, lambda: codec.decode(data, self._hint(key)))

    def named_arguments(self, data: bytes) -> dict[str, Any]:
        """Return stored arguments, as plain JSON, by the names of their parameters; defaults are left out."""
        raw = json.loads(data)
        named = dict(self._signature.bind(*raw["args"], **raw["kwargs"]).arguments)
        for key, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                named.update(named.pop(key, {}))
        return named

    # Result

    def encode_result(self, value: Any) -> bytes:
        """Return a result as it is stored. Raises `SerializationError` also if it would not come back as it is."""
        return (self._result or self._make_result()).encode(value)

    def decode_result(self, data: bytes) -> Any:
        """Return a stored result as the annotated type. Raises `SerializationError`."""
        return (self._result or self._make_result()).decode(data)

    # Computed once

    def _resolve(self, key: str, local_names: Mapping[str, Any]) -> Any:
        if key == "return":
            annotation, default = self._signature.return_annotation, _EMPTY
        else:
            parameter = self._signature.parameters[key]
            annotation, default = parameter.annotation, parameter.default
        if annotation is _EMPTY or annotation in (NoReturn, Never):
            hint: Any = Any
        else:
            holder = SimpleNamespace(__annotations__={key: annotation})
            try:
                hint = get_type_hints(holder, self._globals, dict(local_names), include_extras=True)[key]
            except NameError:  # defined further down, or imported for the type checker only
                return None
            if default is None and hint is not Any:
                hint = Optional[hint]  # noqa: UP045  `hint | None` fails for some hints
        self.hints[key] = hint
        return hint

    def _hint(self, key: str) -> Any:
        if key in self.hints:
            return self.hints[key]
        self._resolve(key, {})
        if key in self.hints:
            return self.hints[key]
        what = "its result" if key == "return" else f"argument {key!r}"
        raise SerializationError(
            f"{self.name}: the annotation of {what} names something that is not defined at run time"
        )

    def _positional_counts(self) -> tuple[int, int]:
        least = most = 0
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                most = sys.maxsize
            elif parameter.kind is parameter.KEYWORD_ONLY:
                if parameter.default is _EMPTY:
                    least = sys.maxsize  # always bound
            elif parameter.kind is not parameter.VAR_KEYWORD:
                most += 1
                least += parameter.default is _EMPTY
        return least, most

    def _find_mutable_defaults(self) -> Iterator[tuple[int, str, Any]]:
        """How many positional arguments replace it, and its name; one that has to be given by position is left out."""
        for index, (key, parameter) in enumerate(self._signature.parameters.items()):
            if isinstance(parameter.default, (list, dict, set)) and parameter.kind is not parameter.POSITIONAL_ONLY:
                yield (sys.maxsize if parameter.kind is parameter.KEYWORD_ONLY else index), key, parameter.default

    def _make_carriers(self) -> tuple[list[Carrier], Carrier, dict[str, Carrier], Carrier]:
        positional: list[Carrier] = []
        named: dict[str, Carrier] = {}
        rest = other = Carrier(Any, f"an argument of {self.name}")
        for key, parameter in self._signature.parameters.items():
            carrier = Carrier(self._hint(key), f"argument {key!r} of {self.name}")
            if parameter.kind is parameter.VAR_POSITIONAL:
                rest = carrier
            elif parameter.kind is parameter.VAR_KEYWORD:
                other = carrier
            else:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    positional.append(carrier)
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    named[key] = carrier
        self._carriers = positional, rest, named, other
        return self._carriers

    def _make_result(self) -> Carrier:
        self._result = Carrier(self._hint("return"), self._result_name)
        return self._result

    def _raise_for_culprit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for name, value in self._named(args, kwargs):
            codec.to_json(value, name)

    def _raise_for_variable(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise for the culprit among the arguments of `*args` and `**kwargs`, which share a carrier, by its place."""
        positional, _, named, _ = self._carriers or self._make_carriers()
        for key, parameter in self._signature.parameters.items():
            given: dict[str, Any] = {}
            if parameter.kind is parameter.VAR_POSITIONAL:
                given = {f"{key}[{place}]": value for place, value in enumerate(args[len(positional) :])}
            elif parameter.kind is parameter.VAR_KEYWORD:
                given = {name: value for name, value in kwargs.items() if name not in named}
            for name, value in given.items():
                Carrier(self._hint(key), f"argument {name!r} of {self.name}").encode(value)

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The arguments of a call, with how a message names them."""
        names = [key for key, p in self._signature.parameters.items() if p.kind <= p.POSITIONAL_OR_KEYWORD]
        for index, value in enumerate(args):
            what = repr(names[index]) if index < len(names) else str(index + 1)
            yield f"argument {what} of {self.name}", value
        for key, value in kwargs.items():
            yield f"argument {key!r} of {self.name}", value


def _is_certain(carrier: Carrier, kind: type) -> bool:
    return kind in carrier.certain
