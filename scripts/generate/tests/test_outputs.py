"""Generated files that were edited, lost or left over are found, and written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.generate import outputs
from scripts.generate.outputs import Texts, between, first_difference


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    """A generator of two files, both as they should be."""
    found = Texts("two", lambda: {"a/one.txt": "1\n2\n", "two.txt": "3\n"}, owned=("a/*.txt",), checkout=tmp_path)
    found.write()
    assert list(found.problems()) == []
    return found


def test_a_file_that_was_edited_is_named_with_the_first_line_that_differs(texts: Texts) -> None:
    (texts.checkout / "a/one.txt").write_text("1\n3\n")
    assert list(texts.problems()) == ["a/one.txt differs from what is generated, first in line 2"]


def test_a_file_that_is_missing_is_named(texts: Texts) -> None:
    (texts.checkout / "two.txt").unlink()
    assert list(texts.problems()) == ["two.txt is missing"]


def test_a_file_that_nothing_generates_is_named_where_only_generated_ones_are(texts: Texts) -> None:
    (texts.checkout / "a/old.txt").touch()
    (texts.checkout / "mine.txt").touch()
    assert list(texts.problems()) == ["a/old.txt is not generated any more"]


def test_writing_puts_all_of_it_right(texts: Texts) -> None:
    (texts.checkout / "a/one.txt").write_text("")
    (texts.checkout / "two.txt").unlink()
    (texts.checkout / "a/old.txt").touch()
    texts.write()
    assert list(texts.problems()) == []
    assert not (texts.checkout / "a/old.txt").exists()


def test_a_file_that_is_right_is_not_written(texts: Texts) -> None:
    before = (texts.checkout / "two.txt").stat().st_mtime_ns
    texts.write()
    assert (texts.checkout / "two.txt").stat().st_mtime_ns == before


@pytest.mark.parametrize(("one", "other", "line"), [("a\n", "b\n", 1), ("a\nb\n", "a\nc\n", 2), ("a\n", "a\nb\n", 2)])
def test_the_first_difference_is_counted_from_1(one: str, other: str, line: int) -> None:
    assert first_difference(one, other) == line


def test_only_what_is_between_the_marks_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "CHECKOUT", tmp_path)
    (tmp_path / "README.md").write_text("mine\n<!-- from -->\nold\nold\n<!-- to -->\nmine\n")
    assert between("README.md", "from", "to", ["new"]) == "mine\n<!-- from -->\nnew\n<!-- to -->\nmine\n"


@pytest.mark.parametrize("text", ["<!-- from -->\n", "<!-- to -->\n<!-- from -->\n", "from\nfrom\nto\n"])
def test_marks_that_are_not_there_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(outputs, "CHECKOUT", tmp_path)
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(SystemExit, match=r"README.md: write one line with 'from', and one with 'to' after it"):
        between("README.md", "from", "to", [])
