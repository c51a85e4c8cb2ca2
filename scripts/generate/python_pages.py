"""The reference of the Python API, docs/reference/python.md and rust-bridge.md, from signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any, get_overloads

import currant
from currant import embedded
from scripts.generate import error_page
from scripts.generate.outputs import Outputs

PAGE = "docs/reference/python.md"
BRIDGE_PAGE = "docs/reference/rust-bridge.md"
HEAD = """# Python API

<!-- Written by `make generate` from the docstrings of core/python/currant. -->

Every public name of `currant` and of `currant.embedded`. The errors have a page of their own,
[errors.md](errors.md), and so have the options of `@task`, `@workflow` and `.options()`, [options.md](options.md), and
the verbs of `RustBridge`, [rust-bridge.md](rust-bridge.md). What is not here is internal, whatever its name is.

A function whose signature begins with `async def` is awaited. Those that end in `_sync` are for code without an event
loop. Wherever seconds are taken, a `timedelta` is taken, too.
"""
BRIDGE_HEAD = """# RustBridge: the verbs of the core

<!-- Written by `make generate` from the docstrings of core/python/currant/rust_bridge.py. -->

`currant.RustBridge` is for tools: it has every verb of the Rust core, blocking, with plain Python values. Programs use
tasks, workflows and handles instead ([python.md](python.md)), and people the command line
([commands.md](commands.md)). The answers are described in [engine.md](../internals/engine.md).
"""
# The names by subject, in the order of the page. A public name that is on no page is an error.
SECTIONS = {
    "Declare tasks and workflows": ("task", "workflow", "Retry", "registry"),
    "Start executions": ("Function", "Task", "SyncTask", "Workflow"),
    "Follow executions": ("Handle", "get_handle", "send_signal", "send_signal_sync"),
    "In a workflow": (
        "sleep",
        "wait_for_signal",
        "side_effect",
        "get_version",
        "now",
        "random",
        "uuid4",
        "is_replaying",
    ),
    "In a task": ("current", "Attempt"),
    "Run a worker": ("Worker",),
    "Choose a database": ("configure", "default_client", "Client", "Settings"),
}
EMBEDDED = ("EmbeddedPostgres", "temporary_server")
OF_THE_COMMAND_LINE = {
    "main",
    "stop_left_behind",
}  # of `python -m currant.embedded`, which the module's docstring describes
# Members that are public by their name, but are for other modules of Currant.
INTERNAL = {
    "Client": ("call", "core", "enqueue", "enqueue_sync", "stop_engine"),
    "Function": ("annotations", "call", "declaration", "decode_result", "queue_name"),
    "Handle": ("client",),
    "Retry": ("policy",),
    "RustBridge": ("core",),
}
MADE_BY_CURRANT = ("Attempt", "Function", "Handle", "Settings", "SyncTask", "Task", "Workflow")
AWAITABLE = re.compile(r"Coroutine\[(?:object|Any), (?:None|Any), (.*)\]")


def outputs() -> Outputs:
    """Both pages. A public name without a place, or without a docstring, ends the program."""
    _check_names()
    lines = [HEAD]
    for title, names in SECTIONS.items():
        lines.append(f"## {title}\n")
        lines += [line for name in names for line in _entry(currant, name)]
    lines += ["## currant.embedded: a Postgres in a directory\n", f"{inspect.getdoc(embedded)}".split("\n\n")[0] + "\n"]
    lines += [line for name in EMBEDDED for line in _entry(embedded, name)]
    bridge = [BRIDGE_HEAD, *_class("RustBridge", currant.RustBridge, level=2)]
    return {PAGE: _text(lines), BRIDGE_PAGE: _text(bridge)}


def _check_names() -> None:
    errors = {error.__name__ for error in error_page.ERRORS}
    placed = {name for names in SECTIONS.values() for name in names} | errors | {"RustBridge"}
    own = {name for name, value in vars(embedded).items() if getattr(value, "__module__", "") == embedded.__name__}
    public = {name for name in own if not name.startswith("_")} - OF_THE_COMMAND_LINE
    missing = (set(currant.__all__) - placed) | (public - errors - {*EMBEDDED})
    unknown = (placed - errors - set(currant.__all__)) | ({*EMBEDDED} - public)
    if missing or unknown:
        raise SystemExit(f"error: {PAGE}: no place for {sorted(missing)}, no such name as {sorted(unknown)}")


def _text(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def _entry(module: ModuleType, name: str) -> Iterator[str]:
    found = getattr(module, name)
    if inspect.isclass(found):
        yield from _class(name, found)
    elif callable(found):
        title = f"@{name}" if name in ("task", "workflow") else f"{name}()"
        yield from _function(f"### {title}", _overloads(name, found), _doc(found, name))
    else:
        yield f"### {name}\n"
        yield _markdown(_doc_of_value(name)) + "\n"


def _class(name: str, found: type, level: int = 3) -> Iterator[str]:
    base = found.__bases__[0]
    below = f"({base.__name__})" if base.__module__.startswith("currant.") else ""
    shown = [f"class {name}{below}: ..."]
    made_by = vars(found).get("__init__")
    if made_by is not None and name not in MADE_BY_CURRANT and _parameters(made_by, method=True):
        shown = [f"class {name}:", *(f"    {line}" for line in _definition("__init__", made_by, method=True))]
    yield from _function(f"{'#' * level} class {name}", shown, _doc(found, name))
    for member, described in _members(found).items():
        title = f"{'#' * level}# {name}.{member}"
        if described.signature is None:
            yield f"{title}\n"
            yield _markdown(described.doc) + "\n"
        else:
            yield from _function(f"{title}()", described.signature, described.doc)


@dataclass(frozen=True)
class _Member:
    """A method, or with no signature a property."""

    doc: str
    signature: list[str] | None


def _members(found: type) -> dict[str, _Member]:
    """The public methods and properties that a class itself defines, in their order."""
    members = {}
    for name, value in vars(found).items():
        if name.startswith("_") or name in INTERNAL.get(found.__name__, ()):
            continue
        function = getattr(value, "_function", value)  # a verb of RustBridge, bound or not
        if isinstance(value, property):
            members[name] = _Member(_doc(value, f"{found.__name__}.{name}"), None)
        elif inspect.isfunction(function):
            doc = _doc(function, f"{found.__name__}.{name}")
            members[name] = _Member(doc, _definition(name, function, method=True))
    return members


def _overloads(name: str, function: Callable[..., Any]) -> list[str]:
    return [line for each in get_overloads(function) or [function] for line in _definition(name, each)]


def _definition(name: str, function: Callable[..., Any], *, method: bool = False) -> list[str]:
    """A function's signature as Python, in one line, or a line for each parameter where it is long."""
    signature = inspect.signature(function)
    returns = (
        ""
        if signature.return_annotation is inspect.Signature.empty
        else str(signature.return_annotation).replace("uuids.", "")
    )
    awaited = AWAITABLE.fullmatch(returns)
    start = "async def" if awaited or inspect.iscoroutinefunction(function) else "def"
    shown = awaited[1] if awaited else _context_manager(function, returns)
    end = f" -> {shown}: ..." if shown else ": ..."
    line = f"{start} {name}({_parameters(function, method=method)}){end}"
    if len(line) <= 100:
        return [line]
    parameters = [f"    {part}," for part in _split(_parameters(function, method=method))]
    return [f"{start} {name}(", *parameters, f"){end}"]


