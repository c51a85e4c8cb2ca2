"""Input schemas of definitions: arguments that do not fit are refused before anything is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

from currant.errors import CurrantError, InvalidInput

Named = Callable[[bytes], dict[str, Any]]  # stored arguments by the names of a function's parameters

_SHOWN = 3  # faults that a message names
_validators: dict[str, Any] = {}  # by the schema's hash


class _Call(Protocol):
    @property
    def function(self) -> str: ...
    @property
    def args(self) -> bytes: ...


class _Enqueue(Protocol):
    """An enqueue as far as a schema matters to it (`rust_bridge.NewExecution`)."""

    @property
    def call(self) -> _Call: ...
    @property
    def checked(self) -> str | None: ...
    def _replace(self, *, checked: str) -> Self: ...


Enqueue = TypeVar("Enqueue", bound=_Enqueue)


class InputSchemas:
    """The input schemas that one client knows. Its database says when they are out of date."""

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}

    def checked(self, new: list[Enqueue], named: Named) -> list[Enqueue]:
        """The same enqueues with the hash of the schema that each was checked against. Raises `InvalidInput`."""
        if not self._hashes:
            return new
        return [self._checked(item, named) for item in new]

    def update(self, schemas: str) -> None:
        """Store the schemas that `UncheckedInput` brought: JSON `{function: {"hash": ..., "schema": ...}}`.

        A hash that is null means that the function has no schema any more.
        """
        for function, known in json.loads(schemas).items():
            if known["hash"] is None:
                self._hashes.pop(function, None)
                continue
            if known["hash"] not in _validators:
                _validators[known["hash"]] = _validator(function, known["schema"])
            self._hashes[function] = known["hash"]

    def _checked(self, item: Enqueue, named: Named) -> Enqueue:
        hash = self._hashes.get(item.call.function, "")
        if item.checked is None or item.checked == hash:
            return item
        if hash:
            _check(item.call.function, named(item.call.args), _validators[hash])
        return item._replace(checked=hash)


def keyword_arguments(args: bytes) -> dict[str, Any]:
    """The stored arguments that have names: for a function that is only known by its name."""
    kwargs: dict[str, Any] = json.loads(args)["kwargs"]
    return kwargs


def schema_problem(schema: Any) -> str | None:
    """Why this is not a JSON Schema, in one line; None if it is one. Raises `CurrantError` without jsonschema."""
    kind = _kind(schema)
    from jsonschema import SchemaError

    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return f"input_schema is not a JSON Schema: {_place(error)}{error.message}"
    return None


def _kind(schema: Any) -> Any:
    """The class of jsonschema's validators that the schema asks for. It is imported only when there is a schema."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import validator_for
    except ModuleNotFoundError:
        raise CurrantError(
            "a definition has an input schema, but jsonschema is not installed: pip install 'currant[schemas]'"
        ) from None
    return validator_for(schema, default=Draft202012Validator)


def _validator(function: str, schema: Any) -> Any:
    problem = schema_problem(schema)
    if problem is not None:
        raise CurrantError(f"{function} cannot be enqueued: in its definition {problem}")
    from referencing import Registry

    return _kind(schema)(schema, registry=Registry())  # the registry is empty: no schema makes a program fetch a URL


def _check(function: str, arguments: dict[str, Any], validator: Any) -> None:
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(validator.iter_errors(arguments), key=lambda error: [str(part) for part in error.absolute_path])
    except Unresolvable as error:
        raise CurrantError(
            f"{function} cannot be enqueued: its input schema refers to what is not in it: {error}"
        ) from None
    if errors:
        shown = "; ".join(f"{_place(error)}{error.message}" for error in errors[:_SHOWN])
        more = f" (and {len(errors) - _SHOWN} more)" if len(errors) > _SHOWN else ""
        raise InvalidInput(f"the arguments of {function} do not fit its input schema: {shown}{more}")


def _place(error: Any) -> str:
    path = ".".join(str(part) for part in error.absolute_path)
    return f"{path}: " if path else ""
