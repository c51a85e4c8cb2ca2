"""docs/internals/guarantees.md names a test for every guarantee and rule, and each of them is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "internals" / "guarantees.md").read_text(encoding="utf-8")
ROWS = [line for line in DOCUMENT.splitlines() if re.match(r"\| [0-9a-z]+ \|", line)]
NAMED = sorted(set(re.findall(r"`(\w+\.(?:py|rs))::(\w+)`", DOCUMENT)))


def sources(name: str) -> list[Path]:
    return [path for path in (ROOT / "core").rglob(name) if "target" not in path.parts]


def test_every_guarantee_and_every_rule_names_a_test() -> None:
    numbered = {line.split("|")[1].strip() for line in ROWS if "::" in line}
    assert numbered == {str(number) for number in range(1, 18)} | set("abcdefghijklmnop")


@pytest.mark.parametrize(("file", "function"), NAMED, ids="::".join)
def test_the_test_is_there(file: str, function: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sources(file)]
    assert any(re.search(rf"\b(?:def|fn) {function}\(", text) for text in texts), f"there is no {function} in {file}"
