"""A function's arguments and result as JSON, by its signature; everything that can be worked out once is."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Never, NoReturn, Optional, get_type_hints

import msgspec

from currant import codec
from currant.errors import SerializationError, mistake

_Decode = Callable[[bytes], Any]
_EMPTY = inspect.Parameter.empty
# What JSON gives back as it was, so that nobody has to try: but for numbers of some 4,300 digits, which are longer.
_CERTAIN = (str, int, float, bool)
_CERTAIN_LENGTH = 4_000


class _Raw(msgspec.Struct):
    """The stored form of arguments, each still JSON."""

    args: list[msgspec.Raw] = []
    kwargs: dict[str, msgspec.Raw] = {}


_decode_raw = msgspec.json.Decoder(_Raw).decode


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
        self._decoders: tuple[list[_Decode], _Decode, dict[str, _Decode], _Decode] | None = None
        self._result: _Decode | None = None
        self._typed = any(self.hints.get(key) is not Any for key in self._signature.parameters)
        self._certain = self._certain_types()

    # Arguments

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `TypeError` if the function cannot be called so. A task that was enqueued so is not tried again."""
        if kwargs or not self._least <= len(args) <= self._most:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise mistake(TypeError(f"{self.name}(): {error}")) from None

    def encode_args(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Give arguments as they are stored. Raises `TypeError`, and `SerializationError` naming the argument."""
        self.bind(args, kwargs)
        try:
            positional = codec.encode(args, limit=sys.maxsize)
            named = codec.encode(kwargs, limit=sys.maxsize) if kwargs else b"{}"
        except SerializationError:
            self._raise_for_culprit(args, kwargs)
            raise
        data = b'{"args":%b,"kwargs":%b}' % (positional, named)
        if len(data) > codec.payload_limit():
            codec.check_size(data, f"the arguments of {self.name}")
        # What the worker could not decode is refused here; whether it can at all is seen at the first call.
        if self._typed and not (
            self._decoders and not kwargs and len(data) <= _CERTAIN_LENGTH and tuple(map(type, args)) in self._certain
        ):
            self.decode_args(data)
        return data

    def decode_args(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give stored arguments as the annotated types. Raises `SerializationError`, naming the argument."""
        try:
            raw = _decode_raw(data)
        except msgspec.MsgspecError as error:
            raise SerializationError(
                f'the arguments of {self.name} are not {{"args": [...], "kwargs": {{...}}}}: {error}'
            ) from None
        positional, rest, named, other = self._decoders or self._make_decoders()
        count = len(positional)
        args = tuple([(positional[i] if i < count else rest)(value) for i, value in enumerate(raw.args)])
        if not raw.kwargs:
            return args, {}
        return args, {key: named.get(key, other)(value) for key, value in raw.kwargs.items()}

    def named_arguments(self, data: bytes) -> dict[str, Any]:
        """Give stored arguments, as plain JSON, by the names of their parameters; defaults are left out."""
        raw = json.loads(data)
        named = dict(self._signature.bind(*raw["args"], **raw["kwargs"]).arguments)
        for key, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                named.update(named.pop(key, {}))
        return named

    # Result

    def encode_result(self, value: Any) -> bytes:
        """Give a result as it is stored. Raises `SerializationError` also if it does not fit its annotation."""
        data = codec.encode(value, self._result_name)
        if self.hints.get("return") is not Any:
            (self._result or self._make_result())(data)
        return data

    def decode_result(self, data: bytes) -> Any:
        """Give a stored result as the annotated type. Raises `SerializationError`."""
        return (self._result or self._make_result())(data)

    # Worked out once

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

    def _certain_types(self) -> frozenset[tuple[type, ...]]:
        """The types of positional arguments that come back as they are: the annotations, where these are plain."""
        types: list[type] = []
        for key, parameter in self._signature.parameters.items():
            if parameter.kind > parameter.POSITIONAL_OR_KEYWORD or self.hints.get(key) not in _CERTAIN:
                break
            types.append(self.hints[key])
        return frozenset(tuple(types[:count]) for count in range(len(types) + 1))

    def _make_decoders(self) -> tuple[list[_Decode], _Decode, dict[str, _Decode], _Decode]:
        positional: list[_Decode] = []
        named: dict[str, _Decode] = {}
        rest = other = codec.decoder(Any, f"an argument of {self.name}")
        for key, parameter in self._signature.parameters.items():
            decode = codec.decoder(self._hint(key), f"argument {key!r} of {self.name}")
            if parameter.kind is parameter.VAR_POSITIONAL:
                rest = decode
            elif parameter.kind is parameter.VAR_KEYWORD:
                other = decode
            else:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    positional.append(decode)
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    named[key] = decode
        self._decoders = positional, rest, named, other
        return self._decoders

    def _make_result(self) -> _Decode:
        self._result = codec.decoder(self._hint("return"), self._result_name)
        return self._result

    def _raise_for_culprit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = [key for key, p in self._signature.parameters.items() if p.kind <= p.POSITIONAL_OR_KEYWORD]
        for index, value in enumerate(args):
            what = repr(names[index]) if index < len(names) else str(index + 1)
            codec.encode(value, f"argument {what} of {self.name}", sys.maxsize)
        for key, value in kwargs.items():
            codec.encode(value, f"argument {key!r} of {self.name}", sys.maxsize)
