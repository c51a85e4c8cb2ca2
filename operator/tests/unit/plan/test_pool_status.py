"""The numbers, times and messages of a pool's status, and its incompatible runs."""

from __future__ import annotations

from currant_operator.plan.observations import DatabaseUnreachable, MigrationFailed, QueueStats
from worlds import NOW, assert_in_order, at, condition, converged, later


def test_a_pool_that_others_hold_while_it_is_being_deleted_says_which_pods_it_waits_for() -> None:
    world = converged()
    world.body["metadata"]["deletionTimestamp"] = at(NOW)
    for each in world.pods:
        each["metadata"]["deletionTimestamp"] = at(NOW)
    plan = world.plan()
    assert plan.replicas == 0
    assert condition(plan.status, "Ready") == (
        "False",
        "Draining",
        "2 pods finish what they run (orders-0, orders-1), for up to 300 s",
    )
    assert plan.status["drainingReplicas"] == 2


def test_the_message_of_a_database_is_shown_as_it_is_and_never_longer_than_a_line() -> None:
    world = converged()
    world.database = DatabaseUnreachable("no\nanswer " + "x" * 5000)
    message = condition(world.plan().status, "DatabaseReachable")[2]
    assert message.startswith("the database does not answer: no answer xxx")
    assert len(message) <= 600


def test_counts_alone_are_not_written_in_a_hurry() -> None:
    world = converged()
    world.queue = QueueStats(ready=12345, due=3, running=101, oldest_ready_seconds=44.4)
    plan = world.plan()
    assert plan.status["queue"] == {"ready": 12000, "due": 3, "running": 100, "oldestReadySeconds": 30}
    assert plan.status_write == "later"
    world.carry_out(plan)
    world.queue = QueueStats(ready=12399, due=3, running=104, oldest_ready_seconds=59)
    assert world.plan().status_write == "none"


def test_the_counts_of_before_stay_until_they_are_counted_again_and_go_when_the_database_is_away() -> None:
    world = converged()
    world.queue = QueueStats(5, 0, 0, 1)
    world.carry_out(world.plan())
    world.queue = None
    assert world.plan().status["queue"]["ready"] == 5
    world.database = DatabaseUnreachable("x")
    assert "queue" not in world.plan().status


def test_another_number_of_pods_is_an_event_and_a_time() -> None:
    world = converged()
    world.body["spec"]["scaling"]["replicas"] = 5
    world.now = later(100)
    plan = world.plan()
    assert plan.replicas == 5
    assert [event.message for event in plan.events] == ["from 2 to 5 pods: scaling.replicas is 5 (mode Fixed)"]
    assert plan.status["scaling"] == {
        "desired": 5,
        "reason": "scaling.replicas is 5 (mode Fixed)",
        "lastScaleTime": at(later(100)),
    }


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    world = converged()
    world.now = later(100)
    world.database = DatabaseUnreachable("a")
    world.carry_out(world.plan())
    world.now = later(200)
    world.database = MigrationFailed("b")
    times = {item["type"]: item["lastTransitionTime"] for item in world.plan().status["conditions"]}
    assert times["Ready"] == at(later(100))  # False all the time, of another reason
    assert times["DatabaseReachable"] == at(later(200))
    assert times["ScalingActive"] == at(NOW)


def test_incompatible_runs_are_counted_shown_and_an_event_until_they_are_gone() -> None:
    world = converged()
    world.incompatible = {}
    world.settle()
    assert condition(world.body["status"], "RunsCompatible") == (
        "True",
        "AllFit",
        "every run fits the code that is deployed",
    )
    world.incompatible = {"shop.g": 1, "shop.f": 2}
    plan = world.plan()
    assert plan.status["incompatibleRuns"] == 3
    status, reason, message = condition(plan.status, "RunsCompatible")
    assert (status, reason) == ("False", "IncompatibleRuns")
    assert_in_order(
        message,
        [
            "3 runs do not fit the code that is deployed (2 of shop.f, 1 of shop.g)",
            "kubectl -n shop exec deploy/orders -- currant list --incompatible",
            "while the pool has no pods, exec deploy/currant-cli",
        ],
    )
    assert [(event.type, event.reason) for event in plan.events] == [("Warning", "IncompatibleRuns")]
    assert condition(plan.status, "Ready")[0] == "True", "its pods are"
    world.carry_out(plan)
    world.incompatible = None  # the database does not tell
    assert world.plan().status["incompatibleRuns"] == 3
    assert condition(world.plan().status, "RunsCompatible")[0] == "False"
    world.incompatible = {}
    assert condition(world.plan().status, "RunsCompatible")[0] == "True"
    assert world.plan().status["incompatibleRuns"] == 0
