"""What tests of pages share: the repository's files and the links in its pages."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from support import CHECKOUT

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


@cache
def files() -> tuple[Path, ...]:
    """The files of the repository, relative to its root: those that git has, and new ones that it does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.split("\0")
    found = (Path(name) for name in names if name)
    return tuple(sorted(path for path in found if (CHECKOUT / path).is_file() and not (CHECKOUT / path).is_symlink()))


@cache
def text(path: Path) -> str:
    """What is in a file; nothing for one that is no text."""
    try:
        return (CHECKOUT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def pages() -> list[Path]:
    """Every page of Markdown."""
    return [path for path in files() if path.suffix == ".md"]


def links(page: Path) -> list[str]:
    """The targets of its links that stay within the repository."""
    found = LINK.findall(CODE.sub("", text(page)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as renderers of Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text(page)), re.MULTILINE)
    plain = (LINK.sub("]", heading).replace("[", "").replace("]", "") for heading in headings)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in plain}
