"""Pages of the reference: what they refuse, and how they show signatures."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

import currant
from scripts.generate import error_page, metrics_page, python_pages, sql_page


def test_a_public_name_without_a_place_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(currant, "__all__", [*currant.__all__, "novelty"])
    with pytest.raises(SystemExit, match="no place for .'novelty'."):
        python_pages.outputs()


def test_an_error_that_does_not_say_what_to_do_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(currant.LeaseLost, "__doc__", "The lease is lost.")
    with pytest.raises(SystemExit, match="LeaseLost has no paragraph that begins with 'To do: '"):
        error_page.outputs()


def test_a_type_that_no_source_writes_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(error_page.TYPES, "NoSuchType", ("never", "core/src/engine/decide/state/tasks.rs"))
    with pytest.raises(SystemExit, match="no longer has the type NoSuchType"):
        error_page.outputs()


def verb(first: dict[str, int], /, *, second: str = "x") -> Coroutine[object, None, list[str]]:
    """Return a coroutine."""
    raise NotImplementedError


def long(a_parameter: dict[str, Any] | None, another_parameter: tuple[int, ...], and_one_more: str) -> None:
    """Take three."""


def test_a_function_that_returns_a_coroutine_is_shown_as_one_to_await() -> None:
    shown = python_pages._definition("verb", verb)
    assert shown == ['async def verb(first: dict[str, int], /, *, second: str = "x") -> list[str]: ...']


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    assert python_pages._definition("long", long) == [
        "def long(",
        "    a_parameter: dict[str, Any] | None,",
        "    another_parameter: tuple[int, ...],",
        "    and_one_more: str,",
        ") -> None: ...",
    ]


def test_a_docstring_that_names_a_page_links_to_it() -> None:
    assert error_page.linked("see docs/use/values.md.") == "see [values.md](../use/values.md)."
    assert error_page.linked("see docs/reference/options.md") == "see [options.md](options.md)"


def test_a_column_of_which_the_comment_says_nothing_ends_the_program() -> None:
    columns = dict.fromkeys(sql_page.described("queue_stats").items, "bigint")
    assert list(sql_page._view("queue_stats", columns))
    with pytest.raises(SystemExit, match=r"queue_stats.sql: its comment and its columns differ in \['novelty'\]"):
        list(sql_page._view("queue_stats", {**columns, "novelty": "text"}))


def test_a_comment_tells_its_items_from_its_text() -> None:
    found = sql_page.described("enqueue_checked")
    assert found.about.startswith("Enqueues one execution in the caller's transaction")
    assert found.items["queue"] == "text, at most 200 characters. Default: 'default'."
    assert sql_page._cell(found.items["queue"]) == "text, at most 200 characters. Default: `default`."


def test_every_option_of_sql_that_python_has_is_on_its_page() -> None:
    from currant._calls.options import OPTIONS

    assert OPTIONS.keys() - {"connection"} <= sql_page.described(sql_page.OPTIONS).items.keys()


PAGE = """\
# HELP a_size How large
# TYPE a_size histogram
a_size_sum 0.0
a_size_count 0
# HELP a_ends What ended
# TYPE a_ends counter
a_ends_total{function="f",outcome="lost"} 0
a_ends_total{function="f",outcome="done"} 0
"""


def test_a_page_of_metrics_becomes_rows_with_the_values_of_its_labels() -> None:
    assert list(metrics_page.worker_rows(PAGE)) == [
        "| `a_size` | histogram |  | How large |",
        "| `a_ends_total` | counter | `function`, `outcome` | What ended |",
    ]
    assert list(metrics_page.label_rows(PAGE)) == ["| `outcome` | `lost`, `done` |"]
