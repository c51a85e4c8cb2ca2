"""A pool on its way to another template: which pods count, and when it is ready."""

from __future__ import annotations

from typing import Any

import pytest

from worlds import World, condition, converged, crashed, importing, later, pod, rolling, with_pods

Body = dict[str, Any]


def test_a_rollout_whose_new_pods_crash_is_not_ready_though_the_old_ones_are() -> None:
    world = converged()
    world.pods.append(crashed("error: no module shop.orders", name="orders-new"))
    assert world.deployment is not None
    world.deployment["status"] = {"observedGeneration": 99, "replicas": 3, "updatedReplicas": 1}
    assert condition(world.plan().status, "Ready")[1] == "ImportFailed"


def test_a_rollout_on_its_way_counts_the_new_pods_and_the_old_ones() -> None:
    world = rolling(converged(), updated=1)
    assert condition(world.plan().status, "Ready") == (
        "False",
        "Progressing",
        "1 of 2 pods are of the newest template, and 2 of an older one are kept until these are ready",
    )
    assert not world.plan().rolled_out


def one_pod(new: Body, **status: int) -> World:
    """A pool of one pod whose old pod is ready, while the new one is there."""
    world = converged(spec__scaling={"mode": "Fixed", "replicas": 1})
    world.pods = [pod("orders-old"), new]
    assert world.deployment is not None
    world.deployment["status"] |= {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1, **status}
    return world


def test_a_pool_of_one_pod_is_not_ready_while_its_new_pod_is_not() -> None:
    """The one of the newest template is there, and so are as many ready ones as wanted: an old one."""
    for new, reason in [
        (importing(5, "orders-new"), "Progressing"),
        (importing(130, "orders-new"), "ImportSlow"),
        (crashed("", exit_code=3, name="orders-new"), "CrashLooping"),
    ]:
        plan = one_pod(new).plan()
        assert condition(plan.status, "Ready")[:2] == ("False", reason)
        assert not plan.rolled_out


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True),
        ({"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}, False),  # an old one is there
        ({"replicas": 1, "updatedReplicas": 0, "availableReplicas": 1}, False),  # no new one is
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}, False),  # it is not available
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 0}, False),
    ],
)
def test_ready_means_what_kubectl_rollout_status_means(status: dict[str, int], done: bool) -> None:
    plan = one_pod(pod("orders-new"), **status).plan()
    assert plan.rolled_out == done
    assert condition(plan.status, "Ready")[0] == str(done)
    assert plan.status["observedGeneration"] == plan.status["conditions"][0]["observedGeneration"] == 1


def test_a_slow_import_is_shown_in_steps_and_it_is_counted_again_for_each() -> None:
    assert with_pods(importing(20)).plan().requeue_after == 40
    world = with_pods(importing(60))
    world.carry_out(world.plan())
    world.pods = [importing(60)]
    assert world.plan().requeue_after == 60
    world.now = later(59)
    assert world.plan().status_write == "none"
    world.now = later(61)
    assert "for 2m" in condition(world.plan().status, "Ready")[2]


def test_a_change_that_is_not_applied_yet_is_not_ready() -> None:
    world = converged()
    world.body["spec"]["image"] = "registry.example/shop-worker:2"
    assert condition(world.plan().status, "Ready")[:2] == ("False", "Progressing")
