"""The ranges of what callers give, in Python: core/src/base/limits.rs, as the built extension has them."""

from __future__ import annotations

import sys

from scripts.generate.outputs import Outputs

FILE = "core/python/currant/_base/limits.py"
HEAD = '''"""The range of every value that callers give. Written by `make generate` from core/src/base/limits.rs."""

from currant._base.checks import Range
'''


def outputs() -> Outputs:
    """The module, with a constant for each range and length."""
    from currant._core import lengths, ranges

    numbers = [f"{name.upper()} = Range({_bounds(least, most)})" for name, least, most in ranges()]
    names = [f"{name.upper()}_CHARACTERS = {most:_}" for name, most in lengths()]
    parts = ["", "# Numbers, and durations in seconds.", *numbers, "", "# The most characters of a name.", *names]
    return {FILE: HEAD + "\n".join(parts) + "\n"}


def _bounds(least: float, most: float) -> str:
    if least == sys.float_info.min:  # how Rust says "more than 0"
        return f"0, {_number(most)}, above=True"
    return f"{_number(least)}, {_number(most)}"


def _number(value: float) -> str:
    return f"{int(value):_}" if value.is_integer() and abs(value) < 1e10 else f"{value:g}".replace("e+", "e")
