"""The scaler's wish in the plan of a pool."""

from __future__ import annotations

from typing import Any

import pytest

from currant_operator.plan import pods
from currant_operator.plan.observations import Wish, Worker
from worlds import World, condition, converged, pod

NATIVE = {"mode": "Native", "minReplicas": 0, "maxReplicas": 9}


def native(there: int, /, desired: int | None = None, **wish: Any) -> World:
    """A pool of so many pods, each with its worker, for which the scaler has just decided."""
    world = World(converged(spec__scaling=NATIVE).body)
    world.wish = Wish(there, there, "before")
    world.pods = [pod(f"orders-{number}", metadata__uid=f"uid-{number}") for number in range(there)]
    world.settle()
    world.pods = [pod(f"orders-{number}", metadata__uid=f"uid-{number}") for number in range(there)]
    world.wish = Wish(there if desired is None else desired, **{"replicas": there, "reason": "because", **wish})
    return world


def test_the_number_the_reason_and_the_limit_are_shown_and_the_change_is_an_event() -> None:
    plan = native(2, desired=9, replicas=9, reason="90 ready", limited_by="maxReplicas").plan()
    assert plan.replicas == 9
    shown = plan.status["scaling"]
    assert (shown["desired"], shown["reason"], shown["limitedBy"]) == (9, "90 ready", "maxReplicas")
    assert "lastScaleTime" in shown
    assert condition(plan.status, "ScalingActive") == (
        "True",
        "NativeReplicas",
        "the number of pods follows the queues",
    )
    assert [event.message for event in plan.events if event.reason == "Scaled"] == ["from 2 to 9 pods: 90 ready"]


def test_the_reason_for_a_number_stays_while_the_number_does() -> None:
    plan = native(2, reason="3 ready, since a second ago").plan()
    assert plan.status["scaling"]["reason"] == "before"
    assert plan.status_write == "none"


def test_pods_to_drain_are_asked_and_cost_less_and_none_goes_before_it_is_idle() -> None:
    plan = native(3, desired=2, drain=("orders-1",)).plan()
    assert plan.drain == {"uid-1": True}
    assert plan.deletion_costs == {"orders-1": pods.DRAINING_COST}
    assert plan.replicas is None


def test_the_pod_that_is_idle_costs_least_of_all_and_then_there_are_fewer() -> None:
    world = native(3, desired=2, replicas=2, remove=("orders-1",))
    world.pods[1]["metadata"]["annotations"] = {pods.COST_ANNOTATION: str(pods.DRAINING_COST)}
    plan = world.plan()
    assert plan.deletion_costs == {"orders-1": pods.REMOVED_COST}
    assert plan.replicas == 2


def test_a_pod_that_is_to_go_on_is_asked_to_and_costs_what_others_do() -> None:
    world = native(3, undrain=("orders-1",))
    world.pods[1]["metadata"]["annotations"] = {pods.COST_ANNOTATION: str(pods.DRAINING_COST)}
    plan = world.plan()
    assert (plan.drain, plan.deletion_costs) == ({"uid-1": False}, {"orders-1": None})


def test_a_pool_with_pods_that_drain_is_ready_when_the_others_are() -> None:
    world = native(3, desired=2)
    world.pods[1]["status"]["conditions"][1]["status"] = "False"
    world.workers = (Worker("w", "w", pod_uid="uid-1", draining=True),)
    plan = world.plan()
    assert condition(plan.status, "Ready") == ("True", "AllReplicasReady", "2 of 2 pods are ready")
    assert plan.status["drainingReplicas"] == 1


@pytest.mark.parametrize("scaling", [{"mode": "Fixed", "replicas": 3}, {"mode": "External", "replicas": 3}])
def test_what_drained_goes_on_when_the_scaler_no_longer_decides(scaling: dict[str, Any]) -> None:
    world = native(3)
    world.workers = (Worker("w", "w", pod_uid="uid-1", draining=True),)
    world.body["spec"]["scaling"] = scaling
    world.wish = None
    assert world.plan().drain == {"uid-1": False}


def test_a_paused_pool_drains_nobody() -> None:
    world = native(3, desired=2, drain=("orders-1",))
    world.body["spec"]["scaling"] = {**NATIVE, "paused": True}
    plan = world.plan()
    assert (plan.drain, plan.deletion_costs, plan.replicas) == ({}, {}, None)
