"""The pages: each is in the order to read them in, links lead somewhere, and nothing cites what is not in the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import pytest

from pages import CHECKOUT, CODE, anchors, files, links, pages, text

ORDER = Path("docs/README.md")
PARTS_IN_DOCS = ("learn", "use", "operate", "reference", "internals")
WRITTEN = {"LONG.md": "`make bench-soak` writes it"}
COMPARISON = "comparison.md"  # names files of other systems
# Files that the reader of a page makes.
ELSEWHERE = {("README.md", "shop.py"), ("tutorial.md", "shop.py"), ("CONTRIBUTING.md", "NNNN_what.sql")}
INVENTING = {Path("scripts/generate/tests/test_outputs.py"): "its pages are those of a directory that it makes"}


def target_of(page: Path, link: str) -> tuple[Path, str]:
    """The file or directory that a link leads to, and the anchor in it."""
    path, _, anchor = link.partition("#")
    return (Path(posixpath.normpath(posixpath.join(page.parent.as_posix(), path))) if path else page), anchor


def test_every_page_is_in_the_order_to_read_them_in_once() -> None:
    parts = text(ORDER).split("\n## ")[1:]
    numbered = {
        part.partition(":")[0]: re.findall(r"^\d+\. \[([^]]+)\]\(([^)]+)\)", part, re.MULTILINE) for part in parts
    }
    assert list(numbered) == ["Learn", "Use", "Operate", "Reference", "Internals", "The repository"]
    assert [name for entries in numbered.values() for name, link in entries if name != link] == []
    listed = [target_of(ORDER, link)[0] for entries in numbered.values() for _, link in entries]
    on_the_site = {page for page in pages() if "tests" not in page.parts and page.parts[0] != ".github"}
    assert sorted(listed) == sorted(on_the_site - {ORDER, Path("README.md")})
    for part in PARTS_IN_DOCS:
        assert {link.split("/")[0] for _, link in numbered[part.capitalize()]} == {part}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_numbered_lists_count_by_one(page: Path) -> None:
    last = 0
    for line in CODE.sub("", text(page)).splitlines():
        if entry := re.match(r"(\d+)\. ", line):
            assert int(entry[1]) in (1, last + 1), line
            last = int(entry[1])
        elif line.startswith("#"):
            last = 0


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        target, anchor = target_of(page, link)
        assert (CHECKOUT / target).exists(), f"{page} links to {link}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page} links to {link}: {target} has no such heading"


def paths_named(page: Path) -> set[str]:
    """The files and directories of the repository that a page names in code style, with `{a,b}` written out."""
    tops = "|".join(sorted({re.escape(path.parts[0]) for path in files() if len(path.parts) > 1}))
    found = set(re.findall(rf"`((?:{tops})/[\w./*{{}},-]*)`", text(page)))
    return {path for name in found for path in expanded(name)}


def expanded(name: str) -> list[str]:
    """What a shell makes of `{a,b}`."""
    braces = re.search(r"\{([^}]*)\}", name)
    if braces is None:
        return [name]
    return [f"{name[: braces.start()]}{each}{name[braces.end() :]}" for each in braces[1].split(",")]


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    places = (CHECKOUT, CHECKOUT / page.parent)
    names = {name: name.rstrip("/") for name in sorted(paths_named(page))}
    assert [name for name, each in names.items() if not any(any(place.glob(each)) for place in places)] == []


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(?:[\w./-]*/)?([\w-]+\.(?:rs|py|pyi|sql|sh|toml))(?:::\w+)?`", text(page)))
    there = {path.name for path in files()}
    assert [
        name for name in sorted(named - there) if (page.name, name) not in ELSEWHERE and page.name != COMPARISON
    ] == []


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len(text(Path("README.md")).splitlines()) < 200


def test_no_file_has_the_marks_of_a_conflict() -> None:
    mark = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    assert [str(path) for path in files() if mark.search(text(path))] == []


def cited(path: Path) -> set[str]:
    """The Markdown documents that a file names."""
    lines = "\n".join(line for line in text(path).splitlines() if ".md" in line)
    return set(re.findall(r"(?<![\w*{}%])[\w./-]*\w\.md\b", re.sub(r"https?://\S+", "", lines)))


def test_no_file_cites_a_document_that_is_not_in_the_repository() -> None:
    there = ["/" + page.as_posix() for page in pages()]
    dead = {
        f"{path}: {name}"
        for path in files()
        if path not in INVENTING
        for name in cited(path)
        if name not in WRITTEN and not any(page.endswith("/" + name.lstrip("./")) for page in there)
    }
    assert dead == set()


def test_no_comment_counts_by_paragraphs_of_another_document() -> None:
    own = Path(__file__).relative_to(CHECKOUT)
    assert [str(path) for path in files() if "§" in text(path) and path != own] == []
