"""Properties of every plan of a pool, whatever has been observed."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from currant_operator.plan.manifests import belongs
from currant_operator.plan.observations import (
    DatabaseMigrating,
    DatabaseReachable,
    DatabaseState,
    DatabaseUnknown,
    DatabaseUnreachable,
    DatabaseUrlInvalid,
    MigrationFailed,
    ObservedPool,
    QueueStats,
    Rejection,
    SchemaTooNew,
    SecretFound,
    SecretKeyMissing,
    SecretMissing,
    SecretState,
    SecretUnknown,
    Worker,
)
from currant_operator.plan.plans import UNCHANGED
from currant_operator.plan.pool import plan_pool
from worlds import (
    FOUND,
    NAMESPACE,
    NOW,
    POOL_UID,
    REACHABLE,
    World,
    at,
    converged,
    crashed,
    is_empty,
    pod,
    pool_body,
    waiting,
)

Body = dict[str, Any]
SECRETS: st.SearchStrategy[SecretState] = st.sampled_from(
    [
        FOUND,
        SecretUnknown(),
        SecretUnknown("forbidden"),
        SecretMissing(),
        SecretKeyMissing(("a",)),
        DatabaseUrlInvalid("x"),
    ]
)
DATABASES: st.SearchStrategy[DatabaseState] = st.sampled_from(
    [
        REACHABLE,
        DatabaseUnknown(),
        DatabaseMigrating(),
        DatabaseUnreachable("refused"),
        SchemaTooNew("upgrade"),
        MigrationFailed("no right"),
    ]
)
QUEUES = st.none() | st.builds(
    QueueStats,
    ready=st.integers(0, 10**7),
    due=st.integers(0, 10**7),
    running=st.integers(0, 10**5),
    oldest_ready_seconds=st.floats(0, 1e7) | st.just(float("nan")),
)
NATIVE = st.builds(
    lambda low, more, paused: {
        "mode": "Native",
        "minReplicas": low,
        "maxReplicas": max(1, low + more),
        "paused": paused,
    },
    st.integers(0, 5),
    st.integers(0, 5),
    st.booleans(),
)
GIVEN = st.builds(
    lambda mode, replicas, paused: {"mode": mode, "replicas": replicas, "paused": paused},
    st.sampled_from(["Fixed", "External"]),
    st.integers(0, 5),
    st.booleans(),
) | st.builds(lambda paused: {"mode": "External", "paused": paused}, st.booleans())
TEMPLATES: list[Body] = [
    {},
    {"metadata": {"labels": {"team": "a"}, "annotations": {"x/y": "z"}}},
    {"spec": {"serviceAccountName": "mine"}},
    {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}}]}},
    {"spec": {"containers": [{"name": "log", "image": "log:1"}], "volumes": [{"name": "tmp", "emptyDir": None}]}},
]
SETTLED = [converged(spec__template=template) for template in TEMPLATES]
settings.register_profile("operator", max_examples=100, deadline=None)
settings.load_profile("operator")


@st.composite
def pods(draw: st.DrawFn) -> list[Body]:
    """Pods of every kind, named apart."""
    kinds = [
        lambda name: pod(name),
        lambda name: pod(name, ready=False),
        lambda name: pod(name, metadata__deletionTimestamp=at(NOW)),
        lambda name: pod(name, status__phase="Failed"),
        lambda name: waiting("ImagePullBackOff", "no such image", name),
        lambda name: crashed("error: module a cannot be imported: x", name=name),
        lambda name: crashed("", "OOMKilled", 137, name),
        lambda name: crashed("panic\n", name=name),
    ]
    chosen = draw(st.lists(st.sampled_from(kinds), max_size=5))
    return [kind(f"orders-{number}") for number, kind in enumerate(chosen)]


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """A pool's object, wanted or being deleted."""
    body = pool_body(spec__scaling=draw(NATIVE | GIVEN), spec__template=copy.deepcopy(draw(st.sampled_from(TEMPLATES))))
    body["metadata"]["generation"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        body["metadata"]["finalizers"] = ["other/finalizer"]
        if draw(st.booleans()):
            body["metadata"]["deletionTimestamp"] = at(NOW - timedelta(seconds=draw(st.integers(0, 1000))))
    return body


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any pool with any surroundings: objects that are missing, ours, changed by hand, or somebody else's."""
    world = copy.deepcopy(draw(st.sampled_from(SETTLED)))
    status = world.body["status"]
    world.body = draw(bodies())
    if draw(st.booleans()):
        world.body["status"] = status
    for attribute in ("deployment", "service_account", "pod_disruption_budget"):
        setattr(world, attribute, draw(st.sampled_from(VARIANTS))(getattr(world, attribute)))
    if world.deployment is not None:
        world.deployment["spec"]["replicas"] = draw(st.integers(0, 5))
    world.pods = draw(pods())
    world.secret, world.database, world.queue = draw(SECRETS), draw(DATABASES), draw(QUEUES)
    return world


def _as_it_is(live: Body | None) -> Body | None:
    return live


def _missing(live: Body | None) -> None:
    return None


def _edited(live: Body | None) -> Body | None:
    if live is None:
        return None
    live["metadata"]["labels"]["app.kubernetes.io/name"] = "edited"
    return live


def _foreign(live: Body | None) -> Body | None:
    if live is None:
        return None
    live["metadata"] |= {"ownerReferences": [{"kind": "App", "name": "x", "uid": "other", "controller": True}]}
    return live


def _unlabelled(live: Body | None) -> Body | None:
    if live is None:
        return None
    live["metadata"] |= {"ownerReferences": [], "labels": {}}
    return live


VARIANTS = [_as_it_is, _missing, _edited, _foreign, _unlabelled]


@given(worlds())
def test_the_same_observation_gives_the_same_plan(world: World) -> None:
    assert plan_pool(world.observe()) == plan_pool(world.observe())


@given(worlds())
def test_a_plan_changes_nothing_of_what_was_observed(world: World) -> None:
    observed = world.observe()
    before = copy.deepcopy((observed.deployment, observed.pods, observed.pool.status, observed.pool.spec.template))
    plan_pool(observed)
    assert before == (observed.deployment, observed.pods, observed.pool.status, observed.pool.spec.template)


@given(worlds())
def test_once_carried_out_there_is_nothing_left_to_do(world: World) -> None:
    world.settle()
    assert is_empty(world.plan())


@given(worlds(), st.randoms())
def test_the_order_in_which_things_are_observed_does_not_matter(world: World, chance: random.Random) -> None:
    plan = world.plan()
    chance.shuffle(world.pods)
    observed = world.observe()
    workers = [Worker(id=str(number), name=str(number)) for number in range(3)]
    chance.shuffle(workers)
    assert plan_pool(replace(observed, workers=tuple(workers))) == plan


@given(worlds())
def test_what_is_not_the_pools_is_never_touched(world: World) -> None:
    observed, plan = world.observe(), world.plan()
    live = {
        "Deployment": observed.deployment,
        "ServiceAccount": observed.service_account,
        "PodDisruptionBudget": observed.pod_disruption_budget,
    }
    foreign = {kind for kind, body in live.items() if body is not None and not belongs(observed.pool, body)}
    assert foreign.isdisjoint(manifest["kind"] for manifest in plan.apply)
    assert foreign.isdisjoint(ref.kind for ref in plan.delete)
    if "Deployment" in foreign:
        assert plan.replicas is None


@given(worlds())
def test_all_that_is_applied_belongs_to_the_pool(world: World) -> None:
    for manifest in world.plan().apply:
        assert manifest["metadata"]["namespace"] == NAMESPACE
        assert manifest["metadata"]["ownerReferences"][0]["uid"] == POOL_UID
        assert "managedFields" not in manifest["metadata"]


@given(worlds())
def test_the_replicas_are_within_the_bounds_or_as_they_were(world: World) -> None:
    observed, plan = world.observe(), world.plan()
    if plan.replicas is None or observed.pool.deleting:
        return
    scaling = observed.pool.spec.scaling
    current = (observed.deployment or {"spec": {}})["spec"].get("replicas")
    if scaling.mode == "Native":
        allowed = range(scaling.min_replicas, scaling.max_replicas + 1)
    else:
        number = max(1, current or 0) if scaling.replicas is None else scaling.replicas
        allowed = range(number, number + 1)
    assert plan.replicas in allowed or plan.replicas == (current or 0)


@given(worlds())
def test_a_pool_whose_database_is_not_known_to_work_never_shrinks_by_itself(world: World) -> None:
    observed, plan = world.observe(), world.plan()
    works = isinstance(observed.secret, SecretFound) and isinstance(observed.database, DatabaseReachable)
    owners_word = observed.pool.deleting or observed.pool.spec.scaling.mode != "Native"
    if not works and not owners_word and observed.deployment is not None and plan.replicas is not None:
        assert plan.replicas >= observed.deployment["spec"]["replicas"]


@given(worlds())
def test_every_condition_is_there_with_a_reason_and_one_line(world: World) -> None:
    plan = world.plan()
    kinds = [condition["type"] for condition in plan.status["conditions"]]
    assert kinds == ["Ready", "SchemaReady", "DatabaseReachable", "ScalingActive", "Degraded", "RunsCompatible"]
    for condition in plan.status["conditions"]:
        assert condition["status"] in ("True", "False", "Unknown")
        assert condition["reason"].isalnum()
        assert condition["reason"][0].isupper()
        assert condition["message"].strip() == condition["message"] != ""
        assert "\n" not in condition["message"]


@given(worlds(), st.integers(1, 3600))
def test_time_alone_changes_no_status(world: World, seconds: int) -> None:
    observed = world.observe()
    status = plan_pool(observed).status
    written = replace(observed, pool=_with_status(observed, status))
    after = replace(written, now=NOW + timedelta(seconds=seconds))
    if plan_pool(written).requeue_after is None and not observed.pool.deleting:
        assert plan_pool(after).status == status
        assert plan_pool(after).events == []


def _with_status(observed: ObservedPool, status: Body) -> Any:
    return msgspec.structs.replace(observed.pool, status=status)


@given(worlds())
def test_a_plan_that_waits_for_time_says_for_how_long(world: World) -> None:
    after = world.plan().requeue_after
    assert after is None or after > 0


@given(worlds())
def test_a_pool_that_is_being_deleted_gets_nothing_any_more_and_no_plan_touches_its_finalizers(world: World) -> None:
    before = world.body["metadata"].get("finalizers")
    world.body["metadata"]["deletionTimestamp"] = at(NOW)
    plan = world.plan()
    assert (plan.apply, plan.delete, plan.spec_replicas) == ([], [], UNCHANGED)
    assert plan.replicas in (None, 0)
    world.settle()
    assert world.body["metadata"].get("finalizers") == before


@given(worlds())
def test_a_refused_apply_is_shown_and_changes_nothing_else(world: World) -> None:
    observed = world.observe()
    plan, shown = plan_pool(observed), plan_pool(replace(observed, rejection=Rejection("Deployment", "orders", "bad")))
    assert (plan.apply, plan.replicas, plan.delete) == (shown.apply, shown.replicas, shown.delete)
