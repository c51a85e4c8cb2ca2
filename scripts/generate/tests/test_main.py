"""The command line: a check fails for any difference, and names what this machine cannot generate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.generate import __main__ as command
from scripts.generate.outputs import Missing, Outputs, Texts

Call = Callable[..., int]


def lacks_helm() -> Outputs:
    """A generator that cannot run here."""
    raise Missing("the chart's golden files", "install helm")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command with one generator of `one.txt` and one that this machine cannot run; gives the exit code."""
    generators = (
        Texts("one", lambda: {"one.txt": "1\n"}, checkout=tmp_path),
        Texts("helm", lacks_helm, checkout=tmp_path),
    )
    monkeypatch.setattr(command, "GENERATORS", generators)
    monkeypatch.setattr(command, "NAMES", ("one", "helm"))
    monkeypatch.setenv("LEFT_OUT", str(tmp_path / "left-out"))

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["generate", *words])
        return command.main()

    return run


def test_a_check_fails_until_all_is_written(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--check", "one") == 1
    assert "generate: one.txt is missing\ngenerate: one FAILED: run make generate" in capsys.readouterr().out
    assert call("one") == 0
    assert call("--check", "one") == 0


def test_what_cannot_be_compared_here_is_left_out_aloud(call: Call, tmp_path: Path) -> None:
    assert call("--check", "helm") == 0
    assert (tmp_path / "left-out").read_text() == "whether the chart's golden files is up to date (install helm)\n"


def test_what_cannot_be_written_here_is_an_error(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--except", "one") == 1
    assert capsys.readouterr().err == "error: the chart's golden files cannot be written here: install helm\n"
