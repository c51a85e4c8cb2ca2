"""The build: which version of the code a worker runs. Only another build tries an incompatible workflow again."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from typing import Any

from currant import settings
from currant.decorators import Function


def build_id(functions: Iterable[Function[..., Any]]) -> str:
    """`WORKFLOWS_BUILD_ID` if it is set, else a hash of the source files that define workflows; and the Python version.

    Python's patch version is part of it: a change of the standard library may be what makes a run incompatible, or what
    makes it fit again.
    """
    python = f"py{'.'.join(map(str, sys.version_info[:3]))}"
    given = settings.load().build_id
    if given is not None:
        return f"{given}-{python}"
    digest = hashlib.sha256()
    workflows = sorted((f for f in functions if f.kind == "workflow"), key=lambda f: f.name)
    for source in sorted({_source(workflow) for workflow in workflows}):
        digest.update(source)
    for workflow in workflows:
        digest.update(f"{workflow.name}\0{workflow.version}\0".encode())
    return f"{digest.hexdigest()[:16]}-{python}"


def _source(workflow: Function[..., Any]) -> bytes:
    """The file that defines a workflow, or its compiled code where it has no file (an interactive session)."""
    plain = inspect.unwrap(workflow.plain)
    try:
        with open(inspect.getsourcefile(plain) or "", "rb") as file:
            return file.read()
    except (OSError, TypeError):
        code: bytes = plain.__code__.co_code
        return code
