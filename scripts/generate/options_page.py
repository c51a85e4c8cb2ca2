"""docs/reference/options.md: the options of durable calls, from their one declaration in `currant._calls.options`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from scripts.generate.outputs import Outputs

PAGE = "docs/reference/options.md"
HEAD = """# Options of tasks, workflows and calls

<!-- Written by `make generate` from core/python/currant/_calls/options.py. -->

`@task(...)` and `@workflow(...)` take the options of the first table, `fn.options(...)` those of both. Where the last
column says so, an option of `fn.options(...)` outranks the function's definition. The definition outranks the
decorator, and the decorator outranks the settings. In SQL, `currant.enqueue` takes the same names in `options`
(except `connection`), with durations in seconds.

The decorators also take `name`, the registered name ([functions.md](../use/functions.md)), and `@workflow` takes
`version`, the version of its code, and `replay_check` ([engine.md](../internals/engine.md)). `non_retryable` is a field
of `Retry` ([retries.md](../use/retries.md)).
"""
ROW = "| `{name}` | {type} | {about} |"


def outputs() -> Outputs:
    """The page."""
    from currant._calls import options

    declared, all_of_them = (get_type_hints(kind, include_extras=True) for kind in _kinds(options))
    calls = {name: hint for name, hint in all_of_them.items() if name not in declared}
    parts = [
        HEAD,
        "## At the decorator and at the call\n",
        *_table(declared),
        "",
        "## Only at the call\n",
        *_table(calls),
    ]
    return {PAGE: "\n".join(parts) + "\n"}


def _kinds(options: Any) -> tuple[Any, Any]:
    return options.DeclaredOptions, options.CallOptions


def _table(hints: dict[str, Any]) -> Iterator[str]:
    """The options; with a last column where some of them outrank a definition."""
    outrank = any(hint.__metadata__[0].given for hint in hints.values())
    yield f"| option | type | what it does |{' outranks a definition |' if outrank else ''}"
    yield f"|---|---|---|{'---|' if outrank else ''}"
    for name, hint in hints.items():
        kind, option = get_args(hint)[0], hint.__metadata__[0]
        last = f" {'yes' if option.given else ''} |" if outrank else ""
        yield ROW.format(name=name, type=_type(kind), about=option.about) + last


def _type(kind: Any) -> str:
    """The names of a type's parts; `Default` is not for users."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    parts = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    names = ["None" if part is type(None) else getattr(part, "__name__", str(part)) for part in parts]
    return ", ".join(f"`{name}`" for name in names if name != "Default")
