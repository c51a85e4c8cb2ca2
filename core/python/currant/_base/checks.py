"""Numbers, names and durations that users give, checked where they are given."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any


def number(value: Any, what: str, least: float, most: float = math.inf, above: bool = False) -> float:
    """Check a number; `above`: it must be more than `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number, not {value!r}")
    fits = math.isfinite(value) and least <= value <= most and not (above and value == least)
    if not fits:
        bounds = (
            f"from {least:g} to {most:g}" if math.isfinite(most) else f"{'above' if above else 'at least'} {least:g}"
        )
        raise ValueError(f"{what} must be {bounds}, not {value!r}")
    return float(value)


def whole_number(value: Any, what: str, least: int, most: int = 2**31 - 1) -> int:
    """Check a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {value}")
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


def seconds(value: Any, what: str, above: bool = True) -> float:
    """Check a duration: seconds, or a timedelta."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return number(value, what, least=0, above=above)


def waiting_time(value: Any, what: str) -> Any:
    """Check how long to wait, and give it in seconds: a number or a timedelta. None and infinity are for ever."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        is_number = value is None or not math.isnan(value)
    except TypeError:
        raise TypeError(f"{what} is seconds or a timedelta, not {value!r}") from None
    if not is_number:
        raise ValueError(f"{what} is seconds or a timedelta, not {value!r}")
    return value


def signal_name(value: Any) -> str:
    """Check the name of a signal."""
    return text(value, "the name of a signal")
