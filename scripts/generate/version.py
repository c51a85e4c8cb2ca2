"""The version of a release, which core/Cargo.toml has, in every other file that must name it."""

from __future__ import annotations

import re
import tomllib

from scripts.generate.outputs import CHECKOUT, Outputs

# In each file, the text before the version and the text after it; together they are there exactly once.
PLACES = (
    ("core/Cargo.lock", 'name = "currant"\nversion = "', '"'),
    ("operator/pyproject.toml", '\nversion = "', '"'),
    ("operator/pyproject.toml", '"currant[schemas]==', '"'),
    ("charts/currant/Chart.yaml", "\nversion: ", "\n"),
    ("charts/currant/Chart.yaml", "\nappVersion: ", "\n"),
)


def version() -> str:
    """The version in core/Cargo.toml."""
    manifest = tomllib.loads((CHECKOUT / "core/Cargo.toml").read_text())
    return str(manifest["package"]["version"])


def outputs() -> Outputs:
    """The files of `PLACES` with the version. Raises `ValueError` where a place is not found once."""
    files = {path: (CHECKOUT / path).read_text() for path, _, _ in PLACES}
    for path, before, after in PLACES:
        files[path] = replaced(path, files[path], before, after, version())
    return files


def replaced(path: str, text: str, before: str, after: str, wanted: str) -> str:
    """The text with `wanted` between `before` and `after`. Raises `ValueError` if they are not there exactly once."""
    place = f'({re.escape(before)})[^"\n]*({re.escape(after)})'
    changed, times = re.subn(place, rf"\g<1>{wanted}\g<2>", text)
    if times != 1:
        raise ValueError(f"{path} has {times} places for the version after {before.strip()!r}, not one")
    return changed
