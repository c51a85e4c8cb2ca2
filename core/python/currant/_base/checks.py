"""Numbers, names and durations that users give, checked where they are given."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, NamedTuple


class Range(NamedTuple):
    """Numbers from `least` to `most`; `above`: without `least` itself."""

    least: float
    most: float
    above: bool = False

    def bounds(self, value: float) -> str:
        """The range in words. When its upper end is out of reach, only the bound that `value` missed."""
        if self.most < _LONGEST:
            return f"from {self.least:g} to {self.most:g}"
        if self.most < value < math.inf:
            return f"at most {self.most:g}"
        return f"{'above' if self.above else 'at least'} {self.least:g}"


_LONGEST = 1e10  # seconds: where the ranges of durations end


def number(value: Any, what: str, range: Range) -> float:
    """Check a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number, not {value!r}")
    if not range.least <= value <= range.most or (range.above and value == range.least):
        raise ValueError(f"{what} must be {range.bounds(value)}, not {value!r}")
    return float(value)


def whole_number(value: Any, what: str, range: Range) -> int:
    """Check a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, not {value!r}")
    if not range.least <= value <= range.most:
        raise ValueError(f"{what} must be from {range.least} to {range.most}, not {value}")
    return value


def text(value: Any, what: str, longest: int = 200) -> str:
    """Check a name or key: 1 to `longest` characters that Postgres can store."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a string, not {value!r}")
    if not 1 <= len(value) <= longest:
        raise ValueError(f"{what} must have 1 to {longest} characters, not {len(value)}")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{what} cannot hold a NUL or a lone surrogate: {value!r}")
    return value


def seconds(value: Any, what: str, range: Range) -> float:
    """Check a duration: seconds, or a timedelta."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return number(value, what, range)


def waiting_time(value: Any, what: str) -> Any:
    """Check how long to wait, and return it in seconds: a number or a timedelta. None and infinity are for ever."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        is_number = value is None or not math.isnan(value)
    except TypeError:
        raise TypeError(f"{what} is seconds or a timedelta, not {value!r}") from None
    if not is_number:
        raise ValueError(f"{what} is seconds or a timedelta, not {value!r}")
    return value
