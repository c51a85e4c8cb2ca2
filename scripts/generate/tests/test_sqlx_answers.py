"""Each query of the Rust code has an answer in core/.sqlx, and each answer a query."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.generate import sqlx_answers
from scripts.generate.sqlx_answers import SqlxAnswers, queries, queries_of

QUERY = "select 1"
HASH = hashlib.sha256(QUERY.encode()).hexdigest()


@pytest.mark.parametrize(
    ("source", "query"),
    [
        ('sqlx::query!("select 1")', "select 1"),
        ('sqlx::query!(\n    r#"select "a" from t"#,\n    id)', 'select "a" from t'),
        ('sqlx::query!(r"select \\d")', "select \\d"),
        ('sqlx::query_as!(store::Row, "select $1", id)', "select $1"),
        ('sqlx::query_scalar!(\n    "select \\"a!\\" \\\n        from t")', 'select "a!" from t'),
        ('query_unchecked!("a\\nb")', "a\nb"),
    ],
)
def test_a_query_is_found_in_the_macro_as_the_compiler_reads_it(source: str, query: str) -> None:
    assert queries_of(source) == [query]


def test_queries_that_are_not_macros_have_no_answer() -> None:
    assert queries_of('sqlx::query("select 1"); let query = "select 2"; my_query!("select 3")') == []


def test_the_sources_have_queries() -> None:
    assert len(queries()) > 50


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of answers, and one query; the database agrees with everything."""

    @contextmanager
    def server() -> Iterator[str]:
        yield "postgresql://"

    monkeypatch.setattr(sqlx_answers, "ANSWERS", tmp_path)
    monkeypatch.setattr(sqlx_answers, "queries", lambda: {HASH: QUERY})
    monkeypatch.setattr(sqlx_answers, "server", server)
    monkeypatch.setattr(sqlx_answers, "run", lambda *command, environment: "")
    return tmp_path


def test_a_query_without_an_answer_is_named(answers: Path) -> None:
    assert list(SqlxAnswers().problems()) == ["core/.sqlx has no answer for the query select 1"]


def test_an_answer_without_a_query_is_named(answers: Path) -> None:
    for name in (HASH, "0123"):
        (answers / f"query-{name}.json").touch()
    assert list(SqlxAnswers().problems()) == ["core/.sqlx/query-0123.json belongs to no query"]


def test_an_answer_that_the_database_does_not_give_is_named(answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*command: str, environment: dict[str, str]) -> str:
        raise SystemExit("error: cargo test: core/.sqlx is old for: select 1")

    (answers / f"query-{HASH}.json").touch()
    monkeypatch.setattr(sqlx_answers, "run", run)
    assert list(SqlxAnswers().problems()) == ["error: cargo test: core/.sqlx is old for: select 1"]
