"""Each line of core/tests/naive.sh names a test that is there, and quotes SQL that is there. It takes minutes to run, so CI does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import text

TEXT = text(Path("core/tests/naive.sh")).partition("<<'RULES'\n")[2].partition("\nRULES")[0]
LINES = [line.split(";", 3) for line in TEXT.splitlines() if line]


def test_there_is_a_line_for_each_rule() -> None:
    assert len(LINES) >= 85


@pytest.mark.parametrize(("what", "file", "test", "naive"), LINES, ids=[line[0] for line in LINES])
def test_a_line_names_a_test_and_quotes_sql_that_are_there(what: str, file: str, test: str, naive: str) -> None:
    tests = text(Path(f"core/tests/store/{file}.rs"))
    assert re.search(rf"fn \w*{test}\w*\(", tests), f"{what}: no test of {file}.rs is named {test}"
    function, quoted, _ = naive.split("|")
    path = Path(f"migrations/functions/{function}.sql")
    assert quoted in text(path), f"{what}: {path} does not have {quoted}"
