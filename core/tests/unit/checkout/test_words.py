"""The words that docs/internals/words.md retires do not come back: in code and comments, and in texts for users."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pages import CODE, files, pages, text

# What is searched for, and what to write. In the code that is shipped, its comments, and every page.
EVERYWHERE = {
    r"\bput(s|ting)? out\b": "evicted (from memory)",
    r"\b(un)?park(s|ed|ing)?\b|\bpark_\w+|\bparked_\w+": "awaits a permit; endless (a run that does not end)",
    r"\b(v_)?(more_)?strays?\b": "executions that should await a permit",
    r"\b(is|are|was|were|be|been|being|stays?|remains?) held\b(?! by| open| back)|\bheld (run|workflow|execution)s?\b|\bholds? the run\b"
    r"|\(held\)": "incompatible (a run), kept (a number of pods)",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bsuspected\b": "poison suspect",
    r"\b[Bb]ell\b|\bClaimMarks\b|\bAside\b|\b[Cc]laim cursors?\b": "wake-up fd, claim floors, deferred writes",
    r"\bStanding\b|\bstandings\b": "ExecutionStatus, status",
    r"\bcurrant\.(pick|take|claim_ready|room|gates|settle_runs|park)\b|\be\.slot\b": "the function's or column's new name",
    r"\baside\b": "deferred",
    r"\bloop_guard\b|\bloop_asyncio\b": "blocking_guard, asyncio_patches",
}
# In texts that users read. Code may have other gates and places.
FOR_USERS = {
    r"\b(un)?gate(s|d)?\b": "limit",
    r"\bplaces? (is|are|becomes?) free\b|\bfree places?\b|\b(waits?|waiting) for a place\b": "free permits, awaits a permit",
}
SHIPPED = ("core/src", "core/python/currant", "migrations", "operator/currant_operator", "crds", "charts", "examples")
ALSO = ("scripts", "worker-image", "bench", "chaos", "core/tests/invariants.sql", "core/tests/naive.sh")
# A file, a part of the line, and why the word may be there.
ALLOWED: dict[tuple[str, str], str] = {
    ("docs/internals/words.md", ""): "the list of these words",
    ("docs/internals/performance.md", "under a lock that is held anyway"): "a lock is held",
    ("charts/currant/files/scripts/release_test.py", "The Lease is held"): "a Lease is held",
    ("core/src/engine/model/world.rs", "strays"): "requests that arrive after their sender has ended",
    ("core/python/currant/cli/commands/doctor.py", "gated"): "a field of the facts in `--json`",
}


def is_below(path: Path, roots: tuple[str, ...]) -> bool:
    """Whether it is one of them, or in one of them; tests are not."""
    return any(path.as_posix() == root or path.as_posix().startswith(f"{root}/") for root in roots) and not (
        "tests" in path.parts and path.as_posix() not in roots
    )


def prose(page: Path) -> str:
    """A page without code, whose names may be others'."""
    return re.sub(r"`[^`\n]*`", "", CODE.sub(lambda block: "\n" * block[0].count("\n"), text(page)))


def spoken(path: Path) -> str:
    """The texts in quotes of a Python file, each on the line where it begins."""
    lines: dict[int, str] = {}
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for number, line in enumerate(node.value.split("\n"), node.lineno):
                lines[number] = f"{lines.get(number, '')} {line}"
    return "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))


def found(searched: str, path: Path, words: dict[str, str]) -> Iterator[str]:
    """Every retired word in a text, with what to write instead."""
    if not re.search("|".join(words), searched):
        return
    for number, line in enumerate(searched.split("\n"), 1):
        for word, instead in words.items():
            allowed = any(path.as_posix() == file and part in line for file, part in ALLOWED)
            if re.search(word, line) and not allowed:
                yield f"{path}:{number}: {line.strip()[:120]} (write: {instead})"


CODE_FILES = [
    path for path in files() if is_below(path, SHIPPED + ALSO) and path.suffix not in (".md", ".json", ".svg")
]
MESSAGES = [path for path in CODE_FILES if path.suffix == ".py" and path.parts[0] in ("core", "operator")]


@pytest.mark.parametrize("page", pages(), ids=str)
def test_no_page_has_a_retired_word(page: Path) -> None:
    assert list(found(prose(page), page, EVERYWHERE | FOR_USERS)) == []


def test_no_code_and_no_comment_has_a_retired_word() -> None:
    assert len(CODE_FILES) > 300
    assert [each for path in CODE_FILES for each in found(text(path), path, EVERYWHERE)] == []


def test_no_message_help_or_description_has_a_retired_word() -> None:
    assert len(MESSAGES) > 100
    manifests = [path for path in CODE_FILES if path.parts[0] in ("crds", "charts")]
    said = [each for path in MESSAGES for each in found(spoken(path), path, FOR_USERS)]
    assert said + [each for path in manifests for each in found(text(path), path, FOR_USERS)] == []


COMMENT = r"//[/!]?|#|--"
RIDDLE = re.compile(rf'^[ \t]*(?:(?:{COMMENT})\s|""")\s*(Of|Who|Whom|What|Whichever|Whoever|Whatever|So)\b')


def beginnings(path: Path) -> Iterator[str]:
    """The first lines of comments and docstrings that begin with a clause in place of their subject."""
    before = ""
    for number, line in enumerate(text(path).split("\n"), 1):
        goes_on = re.match(rf"[ \t]*(?:{COMMENT})(\s|$)", before) and not line.lstrip().startswith('"""')
        if RIDDLE.match(line) and not goes_on:
            yield f"{path}:{number}: {line.strip()[:120]}"
        before = line


def test_a_comment_begins_with_its_subject() -> None:
    assert [each for path in CODE_FILES for each in beginnings(path)] == []


def test_every_exception_is_still_needed() -> None:
    for file, part in ALLOWED:
        lines = [line for line in text(Path(file)).split("\n") if part in line]
        assert any(re.search(word, line) for line in lines for word in EVERYWHERE | FOR_USERS), (file, part)


def test_the_check_finds_what_it_should() -> None:
    path = Path("core/src/lib.rs")
    assert list(found("a run is put out of memory, and held is fine; x.parked", path, EVERYWHERE)) != []
    assert list(found("the lock is held by a session", path, EVERYWHERE)) == []
    assert list(found("it waits for a place", path, FOR_USERS)) != []
