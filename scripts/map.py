"""`make map [WORD=...]`: every source file, or those with the word, each with the first line of its description."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
SOURCES = (".py", ".pyi", ".rs", ".sh", ".sql")
BEGIN = re.compile(r'(?:#!.*\n)?(?:# (?:mypy|shellcheck)\b.*\n)*(?:#(?!!)|"""|//!|--)\s*(\S.*)')


def first_line(text: str) -> str:
    """The first line of what a file says of itself, without its marks; empty if it says nothing."""
    found = BEGIN.match(text)
    return found[1].removesuffix('"""').strip() if found else ""


def source_files() -> list[Path]:
    """Source files that git has, those of tests left out, relative to the root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    paths = [Path(name) for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in SOURCES and "tests" not in path.parts]


def main(word: str = "") -> None:
    """Print a directory, then its files: those that have the word in their path or first line, in any case."""
    room = None
    for path in sorted(source_files(), key=lambda path: (path.parent, path.name)):
        if not (CHECKOUT / path).is_file():
            continue
        line = first_line((CHECKOUT / path).read_text(encoding="utf-8"))
        if word.lower() not in f"{path} {line}".lower():
            continue
        if path.parent != room:
            room = path.parent
            print(f"\n{room}/")
        print(f"  {path.name:24} {line}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
