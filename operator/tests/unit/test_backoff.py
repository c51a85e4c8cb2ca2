"""Delays after failures."""

from __future__ import annotations

import pytest

from currant_operator.backoff import Backoff


def test_delays_double_up_to_the_cap_and_are_never_longer():
    longest = Backoff(0.5, 60, 0.3, lambda low, high: low)
    assert [longest.delay(failures) for failures in (0, 1, 2, 6, 7, 10_000)] == [0.5, 1, 2, 32, 60, 60]
    shortest = Backoff(0.5, 60, 0.3, lambda low, high: high)
    assert shortest.delay(0) == pytest.approx(0.35)
    assert shortest.delay(10_000) == pytest.approx(42)
