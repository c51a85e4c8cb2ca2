"""The few statistics of the suite."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Several rounds of one figure."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary | None:
        """None when there is no value: every round was void."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the least value that at least `percent` of the values do not exceed.

    Raises `ValueError` without values, or when `percent` is not above 0 and at most 100.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent}th percentile of {len(values)} values")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def ratio(candidate: Summary | None, limit: Summary | None) -> float | None:
    """The candidate's median in units of the limit's; None when either is missing or the limit is 0."""
    if candidate is None or limit is None or limit.median == 0:
        return None
    return candidate.median / limit.median


def order_of(candidates: Sequence[str], round_number: int) -> list[str]:
    """The order in a round (counted from 1): reversed every other round, so that no candidate always goes first."""
    return list(candidates) if round_number % 2 else list(reversed(candidates))