def _context_manager(function: Callable[..., Any], returns: str) -> str:
    generates = inspect.isgeneratorfunction(inspect.unwrap(function)) and hasattr(function, "__wrapped__")
    return returns.replace("Iterator[", "AbstractContextManager[") if generates else returns


def _parameters(function: Callable[..., Any], *, method: bool) -> str:
    """The parameters as one writes them, without `self`."""
    signature = inspect.signature(function)
    given = list(signature.parameters.values())[1:] if method else list(signature.parameters.values())
    plain = [
        each.replace(annotation=_Name(each.annotation)) if each.annotation is not each.empty else each for each in given
    ]
    shown = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))[1:-1]
    return shown.removeprefix("/, ").replace("typing.Any", "Any").replace("'", '"')


class _Name:
    """An annotation that is shown as it is written."""

    def __init__(self, text: Any) -> None:
        self._text = text if isinstance(text, str) else getattr(text, "__name__", str(text))

    def __repr__(self) -> str:
        return self._text


def _split(parameters: str) -> list[str]:
    """The parameters one by one: a comma within brackets parts nothing."""
    parts, depth = [""], 0
    for letter in parameters:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _function(title: str, signature: list[str], doc: str) -> Iterator[str]:
    yield f"{title}\n"
    yield "\n".join(["```python", *signature, "```"]) + "\n"
    yield _markdown(doc) + "\n"


def _doc(found: Any, name: str) -> str:
    own = found.__dict__.get("__doc__") if inspect.isclass(found) else found.__doc__
    if not own:
        raise SystemExit(f"error: {PAGE}: {name} has no docstring")
    return inspect.cleandoc(own)


def _doc_of_value(name: str) -> str:
    """The text below the assignment of a module's variable."""
    module = inspect.getmodule(currant.task)
    assert module is not None
    body = ast.parse(inspect.getsource(module)).body
    for assignment, text in pairwise(body):
        named = isinstance(assignment, ast.AnnAssign) and ast.unparse(assignment.target) == name
        if named and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            return inspect.cleandoc(str(text.value.value))
    raise SystemExit(f"error: {PAGE}: {name} has no docstring")


def _markdown(doc: str) -> str:
    """A docstring as it stands in docs/reference: the pages that it names become links."""
    return error_page.linked(doc)
