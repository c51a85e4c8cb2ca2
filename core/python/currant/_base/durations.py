"""Durations as people write them, on the command line and in manifests."""

from __future__ import annotations

import re

__all__ = ["parse_duration"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `500ms`, `30s`, `1h30m`, `7d`. Raises `ValueError`."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"write a duration such as 30s, 5m, 1h30m or 7d, not {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
