"""The pages of guarantees and of rules name a test for each, every test is there, and code cites none that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import files, text

GUARANTEES = text(Path("docs/internals/guarantees.md"))
RULES = text(Path("docs/internals/rules.md"))
NAMED = sorted(set(re.findall(r"`(\w+\.(?:py|rs))::(\w+)`", GUARANTEES + RULES)))
NUMBERS = {str(number) for number in range(1, 18)}
LETTERS = set("abcdefghijklmnop")


def test_every_guarantee_names_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|.*::.*\|$", GUARANTEES, re.MULTILINE)
    assert rows == sorted(NUMBERS, key=int)


def test_every_rule_says_why_and_names_a_test() -> None:
    sections = re.split(r"^## Rule ", RULES, flags=re.MULTILINE)[1:]
    assert [section[0] for section in sections] == sorted(LETTERS)
    for section in sections:
        assert "\n**Why.** " in section, section.splitlines()[0]
        assert "::" in section.partition("\n**Tests.** ")[2], section.splitlines()[0]


def test_code_and_pages_cite_only_guarantees_and_rules_that_there_are() -> None:
    """ "rule a" may be a word and an article, so letters are looked at from b on."""
    cited = [(path, text(path)) for path in files() if path.suffix not in (".svg", ".json", ".csv")]
    numbers = {(str(path), n) for path, found in cited for n in re.findall(r"\b[Gg]uarantees? (\d+)", found)}
    letters = {(str(path), n) for path, found in cited for n in re.findall(r"\b[Rr]ules? ([b-z])\b", found)}
    assert numbers
    assert letters
    assert {each for each in numbers if each[1] not in NUMBERS} == set()
    assert {each for each in letters if each[1] not in LETTERS} == set()


@pytest.mark.parametrize(("file", "function"), NAMED, ids=["::".join(each) for each in NAMED])
def test_the_test_is_there(file: str, function: str) -> None:
    texts = [text(path) for path in files() if path.name == file and path.parts[0] == "core"]
    assert any(re.search(rf"\b(?:def|fn) {function}\(", found) for found in texts), f"there is no {function} in {file}"
