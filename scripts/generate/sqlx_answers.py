"""`core/.sqlx`: what a database answers to each query of the Rust code, so that a build needs no database.

`cargo sqlx prepare` writes it, which builds everything once more. The check builds no more than the tests do: queries
without a file and files without a query are found by reading the sources, and `core/tests/store/query_answers.rs`
asks a database for each answer, with the call that the macros use.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from currant.embedded import temporary_server
from scripts.generate.outputs import CHECKOUT, Missing, run

CORE = CHECKOUT / "core"
ANSWERS = CORE / ".sqlx"
MIGRATIONS = CHECKOUT / "migrations"
MIGRATE = CORE / "src" / "store" / "migrate" / "mod.rs"
CARGO = ("--manifest-path", "core/Cargo.toml", "--locked")
# The text of a query: the first literal of a macro, after the type that query_as! names.
MACRO = re.compile(
    r'\bquery(?:_as|_scalar)?(?:_unchecked)?!\s*\(\s*(?:[\w:<>]+\s*,\s*)?(?:r(#*)"(.*?)"\1|"((?:[^"\\]|\\.)*)")',
    re.DOTALL,
)
VIEW = re.compile(r"^create or replace view currant\.(\w+)", re.MULTILINE)
ESCAPE = re.compile(r"\\(\n\s*|.)", re.DOTALL)
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


@dataclass(frozen=True)
class SqlxAnswers:
    """The generator of `core/.sqlx`."""

    name: str = "sqlx"

    def write(self) -> None:
        """Ask a database with the schema of `migrations/` for all of them. Raises `Missing` without sqlx-cli."""
        path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"  # make has it there, a shell need not
        if shutil.which("cargo-sqlx", path=path) is None:
            raise Missing("core/.sqlx", "scripts/need.sh sqlx installs sqlx-cli")
        with migrated() as url:
            environment = {**os.environ, "PATH": path, "DATABASE_URL": url}
            environment.pop("SQLX_OFFLINE", None)
            run("cargo", "sqlx", "prepare", "--", "--all-targets", directory=CORE, environment=environment)

    def problems(self) -> Iterator[str]:
        """A line for each file too many or missing, and one when an answer differs."""
        asked, kept = queries(), {path.stem.removeprefix("query-"): path for path in ANSWERS.glob("query-*.json")}
        for name, query in asked.items():
            if name not in kept:
                yield f"core/.sqlx has no answer for the query {' '.join(query.split())}"
        for name, path in sorted(kept.items()):
            if name not in asked:
                yield f"core/.sqlx/{path.name} belongs to no query"
        with server() as url:
            environment = {**os.environ, "SQLX_OFFLINE": "true", "WORKFLOWS_TEST_DATABASE_URL": url}
            try:
                run("cargo", "test", *CARGO, "--quiet", "--test", "store", "query_answers", environment=environment)
            except SystemExit as failed:
                yield str(failed)


def queries() -> dict[str, str]:
    """The queries of the Rust sources, by the hash that names their files."""
    files = [path for directory in ("src", "tests") for path in (CORE / directory).rglob("*.rs")]
    found = [query for path in files for query in queries_of(path.read_text(encoding="utf-8"))]
    return {hashlib.sha256(query.encode()).hexdigest(): query for query in found}


def queries_of(source: str) -> list[str]:
    """The texts of the queries in a Rust source."""
    return [match[2] if match[3] is None else unescaped(match[3]) for match in MACRO.finditer(source)]


def unescaped(literal: str) -> str:
    """The text of a Rust string literal without `r`; a backslash that ends a line takes the next line's indent."""
    return ESCAPE.sub(lambda match: "" if match[1][0] == "\n" else ESCAPED.get(match[1], match[1]), literal)


@contextmanager
def server() -> Iterator[str]:
    """The URL of the server of the tests, or of one for this block."""
    given = os.environ.get("WORKFLOWS_TEST_DATABASE_URL")
    if given:
        yield given
    else:
        with temporary_server() as url:
            yield url


@contextmanager
def migrated() -> Iterator[str]:
    """The URL of a database of a server of its own, with the schema of `migrations/`.

    The extension cannot migrate it: its schema is the one that it was built with, and with a new query it is not built.
    """
    with temporary_server() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create schema currant")
            for statements in schema():
                connection.execute(statements.encode())
        yield url


def bookkeeping() -> str:
    """The tables in which the client notes what it has migrated; they are a constant in the Rust code."""
    (found,) = re.findall(r'const BOOKKEEPING: &str = "(.*?)";', MIGRATE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def schema() -> Iterator[str]:
    """All statements of a new database in the order of `core/src/store/migrate`: tables, functions, views."""
    yield bookkeeping()
    yield from texts(MIGRATIONS)
    yield "set check_function_bodies = off"  # a function may name one that comes later
    functions = texts(MIGRATIONS / "functions")
    views = {found[1]: text for text in functions if (found := VIEW.search(text)) is not None}
    yield from (text for text in functions if text not in views.values())
    while views:  # a view comes after those that it names
        yield views.pop(next(name for name in views if not any(names_view(views[name], other) for other in views)))


def names_view(text: str, view: str) -> bool:
    """Whether the text of another view names this one."""
    return f"currant.{view} " in text and f"create or replace view currant.{view} " not in text


def texts(directory: Path) -> list[str]:
    """The texts of the SQL files of a directory, in the order of their names."""
    return [file.read_text(encoding="utf-8") for file in sorted(directory.glob("*.sql"))]
