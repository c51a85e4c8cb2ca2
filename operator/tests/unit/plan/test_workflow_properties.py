"""Properties of every plan of a workflow, whatever has been observed."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from currant_operator.plan.observations import (
    DatabaseMigrating,
    DatabaseReachable,
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
from worlds import FOUND, NOW, REACHABLE, WorkflowWorld, at, is_nothing, pool, workflow_body

Body = dict[str, Any]
NAMES = ("shop.orders.process_order", "shop.orders.process_orders", "shop.mail.send")
WORKERS = st.none() | st.lists(
    st.builds(
        lambda name, workflows, tasks: Worker(id=name, name=name, workflows=tuple(workflows), tasks=tuple(tasks)),
        st.sampled_from("abcdef"),
        st.lists(st.sampled_from(NAMES)),
        st.lists(st.sampled_from(NAMES)),
    ),
    max_size=4,
).map(tuple)
SEEN = st.fixed_dictionaries(
    {
        "pool": st.sampled_from([None, pool(), pool(spec__queues=["a", "b"])]),
        "secret": st.sampled_from(
            [FOUND, FOUND, SecretUnknown(), SecretMissing(), SecretKeyMissing(), DatabaseUrlInvalid("x")]
        ),
        "database": st.sampled_from(
            [
                REACHABLE,
                REACHABLE,
                DatabaseUnknown(),
                DatabaseMigrating(),
                DatabaseUnreachable("x"),
                SchemaTooNew("x"),
                MigrationFailed("x"),
            ]
        ),
        "stats": st.none()
        | st.builds(WorkflowStats, completed=st.integers(0, 10**9), next_schedule=st.sampled_from([None, NOW])),
        "workers": WORKERS,
    }
)


@st.composite
def worlds(draw: st.DrawFn) -> WorkflowWorld:
    """Any workflow with any surroundings: not written, written, changed, taken by another; wanted or being deleted."""
    changes: Body = draw(
        st.sampled_from(
            [{}, {"spec__suspended": True}, {"spec__queue": "c"}, {"spec__schedules": []}, {"spec__retention": "7d"}]
        )
    )
    world = WorkflowWorld(workflow_body(**changes))
    if draw(st.booleans()):
        world.settle()
        world.stored = draw(st.sampled_from([world.stored, [], [{**world.stored[0], "queue": "changed"}]]))
    if draw(st.booleans()):
        world.stored = [*world.stored, {"function": NAMES[draw(st.integers(0, 1))], "owner": "shop/older"}]
    if draw(st.booleans()):
        world.body["metadata"]["generation"] = 2
    if draw(st.booleans()):
        world.body["metadata"]["deletionTimestamp"] = at(NOW)
    world.given = draw(SEEN)
    if not isinstance(world.given["database"], DatabaseReachable):
        world.given["definitions"] = None
    return world


@given(worlds())
def test_the_same_observation_gives_the_same_plan(world: WorkflowWorld) -> None:
    observed = world.observe()
    before = copy.deepcopy(observed)
    assert plan_workflow(observed) == plan_workflow(observed)
    assert observed == before


@given(worlds())
def test_once_carried_out_there_is_nothing_left_to_do(world: WorkflowWorld) -> None:
    world.settle()
    plan = world.plan()
    assert is_nothing(plan) or (plan.delete_definition and not world.defined)


@given(worlds(), st.randoms())
def test_the_order_in_which_things_are_observed_does_not_matter(world: WorkflowWorld, chance: random.Random) -> None:
    observed = world.observe()
    workers = list(observed.workers or ())
    definitions = list(observed.definitions or ())
    chance.shuffle(workers)
    chance.shuffle(definitions)
    shuffled = replace(
        observed,
        workers=None if observed.workers is None else tuple(workers),
        definitions=None if observed.definitions is None else tuple(definitions),
    )
    assert plan_workflow(shuffled) == plan_workflow(observed)


@given(worlds())
def test_a_definition_is_only_written_to_a_database_that_can_be_used(world: WorkflowWorld) -> None:
    plan = world.plan()
    if plan.definition is not None:
        assert isinstance(world.given["database"], DatabaseReachable)
        assert "deletionTimestamp" not in world.body["metadata"]
        assert plan.definition["owner"] == "shop/process-order"


@given(worlds())
def test_the_definition_of_another_workflow_is_never_touched(world: WorkflowWorld) -> None:
    others = [item for item in world.stored if item["owner"] == "shop/older"]
    world.settle()
    assert [item for item in world.stored if item["owner"] == "shop/older"] == others


@given(worlds())
def test_every_condition_is_there_with_a_reason_and_one_line(world: WorkflowWorld) -> None:
    deleting = "deletionTimestamp" in world.body["metadata"]
    status = world.plan().status
    if deleting and not status.get("conditions"):
        return
    assert [condition["type"] for condition in status["conditions"]] == ["Ready", "Registered", "RunsCompatible"]
    for condition in status["conditions"]:
        assert condition["reason"].isalnum()
        assert condition["message"].strip() == condition["message"] != ""
        assert "\n" not in condition["message"]


@given(worlds())
def test_a_workflow_that_is_being_deleted_has_no_definition_in_the_end_and_is_never_written(
    world: WorkflowWorld,
) -> None:
    world.body["metadata"]["deletionTimestamp"] = at(NOW)
    assert world.plan().definition is None
    world.settle()
    assert not world.defined


settings.register_profile("operator", max_examples=100, deadline=None)
settings.load_profile("operator")
