"""docs/reference/errors.md: every error, when it is raised and what to do, from the docstrings of the classes."""

from __future__ import annotations

import inspect
import posixpath
import re

import currant
from currant import embedded
from scripts.generate.outputs import CHECKOUT, Outputs

PAGE = "docs/reference/errors.md"
HEAD = """# Errors

<!-- Written by `make generate` from the docstrings of the classes, above all in core/python/currant/errors.py. -->

Every error that Currant raises is a `currant.CurrantError`, except `WorkflowSuspendException`, which `except Exception`
must not catch, and Python's own `TypeError`, `ValueError` and `TimeoutError` for wrong arguments and for waits.
Exit codes of the command line are in [commands.md](commands.md).

| error | is also a | when it is raised | what to do |
|---|---|---|---|"""
ENDS = """
## Types of failed executions

What an execution failed with is stored as a type, a message and a traceback: `ExecutionFailed` has them, and
`currant show` prints them. The type is the name of the exception's class. These are written by Currant itself:

| type | an execution failed with it because |
|---|---|"""
# The types, with a source file that writes each.
TYPES = {
    "TimeoutError": (
        "the attempt took longer than its `timeout`, or the workflow longer than its own",
        "core/src/engine/decide/state/tasks.rs",
    ),
    "WorkerLost": (
        "more workers were lost with it than `max_worker_losses` allows ([retries.md](../use/retries.md))",
        "core/src/engine/decide/state/tasks.rs",
    ),
    "DataError": (
        "the database refuses what it returned, whenever that is tried",
        "core/src/engine/decide/state/commits.rs",
    ),
    "SerializationError": (
        "its result cannot be carried as JSON ([values.md](../use/values.md))",
        "core/python/currant/errors.py",
    ),
}
CODES = """
## SQLSTATE of the SQL functions

| SQLSTATE | condition | when |
|---|---|---|
| `22023` | `invalid_parameter_value` | an option or an argument of `currant.enqueue` is wrong; the message names it |
| `P0002` | `no_data_found` | `currant.signal`, `currant.cancel`: no execution has that id |
| `55000` | `object_not_in_prerequisite_state` | the execution has ended, or takes no signals |
"""
ERRORS: tuple[type[BaseException], ...] = (
    currant.CurrantError,
    currant.ExecutionFailed,
    currant.ExecutionCancelled,
    currant.SignalTimeout,
    currant.NotFound,
    currant.NotRunning,
    currant.InvalidInput,
    currant.SerializationError,
    currant.UnknownFunction,
    currant.NonDeterminismError,
    currant.WorkflowSuspendException,
    currant.LeaseLost,
    currant.WorkerStopped,
    currant.DatabaseUnavailable,
    currant.SchemaMismatch,
    currant.SettingsError,
    embedded.EmbeddedPostgresError,
)
TO_DO = "\n\nTo do: "


def outputs() -> Outputs:
    """The page."""
    lines = [HEAD, *(_row(error) for error in ERRORS), ENDS, *(_type_row(name) for name in TYPES), CODES]
    return {PAGE: "\n".join(lines).rstrip() + "\n"}


def _row(error: type[BaseException]) -> str:
    when, found, to_do = inspect.cleandoc(error.__doc__ or "").partition(TO_DO)
    if not found:
        raise SystemExit(
            f"error: {PAGE}: the docstring of {error.__name__} has no paragraph that begins with 'To do: '"
        )
    bases = [base.__name__ for base in error.__bases__ if base not in (currant.CurrantError, Exception)]
    if not hasattr(currant, error.__name__):
        when = f"Of `{error.__module__}`. {when}"
    cells = [
        f"`{error.__name__}`",
        ", ".join(f"`{base}`" for base in bases),
        _cell(when),
        _cell(to_do[0].upper() + to_do[1:]),
    ]
    return f"| {' | '.join(cells)} |"


def _type_row(name: str) -> str:
    meaning, source = TYPES[name]
    if name not in (CHECKOUT / source).read_text(encoding="utf-8"):
        raise SystemExit(f"error: {PAGE}: {source} no longer has the type {name}")
    return f"| `{name}` | {meaning} |"


def _cell(text: str) -> str:
    return " ".join(linked(text).split()).replace("|", "\\|")


def linked(doc: str) -> str:
    """A docstring with links in place of the pages that it names, as a page of docs/reference has them."""

    def link(page: re.Match[str]) -> str:
        return f"[{posixpath.basename(page[0])}]({posixpath.relpath(page[0], posixpath.dirname(PAGE))})"

    return re.sub(r"docs/[\w/-]+\.md", link, doc)
