"""The verbs of `Core` in `_core.pyi`, as the built extension has them: core/src/client/verbs/list.rs lists them."""

from __future__ import annotations

import subprocess
import sys

from scripts.generate.outputs import CHECKOUT, Outputs, between

STUB = "core/python/currant/_core.pyi"
BEGIN = "# Written by scripts/generate/core_stub.py from here"
END = "# to here."


def outputs() -> Outputs:
    """The stub, with the verbs between its marks, in the form that ruff gives it."""
    from currant._core import verb_signatures

    text = between(STUB, BEGIN, END, [f"    {signature}" for signature in verb_signatures()])
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", STUB, "-"]
    done = subprocess.run(ruff, input=text, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return {STUB: done.stdout}
