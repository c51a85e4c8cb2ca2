"""docs/reference/sql.md: the functions and views for callers in SQL, from the comments of their files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from scripts.generate.fresh_database import fresh_database
from scripts.generate.outputs import CHECKOUT, Outputs

PAGE = "docs/reference/sql.md"
HEAD = """# SQL

<!-- Written by `make generate` from the comments in migrations/functions. -->

Any program that speaks SQL can start, signal and cancel executions, in its own transaction, and read the views below. A
role that is a member of `currant_client` may do that, one of `currant_reader` may read
([security.md](../operate/security.md)). Other tables, functions and views of the schema `currant` are internal.

```sql
select currant.enqueue('shop.process_order', '{"args": ["o-1"], "kwargs": {"amount": 4200}}', '{"priority": 7}');
select state, count(*) from currant.runs where function = 'shop.process_order' group by state;
```

Errors have an SQLSTATE each: [errors.md](errors.md#sqlstate-of-the-sql-functions). Arguments are not checked against
the input schema of the function's definition: the run fails where they do not fit.
"""
FUNCTIONS = ("enqueue", "enqueue_bytes", "signal", "cancel")
OPTIONS = "enqueue_checked"
OPTIONS_HEAD = """## Options of currant.enqueue

All are optional. One that is not given comes from the function's definition, else from its decorator as workers have
registered it, else it is the default below.

| option | what it is |
|---|---|"""
# An option for clients that know the decorators themselves.
OWN_OPTIONS = ("defaults",)
VIEWS = ("runs", "queue_stats")
ITEM = re.compile(r"^ {2}(\w+): (.*)$")
SIGNATURE = re.compile(r"create or replace function (currant\.\w+\(.*?\)) returns (\w+)", re.DOTALL)


@dataclass(frozen=True)
class Described:
    """The comment at the head of a file: its text, and what it says of columns or options."""

    about: str
    items: dict[str, str]
    text: str


def outputs() -> Outputs:
    """The page."""
    with fresh_database() as url:
        columns = {view: columns_of(url, view) for view in VIEWS}
    lines = [HEAD, "## Functions\n"]
    for name in FUNCTIONS:
        lines += _function(name)
    lines += [OPTIONS_HEAD]
    options = described(OPTIONS).items
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in options.items() if name not in OWN_OPTIONS]
    lines += ["", "## Views\n"]
    for name in VIEWS:
        lines += _view(name, columns[name])
    return {PAGE: "\n".join(lines).rstrip() + "\n"}


def described(name: str) -> Described:
    """The comment of a function or a view, from its file."""
    text = (CHECKOUT / "migrations" / "functions" / f"{name}.sql").read_text(encoding="utf-8")
    comment = [line[3:] for line in text[: text.index("create or replace")].splitlines()]
    items = {found[1]: found[2] for line in comment if (found := ITEM.match(line))}
    about = " ".join(line for line in comment if line and not ITEM.match(line))
    return Described(about, items, text)


def columns_of(url: str, view: str) -> dict[str, str]:
    """The columns of a view with their types, in their order."""
    query = """select attname, format_type(atttypid, atttypmod) from pg_attribute
        where attrelid = cast(%s as regclass) and attnum > 0 order by attnum"""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query, [f"currant.{view}"]).fetchall())


def _function(name: str) -> Iterator[str]:
    found = described(name)
    signature = SIGNATURE.search(found.text)
    assert signature is not None
    yield f"### currant.{name}\n"
    yield f"```text\n{' '.join(signature[1].split())} returns {signature[2]}\n```\n"
    yield _cell(found.about) + "\n"


def _view(name: str, columns: dict[str, str]) -> Iterator[str]:
    found = described(name)
    if list(found.items) != list(columns):
        differing = sorted(found.items.keys() ^ columns.keys()) or "their order"
        raise SystemExit(
            f"error: migrations/functions/{name}.sql: its comment and its columns differ in {differing}; "
            "write a line '--   NAME: MEANING' for each column"
        )
    yield f"### currant.{name}\n"
    yield _cell(found.about) + "\n"
    yield "| column | type | what it is |\n|---|---|---|"
    yield from (f"| `{column}` | {type} | {_cell(found.items[column])} |" for column, type in columns.items())
    yield ""


def _cell(text: str) -> str:
    """A comment as Markdown: objects and literals in code style."""
    shown = re.sub(r"an object (\{[^{}]*\})", r"an object `\1`", " ".join(text.split()))
    shown = re.sub(r"(?<![\w`])'(\w+)'", r"`\1`", shown)
    shown = re.sub(r"\b(enqueue_bytes)\b", r"`currant.\1`", shown).replace("As enqueue,", "As `currant.enqueue`,")
    return shown.replace(" (notify_later)", "").replace("|", "\\|")
