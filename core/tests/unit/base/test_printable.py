"""What others wrote is shown as text: on a terminal, in a pipe, in JSON, in a log."""

from __future__ import annotations

import ast
import json
import logging
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import currant
from currant._base.printable import json_text, lines, one_line
from currant._worker import logs
from currant.cli import output

ANY_TEXT = st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\u202e\u2066\u2028\n\r\t\x7f\ud800\ufeff"))
CASES = {
    "plain äß 漢字 🎉 \\x1b [red]x[/]": "plain äß 漢字 🎉 \\x1b [red]x[/]",
    "\x1b[31mred": "\\x1b[31mred",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x9b2J\x85": "\\x9b2J\\x85",
    "a\nb\r\nc\td": "a\\nb\\r\\nc\\td",
    "\0\x7f": "\\x00\\x7f",
    "user\u202egnp.exe\u2066\u2069": "user\\u202egnp.exe\\u2066\\u2069",
    "\u2028\u2029\u200f\ufeff": "\\u2028\\u2029\\u200f\\ufeff",
    "\ud83c": "\\ud83c",
}


def acts(character: str) -> bool:
    """Whether a character does something other than be seen."""
    directed = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return directed or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(("text", "shown"), CASES.items(), ids=map(ascii, CASES))
def test_what_acts_is_written_as_python_writes_it_and_all_else_stays(text: str, shown: str) -> None:
    assert one_line(text) == shown


@given(ANY_TEXT)
def test_nothing_that_acts_is_left_and_nothing_is_changed_twice(text: str) -> None:
    shown = one_line(text)
    assert not any(map(acts, shown))
    assert one_line(shown) == shown
    shown.encode()


@given(ANY_TEXT)
def test_with_its_lines_every_line_but_the_first_is_indented(text: str) -> None:
    first, *rest = lines(text).split("\n")
    assert not any(map(acts, "".join([first, *rest])))
    assert all(line.startswith("    ") for line in rest)


@given(
    st.recursive(ANY_TEXT | st.none() | st.integers(), lambda more: st.lists(more) | st.dictionaries(ANY_TEXT, more))
)
def test_json_is_the_same_value_and_acts_no_more(value: object) -> None:
    for indent in (None, 2):
        shown = json_text(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(shown) == value
        assert not any(map(acts, shown.replace("\n", "")))
        assert indent or "\n" not in shown


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    raised = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("shop", logging.INFO, "shop.py", 1, message, (), raised)


FORGED = "2026-01-02 03:04:05,678 ERROR   currant.worker: the database is gone"


class TestLogs:
    def test_a_message_forges_no_line_and_does_not_act(self) -> None:
        shown = logs.TextFormatter().format(record(f"order \x1b[2J\u202e\r\n{FORGED}"))
        first, second = shown.split("\n")
        assert first.endswith("INFO    shop: order \\x1b[2J\\u202e")
        assert second == f"    {FORGED}"

    def test_nor_does_an_errors_message_and_the_traceback_keeps_its_lines(self) -> None:
        try:
            raise ValueError(f"\x1b]0;owned\x07\n{FORGED}")
        except ValueError as error:
            shown = logs.TextFormatter().format(record("it failed", error)).split("\n")
        assert shown[0].endswith("INFO    shop: it failed")
        assert shown[1] == "    Traceback (most recent call last):"
        assert shown[-2:] == ["    ValueError: \\x1b]0;owned\\x07", f"    {FORGED}"]

    def test_a_message_that_ends_with_a_line_break_is_one_line(self) -> None:
        assert "\n" not in logs.TextFormatter().format(record("done\n"))

    def test_a_line_of_json_says_the_same_and_does_not_act(self) -> None:
        text = "\x1b\x9b\u202e\u2028\x7f\nforged"
        shown = logs.JsonFormatter().format(record(text))
        assert json.loads(shown)["message"] == text
        assert not any(map(acts, shown))

    def test_they_are_what_a_worker_logs_with(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[logging.Handler] = []
        monkeypatch.setattr(logging, "basicConfig", lambda **given: seen.extend(given["handlers"]))
        logs.set_up("INFO", "text")
        logs.set_up("INFO", "json")
        assert [type(handler.formatter) for handler in seen] == [logs.TextFormatter, logs.JsonFormatter]


def test_markup_is_shown_as_it_is_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "for_people", lambda: True)
    markup = "[red]x[/] [link=http://x]y[/link] :smile: [/] \x1b[2J"
    output.print_table(["function", "state"], [[markup, "failed"]])
    output.print_tree(output.Node(markup, "failed", [output.Node(markup)]))
    shown = capsys.readouterr().out
    assert shown.count("[red]x[/] [link=http://x]y[/link] :smile: [/] \\x1b[2J") == 3


def test_all_that_the_command_line_prints_goes_through_one_module() -> None:
    """Else the next command forgets it."""
    places = Path(currant.__file__).parent / "cli"
    found = set()
    for path in {*places.rglob("*.py")} - {places / "output.py"}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTS:
                found.add(f"{path.relative_to(places)}:{node.lineno}: {ast.unparse(node.func)}")
            if isinstance(node, ast.Import | ast.ImportFrom) and "rich" in ast.unparse(node).split()[1]:
                found.add(f"{path.relative_to(places)}:{node.lineno}: {ast.unparse(node)}")
    assert found == set()


PRINTS = {
    "print",
    "click.echo",
    "click.secho",
    "click.echo_via_pager",
    "sys.stdout.write",
    "sys.stderr.write",
    "sys.stdout.buffer.write",
}
