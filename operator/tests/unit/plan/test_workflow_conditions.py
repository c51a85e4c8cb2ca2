"""Each thing that can be the matter with a workflow: the condition that tells of it, in words that say what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from currant_operator.plan.definitions import definition
from currant_operator.plan.observations import (
    Applied,
    DatabaseMigrating,
    DatabaseUnknown,
    DatabaseUnreachable,
    DatabaseUrlInvalid,
    MigrationFailed,
    SchemaTooNew,
    SecretKeyMissing,
    SecretMissing,
    SecretUnknown,
    Worker,
    WorkflowStats,
)
from currant_operator.plan.workflow import plan_workflow
from worlds import (
    NOW,
    REACHABLE,
    WorkflowWorld,
    at,
    condition,
    observed_workflow,
    pool,
    workflow,
    workflow_body,
)

Body = dict[str, Any]
OTHERS = {"function": "shop.orders.process_order", "owner": "shop/older"}
STORED = (definition(workflow()),)


def worker(*workflows: str, tasks: tuple[str, ...] = ()) -> tuple[Worker, ...]:
    return (Worker(id="w", name="w", pool="shop/orders", workflows=workflows, tasks=tasks),)


# name: (what is seen, Ready's reason, what its message says in this order, Registered's status)
NOT_READY: dict[str, tuple[Body, str, list[str], str]] = {
    "no pool": (
        {"pool": None, "database": DatabaseUnknown(), "secret": SecretUnknown(), "workers": None, "definitions": None},
        "PoolNotFound",
        ["there is no WorkerPool orders in namespace shop", "make it"],
        "False",
    ),
    "no secret": (
        {"secret": SecretMissing()},
        "SecretNotFound",
        ["of WorkerPool orders: there is no Secret currant-db"],
        "True",
    ),
    "no key": ({"secret": SecretKeyMissing()}, "SecretKeyNotFound", ["under the key url"], "True"),
    "wrong URL": ({"secret": DatabaseUrlInvalid("no host")}, "DatabaseUrlInvalid", ["no host"], "True"),
    "database down": (
        {"database": DatabaseUnreachable("refused"), "workers": None, "definitions": None},
        "DatabaseUnreachable",
        ["of WorkerPool orders: the database does not answer: refused"],
        "Unknown",
    ),
    "schema too new": (
        {"database": SchemaTooNew("upgrade the operator")},
        "SchemaTooNew",
        ["upgrade the operator"],
        "True",
    ),
    "migrating": ({"database": DatabaseMigrating()}, "Migrating", ["is being brought up"], "True"),
    "migration failed": ({"database": MigrationFailed("no right")}, "MigrationFailed", ["no right"], "True"),
    "not written yet": ({}, "Progressing", ["the definition is being written"], "True"),
    "two claim the function": (
        {"definitions": (OTHERS,)},
        "OwnedByAnother",
        ["shop.orders.process_order is defined by the Workflow shop/older already", "delete one of the two"],
        "True",
    ),
    "another was first": (
        {"applied": Applied("taken", "shop/older")},
        "OwnedByAnother",
        ["the Workflow shop/older"],
        "True",
    ),
    "time zone": (
        {"applied": Applied("invalid", None, 'schedule nightly: there is no time zone "Mars/Base"')},
        "InvalidSchedule",
        ['schedule nightly: there is no time zone "Mars/Base"'],
        "True",
    ),
    "definition": (
        {"applied": Applied("invalid", None, "priority must be 0 to 10")},
        "InvalidDefinition",
        ["priority must be 0 to 10"],
        "True",
    ),
    "queue": (
        {"workflow": workflow(spec__queue="bulk"), "applied": Applied("applied")},
        "QueueNotServed",
        [
            "WorkerPool orders claims from orders and not from bulk",
            "add bulk to its queues, or write another queue here",
        ],
        "True",
    ),
    "misspelt function": (
        {"definitions": STORED, "workers": worker("shop.orders.proces_order", "shop.mail.send")},
        "FunctionNotServed",
        [
            "no live worker of WorkerPool orders has shop.orders.process_order",
            "they have shop.orders.proces_order, shop.mail.send",
            "did you mean shop.orders.proces_order?",
        ],
        "False",
    ),
    "module not imported": (
        {"definitions": STORED, "workers": worker(*(f"x{number}.y" for number in range(9)))},
        "FunctionNotServed",
        ["they have x0.y, x1.y, x2.y, x3.y, x4.y and 4 more", "add its module to those of WorkerPool orders"],
        "False",
    ),
    "workers of nothing": (
        {"definitions": STORED, "workers": worker()},
        "FunctionNotServed",
        ["they have none"],
        "False",
    ),
}


@pytest.mark.parametrize(("seen", "reason", "parts", "registered"), NOT_READY.values(), ids=NOT_READY.keys())
def test_what_is_the_matter_is_said_with_what_to_do(seen: Body, reason: str, parts: list[str], registered: str) -> None:
    status = plan_workflow(observed_workflow(**seen)).status
    ready, shown, message = condition(status, "Ready")
    assert (ready, shown) == ("False", reason)
    place = 0
    for part in parts:
        place = message.find(part, place)
        assert place >= 0, f"{part!r} is not in: {message}"
    assert condition(status, "Registered")[0] == registered


@pytest.mark.parametrize(("seen", "reason", "parts", "registered"), NOT_READY.values(), ids=NOT_READY.keys())
def test_each_problem_is_one_warning_and_only_once(seen: Body, reason: str, parts: list[str], registered: str) -> None:
    plan = plan_workflow(observed_workflow(**seen))
    calm = reason in ("Progressing", "Migrating")
    assert [(event.type, event.reason) for event in plan.events] == ([] if calm else [("Warning", reason)])
    body = seen.get("workflow") or workflow()

    again = plan_workflow(observed_workflow(**{**seen, "workflow": replace(body, status=plan.status)}))
    assert again.events == []
    assert again.status_write == "none"


def test_a_workflow_that_is_written_and_served_is_ready() -> None:
    world = WorkflowWorld()
    world.settle()
    assert condition(world.body["status"], "Ready")[:2] == ("True", "Applied")
    assert condition(world.body["status"], "Registered")[:2] == ("True", "Served")
    assert "finalizers" not in world.body["metadata"], "with one, a namespace that loses its operator never goes"


def test_a_suspended_workflow_is_ready_and_says_that_its_runs_wait() -> None:
    world = WorkflowWorld(workflow_body(spec__suspended=True), given={"stats": WorkflowStats(next_schedule=NOW)})
    world.settle()
    assert condition(world.body["status"], "Ready")[:2] == ("True", "Suspended")
    assert "nextScheduleTime" not in world.body["status"]


def test_while_its_pool_sleeps_nobody_knows_whether_a_function_is_served() -> None:
    status = plan_workflow(observed_workflow(definitions=STORED, workers=())).status
    assert condition(status, "Registered")[:2] == ("Unknown", "NoWorkers")
    assert condition(status, "Ready")[:2] == ("True", "Applied")


def test_a_task_may_have_a_definition_too() -> None:
    seen = {"definitions": STORED, "workers": worker(tasks=("shop.orders.process_order",))}
    assert condition(plan_workflow(observed_workflow(**seen)).status, "Registered")[0] == "True"


def test_an_operator_that_has_just_started_does_not_unsay_what_was_known() -> None:
    world = WorkflowWorld()
    world.settle()
    world.given = {
        "secret": SecretUnknown(),
        "database": DatabaseUnknown(),
        "definitions": None,
        "workers": None,
        "stats": None,
    }
    plan = world.plan()
    assert plan.status_write == "none"
    assert plan.definition is None
    assert condition(plan_workflow(observed_workflow(**world.given)).status, "Ready")[:2] == ("Unknown", "NotYetKnown")


def test_runs_and_times_are_shown_and_counts_alone_are_not_written_in_a_hurry() -> None:
    world = WorkflowWorld()
    world.settle()
    stats = WorkflowStats(pending=3, completed=12345, last_schedule=NOW, next_schedule=NOW + timedelta(days=1))
    world.given = {"stats": stats}
    world.carry_out(world.plan())
    status = world.body["status"]
    assert (status["runs"]["pending"], status["runs"]["completed"]) == (3, 12300)
    assert status["lastScheduleTime"] == at(NOW)
    assert status["nextScheduleTime"] == at(NOW + timedelta(days=1))
    world.given = {
        "stats": WorkflowStats(pending=4, completed=12399, last_schedule=NOW, next_schedule=NOW + timedelta(days=1))
    }
    assert world.plan().status_write == "later"


def test_a_definition_that_was_changed_in_the_database_is_put_back() -> None:
    world = WorkflowWorld()
    world.settle()
    world.stored[0]["queue"] = "stolen"
    assert world.plan().definition is not None
    world.settle()
    assert "queue" not in world.stored[0]


def test_a_definition_that_is_gone_from_the_database_is_written_again() -> None:
    world = WorkflowWorld()
    world.settle()
    world.stored.clear()
    world.settle()
    assert [item["owner"] for item in world.stored] == ["shop/process-order"]


def test_the_loser_of_two_gets_the_function_when_the_winner_lets_go() -> None:
    world = WorkflowWorld(stored=[dict(OTHERS)])
    world.settle()
    assert world.plan().requeue_after == 60
    world.stored.clear()
    world.settle()
    assert condition(world.body["status"], "Ready")[1] == "Applied"


def test_runs_of_the_function_that_do_not_fit_the_code_are_counted_and_shown() -> None:
    seen = observed_workflow(incompatible={"shop.orders.process_order": 2, "shop.other": 9})
    status = plan_workflow(seen).status
    assert status["runs"]["incompatible"] == 2
    shown = condition(status, "RunsCompatible")
    assert shown[:2] == ("False", "IncompatibleRuns")
    assert "2 runs do not fit the code that is deployed (2 of shop.orders.process_order)" in shown[2]
    others = plan_workflow(observed_workflow(incompatible={"shop.other": 9})).status
    assert condition(others, "RunsCompatible")[0] == "True"


# Deleting


def deleted() -> WorkflowWorld:
    world = WorkflowWorld()
    world.settle()
    world.body["metadata"]["deletionTimestamp"] = at(NOW)
    return world


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"pool": None, "secret": SecretUnknown(), "database": REACHABLE},
        {"database": DatabaseUnreachable("refused"), "definitions": None},
        {"secret": SecretMissing(), "database": DatabaseUnknown(), "definitions": None},
    ],
)
def test_a_workflow_that_is_being_deleted_loses_its_definition_whatever_is_the_matter(given: Body) -> None:
    world = deleted()
    world.given = given
    plan = world.plan()
    assert (plan.delete_definition, plan.definition, plan.events) == (True, None, [])
    assert plan.status == world.body["status"]


def test_a_pool_is_searched_for_in_the_workflows_own_namespace_only() -> None:
    assert pool().namespace == workflow().namespace
    message = condition(plan_workflow(observed_workflow(pool=None)).status, "Ready")[2]
    assert "in namespace shop" in message
