"""Find a registered function, and its arguments, by what a person types. Only the command line imports by name."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from currant.cli import slow_imports
from currant.cli.output import say_error
from currant.decorators import Function, registry
from currant.errors import SerializationError, UnknownFunction


class Mistake(click.ClickException):
    """The command was not understood: one line, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        say_error(self.message)


def import_module(name: str) -> None:
    """Import a module for what it registers; the working directory is searched first. Raises `Mistake`."""
    if name.endswith(".py") or "/" in name:
        guess = name.removesuffix(".py").strip("./").replace("/", ".")
        raise Mistake(f"{name} is a file; -m takes the name that one imports, such as {guess}")
    with slow_imports.warnings_about(name):
        found = _try_import(name)
    if not found:
        raise Mistake(
            f"ModuleNotFoundError: no module {name} (looked in {os.getcwd()} and the installed packages): check its "
            "spelling, and that you are in the directory it is imported from"
        )


def _try_import(name: str) -> bool:
    """Import a module. Returns False when it does not exist; an error inside of it is a `Mistake` that says where."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            _fail_import(name, error)
        return False
    except (Exception, SystemExit) as error:  # a module that exits would end the worker as if all were well
        _fail_import(name, error)
    return True


def _fail_import(name: str, error: BaseException) -> NoReturn:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    last = frames[-1] if frames else None
    place = (
        f"{error.filename}:{error.lineno}"
        if isinstance(error, SyntaxError)
        else last and f"{last.filename}:{last.lineno}"
    )
    raise Mistake(
        f"module {name} cannot be imported: {type(error).__name__}: {error} ({place or 'no line known'})"
    ) from error


def find_function(name: str, modules: Iterable[str]) -> Function[..., Any]:
    """The registered function of that name.

    With `modules`, only functions that they register are found: by the full name, or by the name without its module.
    Without, the module that the name begins with is imported. Raises `UnknownFunction`, `Mistake`.
    """
    modules = list(modules)
    for module in modules:
        import_module(module)
    for candidate in (name, *(f"{module}.{name}" for module in modules)):
        if candidate in registry:
            return registry[candidate]
    if not modules:
        parts = name.split(".")
        for length in range(len(parts) - 1, 0, -1):
            if all(part.isidentifier() for part in parts[:length]) and _try_import(".".join(parts[:length])):
                break
        if name in registry:
            return registry[name]
    raise UnknownFunction(_unknown(name, modules))


def _unknown(name: str, modules: list[str]) -> str:
    close = difflib.get_close_matches(name, registry, n=3, cutoff=0.6)
    if close:
        return f"no task or workflow {name}; did you mean {' or '.join(close)}?"
    if registry:
        return f"no task or workflow {name}; there are {', '.join(sorted(registry))}"
    if modules:
        return f"no task or workflow {name}: {', '.join(modules)} has none"
    return f"no task or workflow {name}: give its full name (module.function), or its module with -m"


def parse_json(text: str, what: str) -> Any:
    """A JSON value from the command line. Raises `Mistake`."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError as error:
        raise Mistake(f"{what} is not JSON: {error} (in a shell, put it in single quotes: '[\"o-1\", 5]')") from None


def parse_arguments(text: str | None) -> tuple[list[Any], dict[str, Any]]:
    """JSON_ARGS: an array is positional, an object is by name, `{"args": [...], "kwargs": {...}}` is both."""
    value = parse_json(text, "JSON_ARGS") if text is not None else []
    if isinstance(value, list):
        return value, {}
    if not isinstance(value, dict):
        raise Mistake(f"JSON_ARGS must be an array (positional) or an object (by name), not {text}")
    args, kwargs = value.get("args", []), value.get("kwargs", {})
    if value and value.keys() <= {"args", "kwargs"} and isinstance(args, list) and isinstance(kwargs, dict):
        return args, kwargs
    return [], value


def check_arguments(function: Function[..., Any], args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The arguments as the function's annotated types. Raises `Mistake` when they do not fit."""
    try:
        inspect.signature(function.plain).bind(*args, **kwargs)
        data = json.dumps({"args": args, "kwargs": kwargs}).encode()
        return function.decode_args(data)
    except (TypeError, SerializationError) as error:
        raise Mistake(f"these arguments do not fit {function.name}: {error}") from None
