"""How many pods a pool has."""

from __future__ import annotations

import pytest

from currant_operator.resources import Mode, Scaling
from currant_operator.scaling import decide


@pytest.mark.parametrize("mode", ["Fixed", "External"])
@pytest.mark.parametrize("current", [None, 0, 9])
def test_a_fixed_or_external_pool_has_as_many_as_is_written(mode: Mode, current: int | None) -> None:
    decision = decide(Scaling(mode=mode, replicas=4, max_replicas=2), current, can_work=True)
    assert (decision.desired, decision.limited_by, decision.active) == (4, None, True)


@pytest.mark.parametrize(("low", "high", "wanted"), [(0, 10, 1), (3, 10, 3), (10, 10, 10)])
def test_a_native_pool_is_held_at_its_lower_bound_but_at_one_at_least(low: int, high: int, wanted: int) -> None:
    decision = decide(Scaling(mode="Native", min_replicas=low, max_replicas=high), 7, can_work=True)
    assert decision.desired == wanted
    assert decision.inactive_reason == "NotYetImplemented"


@pytest.mark.parametrize("current", [None, 0])
def test_no_pool_begins_before_its_database_can_be_used(current: int | None) -> None:
    decision = decide(Scaling(mode="Fixed", replicas=4), current, can_work=False)
    assert (decision.desired, decision.limited_by) == (0, "database")


def test_a_native_pool_does_not_shrink_while_its_database_cannot_be_seen() -> None:
    decision = decide(Scaling(mode="Native"), 7, can_work=False)
    assert (decision.desired, decision.limited_by) == (7, "database")


def test_the_owner_may_shrink_a_pool_at_any_time() -> None:
    assert decide(Scaling(mode="Fixed", replicas=0), 7, can_work=False).desired == 0


@pytest.mark.parametrize("mode", ["Native", "Fixed", "External"])
def test_a_paused_pool_keeps_what_it_has(mode: Mode) -> None:
    decision = decide(Scaling(mode=mode, replicas=2, paused=True), 7, can_work=True)
    assert (decision.desired, decision.limited_by, decision.inactive_reason) == (7, "paused", "Paused")
