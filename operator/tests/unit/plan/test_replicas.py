"""The number of pods of a pool."""

from __future__ import annotations

import pytest

from currant_operator.plan.observations import Wish
from currant_operator.plan.replicas import decide
from currant_operator.plan.resources import Mode, Scaling

WISH = Wish(desired=5, replicas=7, reason="because", limited_by="maxReplicas")


@pytest.mark.parametrize("mode", ["Fixed", "External"])
@pytest.mark.parametrize("current", [None, 0, 9])
def test_a_fixed_or_external_pool_has_as_many_as_is_written(mode: Mode, current: int | None) -> None:
    decision = decide(Scaling(mode=mode, replicas=4, max_replicas=2), current, can_work=True)
    assert (decision.desired, decision.limited_by, decision.active) == (4, None, True)


def test_a_native_pool_has_what_the_scaler_wants_and_those_that_drain_beside() -> None:
    decision = decide(Scaling(mode="Native", max_replicas=5), 3, can_work=True, wish=WISH)
    assert (decision.desired, decision.asked, decision.reason, decision.limited_by) == (5, 7, "because", "maxReplicas")


@pytest.mark.parametrize(("current", "wanted"), [(None, 2), (0, 0), (7, 7)])
def test_a_native_pool_is_left_alone_until_its_queues_are_known(current: int | None, wanted: int) -> None:
    decision = decide(Scaling(mode="Native", min_replicas=2), current, can_work=True)
    assert (decision.desired, decision.asked) == (wanted, wanted)


@pytest.mark.parametrize("current", [None, 0])
def test_no_pool_begins_before_its_database_can_be_used(current: int | None) -> None:
    decision = decide(Scaling(mode="Fixed", replicas=4), current, can_work=False)
    assert (decision.desired, decision.limited_by) == (0, "database")


@pytest.mark.parametrize("wish", [None, Wish(0, 0, "no work"), Wish(3, 8, "draining")])
def test_a_native_pool_does_not_change_while_its_database_cannot_be_reached(wish: Wish | None) -> None:
    decision = decide(Scaling(mode="Native"), 7, can_work=False, wish=wish)
    assert decision.asked == 7


def test_the_owner_may_shrink_a_pool_at_any_time() -> None:
    assert decide(Scaling(mode="Fixed", replicas=0), 7, can_work=False).desired == 0


@pytest.mark.parametrize("mode", ["Native", "Fixed", "External"])
def test_a_paused_pool_keeps_what_it_has(mode: Mode) -> None:
    decision = decide(Scaling(mode=mode, replicas=2, paused=True), 7, can_work=True, wish=WISH)
    assert (decision.asked, decision.limited_by, decision.inactive_reason) == (7, "paused", "Paused")


@pytest.mark.parametrize(("current", "number"), [(None, 1), (0, 1), (1, 1), (6, 6)])
def test_an_external_pool_without_a_number_begins_with_one_and_never_loses_what_is_there(
    current: int | None, number: int
) -> None:
    assert decide(Scaling(mode="External"), current, can_work=True).desired == number
