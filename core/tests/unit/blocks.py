"""The blocks of code in the pages: where each stands, and what is wrong with it.

Every block is checked as its language says. A comment before a block says what differs:
`<!-- skip: REASON -->` it is not run, and only parsed; `<!-- raises: ERROR -->` it is run, and raises that.
A line such as "`shop.py`:" before a block of Python names the module as which later blocks of the page import it.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml_blocks
from pages import pages, text
from shell_blocks import shell_problems

FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w-]*)\n(?P<text>.*?)^ *(?P=fence) *$", re.DOTALL | re.MULTILINE
)
NOTE = re.compile(r"<!-- (\w+): (.+?) -->\s*\Z")
FILE = re.compile(r"(?:^`([\w/]+\.py)`:|<!-- file: ([\w/]+\.py) -->)\s*\Z", re.MULTILINE)
# Pages whose blocks of Python are signatures, written by `make generate`.
SIGNATURES = (Path("docs/reference/python.md"), Path("docs/reference/rust-bridge.md"))
# A page that a test of its own follows from its first block to its last.
FOLLOWED = {Path("docs/learn/tutorial.md"): "core/tests/integration/checkout/test_tutorial.py"}


@dataclass(frozen=True)
class Block:
    """A block of code. `notes` are those of the comment before it; `file` is the module that it is, if it has a name.

    `modules` are the modules that are blocks of its page.
    """

    page: Path
    line: int
    language: str
    text: str
    notes: tuple[tuple[str, str], ...] = ()
    file: str | None = None
    modules: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def note(self, name: str) -> str | None:
        """What the comment before it says."""
        return dict(self.notes).get(name)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    return find(page, text(page))


def find(page: Path, source: str) -> list[Block]:
    """The blocks in the text of a page."""
    found = [block_at(page, source, match) for match in FENCE.finditer(source)]
    modules = frozenset(block.file.removesuffix(".py").replace("/", ".") for block in found if block.file)
    return [replace(block, modules=modules) for block in found]


def block_at(page: Path, source: str, found: re.Match[str]) -> Block:
    """The block at a place in the text of a page."""
    before = source[: found.start()]
    note, file = NOTE.search(before), FILE.search(before)
    indent = len(found["indent"])
    lines = [line[indent:] if line[:indent].isspace() else line for line in found["text"].splitlines(keepends=True)]
    return Block(
        page,
        before.count("\n") + 2,
        found["language"],
        "".join(lines),
        ((note[1], note[2]),) if note else (),
        (file[1] or file[2]) if file else None,
    )


def all_blocks() -> list[Block]:
    """The blocks of every page."""
    return [block for page in pages() for block in blocks_of(page)]


def problems(block: Block) -> list[str]:
    """What is wrong with a block, as far as that shows without running it."""
    check = CHECKS.get(block.language)
    if check is None:
        return [f"no test knows the language {block.language!r}: {', '.join(filter(None, CHECKS))}"]
    unknown = sorted(name for name, _ in block.notes if name not in NOTES)
    return [*(f"the comment before it says {name!r}, which means nothing" for name in unknown), *check(block)]


def python_problems(block: Block) -> Iterator[str]:
    """It compiles, and what it imports is there."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = compile(block.text, str(block), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        yield f"line {error.lineno}: {error.msg}"
        return
    if block.note("skip"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (problem for alias in node.names for problem in import_problems(alias.name, [], block.modules))
        elif isinstance(node, ast.ImportFrom):
            yield from import_problems(node.module or "", [alias.name for alias in node.names], block.modules)


def import_problems(module: str, names: list[str], own: frozenset[str]) -> Iterator[str]:
    """A module, and names in it, that cannot be imported. `own` are modules of the page."""
    if module in own:
        return
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        yield str(error)
        return
    yield from (f"{module} has no {name}" for name in names if not hasattr(found, name))


def sql_problems(block: Block) -> Iterator[str]:
    """It ends as a statement does; the tests with a database run it."""
    if not block.text.rstrip().endswith(";") and "-- " not in block.text.splitlines()[-1]:
        yield "its last statement has no ; at its end"


def json_problems(block: Block) -> Iterator[str]:
    """It is JSON."""
    try:
        json.loads(block.text)
    except ValueError as error:
        yield str(error)


INSTRUCTIONS = ("FROM", "USER", "COPY", "RUN", "ENV", "WORKDIR", "ARG", "ENTRYPOINT", "CMD", "EXPOSE", "LABEL")


def dockerfile_problems(block: Block) -> Iterator[str]:
    """Each line begins with an instruction."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line and not line.startswith("#") and line.split()[0] not in INSTRUCTIONS:
            yield f"{line.split()[0]} is no instruction"


def no_problems(_block: Block) -> Iterator[str]:
    """Output, signatures, URLs; diagrams are drawn by `make docs`."""
    return iter(())


CHECKS: dict[str, Callable[[Block], Iterator[str]]] = {
    "python": python_problems,
    "sh": lambda block: shell_problems(block.text, block.page.parent, parse_only=block.note("skip") is not None),
    "sql": sql_problems,
    "yaml": lambda block: yaml_blocks.problems(block.text),
    "json": json_problems,
    "dockerfile": dockerfile_problems,
    "mermaid": no_problems,
    "text": no_problems,
    "": no_problems,
}
NOTES = ("skip", "raises", "file", "output")
