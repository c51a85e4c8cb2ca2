"""Mistakes on the command line are one line on standard error and an exit code, with no database in reach."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

import examples.saga  # noqa: F401  what the commands name is registered from the start
from currant.cli import cli, commands, run

NOWHERE = "postgresql://nobody:secret@127.0.0.1:1/none?connect_timeout=0"
NEW_COMMAND = '''
import click
from currant.cli.output import say

@click.command()
@click.argument("name")
def greet(name: str) -> None:
    """Say good morning."""
    say(f"good morning, {name}")
'''
ID = "00000000-0000-7000-8000-000000000001"


def run_and_read(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run one command; give the exit code, standard output and standard error."""
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["list", "--json"],
        ["signal", ID, "go"],
        ["queue", "examples.saga.book_trip", '["t-1", "Rome"]'],
    ],
    ids=" ".join,
)
def test_an_unreachable_database_is_one_line_without_the_password(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_DATABASE_URL", NOWHERE)
    code, out, err = run_and_read(capsys, *command)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "secret" not in err


@pytest.mark.parametrize("url", ["", "mysql://somewhere/else", "not a url"])
def test_a_missing_or_wrong_url_is_usage_and_names_the_variable(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_DATABASE_URL", url)
    code, out, err = run_and_read(capsys, "list")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "WORKFLOWS_DATABASE_URL" in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["status", "o-1"], "o-1 is no id of an execution"),
        (["worker", "-q", "orders", "-m", "no.such.module"], "no module no.such.module"),
        (["queue", "examples.saga.book_trip", "{oops"], "JSON_ARGS is not JSON"),
        (["queue", "examples.saga.book_trip", '["only-one"]'], "'city'"),
        (["signal", ID, "go", "{oops"], "is not JSON"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_that_says_what_it_is(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_DATABASE_URL", NOWHERE)
    code, out, err = run_and_read(capsys, *command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    "command",
    [
        ["frobnicate"],
        ["list", "--state", "sleeping"],
        ["list", "--limit", "0"],
        ["worker", "-q", "orders"],
        ["worker", "-m", "examples.saga"],
        ["queue"],
        ["queue", "examples.saga.book_trip", "--timeout", "5"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_does_not_know_is_usage(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_and_read(capsys, *command)
    assert (code, out) == (2, "")
    assert "Error: " in err
    assert "Traceback" not in err


def test_an_unknown_function_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_DATABASE_URL", NOWHERE)
    code, out, err = run_and_read(capsys, "queue", "examples.saga.book_trips", '["t-1", "Rome"]')
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "did you mean examples.saga.book_trip" in err


def test_a_new_module_among_the_commands_is_a_new_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greet.py").write_text(NEW_COMMAND)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert "Say good morning." in run_and_read(capsys, "--help")[1]
    assert run_and_read(capsys, "greet", "ann") == (0, "good morning, ann\n", "")


@pytest.mark.parametrize("command", cli.list_commands(click.Context(cli)))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_and_read(capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: currant {command}")
