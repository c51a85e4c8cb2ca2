"""Commands, settings and metrics that a page names in its sentences and tables exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blocks import FENCE
from pages import pages, text
from shell_blocks import command_problems, commands

COMMAND = re.compile(r"(?<!`)`((?:currant|make) [^`\n]+)`(?!`)")
SETTING = re.compile(r"\b(?:WORKFLOWS|CURRANT_OPERATOR)_[A-Z_]*[A-Z]\b(?!_)")
METRIC = re.compile(r"\bcurrant_(?:worker|operator|pool|queue|schedule)_[a-z_]+\b")
USAGE = re.compile(r"\[OPTIONS\]|\bCOMMAND\b")
# A command is named without its arguments as often as with them.
INCOMPLETE = ("Missing ", "Usage: ")
OF_TESTS = {"WORKFLOWS_TEST_DATABASE_URL"}
SETTINGS = Path("docs/reference/settings.md")
METRICS = Path("docs/reference/metrics.md")


def unknown_commands(source: str, directory: Path) -> list[str]:
    """What is wrong with the commands in the text of a page, its blocks left out."""
    return [
        f"{span}: {problem}"
        for span in COMMAND.findall(FENCE.sub("", source))
        if not USAGE.search(span)
        for words in commands(span)
        for problem in command_problems(words, directory)
        if not problem.startswith(INCOMPLETE)
    ]


def unknown(pattern: re.Pattern[str], source: str, reference: Path) -> set[str]:
    """The names in a text that stand in no row of a page of the reference."""
    rows = set(re.findall(r"`(\w+)`", text(reference)))
    found = set(pattern.findall(source)) - OF_TESTS
    return {name for name in found if not {name, re.sub(r"_(bucket|sum|count)$", "", name)} & rows}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_a_page_names_commands_settings_and_metrics_that_exist(page: Path) -> None:
    assert "\n".join(unknown_commands(text(page), page.parent)) == ""
    assert unknown(SETTING, text(page), SETTINGS) == set()
    assert unknown(METRIC, text(page), METRICS) == set()


def test_a_name_that_does_not_exist_is_found() -> None:
    (problem,) = unknown_commands("see `currant list --held-runs` and `currant show`", Path("docs"))
    assert "No such option '--held-runs'" in problem
    assert unknown_commands("`make tests`", Path("docs")) == ["make tests: the Makefile has no target tests"]
    assert unknown(SETTING, "set `WORKFLOWS_WORKER_MAX_COLD=3`", SETTINGS) == {"WORKFLOWS_WORKER_MAX_COLD"}
    assert unknown(METRIC, "rate(currant_worker_claimed_total[5m])", METRICS) == {"currant_worker_claimed_total"}
    assert unknown(METRIC, "rate(currant_worker_claim_size_bucket[5m])", METRICS) == set()
