"""Each thing that can be the matter with a pool: the condition that tells of it, in words that say what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from currant.cli.functions import Mistake, import_module
from currant_operator.plan.observations import (
    DatabaseMigrating,
    DatabaseUnknown,
    DatabaseUnreachable,
    DatabaseUrlInvalid,
    MigrationFailed,
    Rejection,
    SchemaTooNew,
    SecretKeyMissing,
    SecretMissing,
    SecretNotAllowed,
    SecretUnknown,
)
from currant_operator.plan.pool import plan_pool
from worlds import (
    NOW,
    World,
    assert_in_order,
    at,
    condition,
    converged,
    crashed,
    importing,
    later,
    pod,
    pool_body,
    rolling,
    waiting,
    with_pods,
)

Body = dict[str, Any]
QUOTA = 'pods "orders-5f-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
POLICY = 'pods "orders-5f-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'


def with_failure(kind: str, status: str, reason: str, message: str) -> World:
    """A Deployment that says why there are no pods."""
    world = with_pods()
    assert world.deployment is not None
    failure = {"type": kind, "status": status, "reason": reason, "message": message}
    world.deployment["status"]["conditions"] = [failure]
    return world


def without(attribute: str, value: Any) -> World:
    world = converged()
    setattr(world, attribute, value)
    return world


# name: (the world, the reason of Ready, what its message says in this order, Degraded)
NOT_READY: dict[str, tuple[World, str, list[str], bool]] = {
    "no secret": (
        without("secret", SecretMissing()),
        "SecretNotFound",
        [
            "there is no Secret currant-db in namespace shop",
            "kubectl -n shop create secret generic currant-db --from-literal=url=",
        ],
        False,
    ),
    "no key": (
        without("secret", SecretKeyMissing(("uri", "password"))),
        "SecretKeyNotFound",
        ["Secret currant-db has no value under the key url (it has password, uri)", "add the key"],
        False,
    ),
    "no keys at all": (without("secret", SecretKeyMissing()), "SecretKeyNotFound", ["it has no keys"], False),
    "wrong URL": (
        without("secret", DatabaseUrlInvalid("it must start with postgresql://")),
        "DatabaseUrlInvalid",
        [
            "key url of Secret currant-db",
            "it must start with postgresql://",
            "postgresql://user:password@host:5432/name",
        ],
        False,
    ),
    "secret may not be read": (
        without("secret", SecretUnknown("secrets is forbidden")),
        "SecretUnreadable",
        ["the Secret currant-db cannot be read: secrets is forbidden"],
        False,
    ),
    "database down": (
        without("database", DatabaseUnreachable("connection refused")),
        "DatabaseUnreachable",
        ["the database does not answer: connection refused", "pods stay as they are", "tried again by itself"],
        False,
    ),
    "schema too new": (
        without("database", SchemaTooNew("the schema is at version 9, this operator knows 6: upgrade the operator")),
        "SchemaTooNew",
        ["upgrade the operator"],
        False,
    ),
    "migrating": (without("database", DatabaseMigrating()), "Migrating", ["the schema is being brought up"], False),
    "migration failed": (
        without("database", MigrationFailed("permission denied to create schema")),
        "MigrationFailed",
        ["permission denied to create schema", "tried again"],
        False,
    ),
    "image": (
        with_pods(waiting("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: not found')),
        "ImagePullFailed",
        ["1 of 1 pods: not found", "check image"],
        True,
    ),
    "image name": (with_pods(waiting("InvalidImageName", "bad name")), "ImagePullFailed", ["bad name"], True),
    "import": (
        with_pods(
            crashed("Traceback ...\nerror: module shop.orders cannot be imported: NameError: x (/app/shop.py:3)\n")
        ),
        "ImportFailed",
        [
            "1 of 1 pods: module shop.orders cannot be imported: NameError: x (/app/shop.py:3)",
            "logs orders-a -c worker",
        ],
        True,
    ),
    "no such module": (
        with_pods(crashed("error: no module shop.ordres (looked in ...)")),
        "ImportFailed",
        ["shop.ordres"],
        True,
    ),
    "crash": (
        with_pods(crashed("something\nthread panicked at main.rs\n\n", exit_code=101)),
        "CrashLooping",
        ["exit code 101: thread panicked at main.rs", "kubectl -n shop logs orders-a -c worker --previous"],
        True,
    ),
    "crash without a word": (with_pods(crashed("")), "CrashLooping", ["exit code 1, no last words"], True),
    "out of memory": (
        with_pods(crashed("", "OOMKilled", 137)),
        "OOMKilled",
        ["more memory than its limit (3 restarts)", "resources.limits.memory or lower concurrency"],
        True,
    ),
    "container config": (
        with_pods(waiting("CreateContainerConfigError", 'configmap "settings" not found')),
        "ContainerNotStarted",
        ['configmap "settings" not found', "describe pod orders-a"],
        True,
    ),
    "unschedulable": (
        with_pods(
            pod(
                ready=False,
                status__conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient cpu.",
                    }
                ],
                status__containerStatuses=[],
            )
        ),
        "Unschedulable",
        ["0/3 nodes are available: 3 Insufficient cpu.", "lower the requests"],
        True,
    ),
    "quota": (
        with_failure("ReplicaFailure", "True", "FailedCreate", QUOTA),
        "QuotaExceeded",
        ["the ResourceQuota small has no room for more pods", "raise it, or lower the replicas", "limited: pods=2"],
        True,
    ),
    "quota in a roll-out": (
        rolling(with_failure("ReplicaFailure", "True", "FailedCreate", QUOTA), updated=0),
        "QuotaExceeded",
        [
            "the ResourceQuota small has no room for the one pod more that a roll-out needs",
            "raise the quota by one pod",
            "rollout: {maxUnavailable: 1}",
            "limited: pods=2",
        ],
        True,
    ),
    "slow import": (
        with_pods(importing(130)),
        "ImportSlow",
        ["1 of 1 pods: the worker has not finished importing shop.orders for 2m", "logs orders-a -c worker"],
        True,
    ),
    "slow import of several": (
        with_pods(importing(61), spec__modules=["shop.orders", "shop.mail"]),
        "ImportSlow",
        ["the worker has not finished importing one of shop.orders, shop.mail for 1m"],
        True,
    ),
    "policy": (
        with_failure("ReplicaFailure", "True", "FailedCreate", POLICY),
        "PodsRefused",
        ["the API server refuses the pods", "runAsNonRoot != true", "fix template"],
        True,
    ),
    "stuck": (
        with_failure("Progressing", "False", "ProgressDeadlineExceeded", 'ReplicaSet "orders-5f" has timed out'),
        "RolloutStuck",
        ["new pods do not get ready", "has timed out"],
        True,
    ),
    "on the way": (with_pods(pod()), "Progressing", ["1 of 2 pods are ready"], False),
}


@pytest.mark.parametrize(("world", "reason", "parts", "degraded"), NOT_READY.values(), ids=NOT_READY.keys())
def test_what_is_the_matter_is_said_with_what_to_do(
    world: World, reason: str, parts: list[str], degraded: bool
) -> None:
    plan = world.plan()
    status, shown, message = condition(plan.status, "Ready")
    assert (status, shown) == ("False", reason)
    assert_in_order(message, parts)
    assert condition(plan.status, "Degraded")[0] == str(degraded)
    if degraded:
        assert condition(plan.status, "Degraded")[1:] == (reason, message)


@pytest.mark.parametrize(("world", "reason", "parts", "degraded"), NOT_READY.values(), ids=NOT_READY.keys())
def test_each_problem_is_one_warning_and_only_once(world: World, reason: str, parts: list[str], degraded: bool) -> None:
    plan = world.plan()
    calm = reason in ("Progressing", "Migrating")
    assert [(event.type, event.reason) for event in plan.events] == ([] if calm else [("Warning", reason)])
    world.body["status"] = plan.status
    again = world.plan()
    assert again.events == []
    assert again.status_write == "none"


def test_a_pool_with_all_its_pods_is_ready() -> None:
    status = converged().body["status"]
    assert condition(status, "Ready") == ("True", "AllReplicasReady", "2 of 2 pods are ready")
    assert condition(status, "SchemaReady") == ("True", "UpToDate", "the schema is at version 6")
    assert condition(status, "DatabaseReachable") == ("True", "Connected", "the database answers")
    assert condition(status, "ScalingActive") == ("True", "FixedReplicas", "scaling.replicas is 2 (mode Fixed)")
    assert condition(status, "Degraded") == ("False", "AsExpected", "no pod has a problem")


def test_a_pool_of_no_pods_is_ready_and_says_so() -> None:
    status = converged(spec__scaling={"mode": "Fixed", "replicas": 0}).body["status"]
    assert condition(status, "Ready")[:2] == ("True", "ScaledToZero")


def test_a_native_pool_is_left_alone_until_its_queues_are_known_and_says_so_without_a_warning() -> None:
    world = converged(spec__scaling={"mode": "Native", "minReplicas": 1, "maxReplicas": 5})
    status, reason, _ = condition(world.body["status"], "ScalingActive")
    assert (status, reason) == ("False", "QueuesNotSeen")
    assert condition(world.body["status"], "Ready")[:2] == ("True", "AllReplicasReady")
    assert [event for event in world.plan().events if event.type == "Warning"] == []


def test_a_paused_pool_says_so_without_a_warning() -> None:
    world = converged()
    world.body["spec"]["scaling"] |= {"paused": True, "replicas": 5}
    plan = world.plan()
    assert condition(plan.status, "ScalingActive")[:2] == ("False", "Paused")
    assert plan.replicas is None
    assert [event for event in plan.events if event.type == "Warning"] == []


def test_what_the_api_server_refuses_is_shown_in_its_words() -> None:
    world = World()
    rejection = Rejection("Deployment", "orders", 'Invalid value: "x": must be a number')
    status = plan_pool(replace(world.observe(), rejection=rejection)).status
    message = 'the API server refuses the Deployment orders: Invalid value: "x": must be a number; fix template'
    assert condition(status, "Ready") == ("False", "ApplyRejected", message)
    assert condition(status, "Degraded") == ("True", "ApplyRejected", message)


@pytest.mark.parametrize("attribute", ["deployment", "service_account", "pod_disruption_budget"])
def test_an_object_of_somebody_else_keeps_its_name_and_the_pool_says_what_to_do(attribute: str) -> None:
    world = converged()
    getattr(world, attribute)["metadata"] |= {"ownerReferences": [], "labels": {"app": "mine"}}
    status, reason, message = condition(world.plan().status, "Ready")
    assert (status, reason) == ("False", "NameTaken")
    assert "is not of this operator's making: delete it, or make the pool under another name" in message
    assert ("serviceAccountName: orders" in message) == (attribute == "service_account")


def test_the_objects_of_an_earlier_pool_of_the_same_name_are_waited_for() -> None:
    world = converged()
    world.body["metadata"]["uid"] = "another"
    message = condition(world.plan().status, "Ready")[2]
    assert "belongs to an earlier pool of this name that is still being deleted" in message


ADMIN = {"spec__database__adminSecretRef": {"name": "currant-db-owner"}}


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (SecretMissing(), "SecretNotFound", "there is no Secret currant-db-owner in the operator's namespace: kubectl"),
        (SecretKeyMissing(("uri",)), "SecretKeyNotFound", "the Secret currant-db-owner has no value under the key url"),
        (DatabaseUrlInvalid("it is empty"), "DatabaseUrlInvalid", "key url of Secret currant-db-owner is no URL"),
        (SecretUnknown("it is forbidden"), "SecretUnreadable", "the Secret currant-db-owner cannot be read"),
        (
            SecretNotAllowed(),
            "AdminSecretNotAllowed",
            "kubectl annotate secret currant-db-owner currant.dev/pools-of=shop",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_wrong_with_the_operators_own_secret_is_said(state: Any, reason: str, words: str) -> None:
    world = converged(**ADMIN)
    world.admin_secret, world.database = state, DatabaseUnknown()
    status = world.plan().status
    for kind in ("Ready", "DatabaseReachable"):
        found = condition(status, kind)
        assert found[:2] == ("False", reason)
        assert words in found[2]


def test_the_secret_of_the_pods_comes_before_the_operators_own() -> None:
    world = converged(**ADMIN)
    world.secret, world.admin_secret, world.database = SecretMissing(), SecretNotAllowed(), DatabaseUnknown()
    assert condition(world.plan().status, "Ready")[1] == "SecretNotFound"


def test_the_secret_comes_before_the_pods_that_suffer_from_it() -> None:
    world = with_pods(waiting("CreateContainerConfigError", 'secret "currant-db" not found'))
    world.secret = SecretMissing()
    assert condition(world.plan().status, "Ready")[1] == "SecretNotFound"


def test_what_a_pod_says_comes_before_a_quota_and_a_quota_before_a_lack_of_nodes() -> None:
    world = with_failure("ReplicaFailure", "True", "FailedCreate", QUOTA)
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}
    world.pods = [pod(ready=False, status__conditions=[unschedulable], status__containerStatuses=[])]
    assert condition(world.plan().status, "Ready")[1] == "QuotaExceeded"
    world.pods.append(crashed("oops", name="orders-b"))
    assert condition(world.plan().status, "Ready")[1] == "CrashLooping"


def test_pods_that_have_ended_are_not_counted() -> None:
    world = converged()
    world.pods = [pod(), pod("orders-b", ready=False, status__phase="Failed", status__reason="Evicted")]
    status = world.plan().status
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)


@pytest.mark.parametrize("module", ["no_such_module", "shop/orders.py", "broken_module"])
def test_every_way_in_which_a_worker_fails_to_import_is_known_by_its_last_line(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_module.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Mistake) as caught:
        import_module(module)
    caught.value.show()
    said = capsys.readouterr().err
    status, reason, message = condition(with_pods(crashed(said)).plan().status, "Ready")
    assert (status, reason) == ("False", "ImportFailed")
    assert said.strip().removeprefix("error: ") in message


def test_several_pods_are_shown_by_their_worst_problem() -> None:
    world = with_pods(
        crashed("oops", name="orders-a"),
        waiting("ErrImagePull", "no x", "orders-b"),
        waiting("ErrImagePull", "no x", "orders-c"),
    )
    assert condition(world.plan().status, "Ready")[1:] == (
        "ImagePullFailed",
        "2 of 3 pods: no x; check image, and imagePullSecrets in template.spec",
    )


def test_a_pod_that_runs_again_after_an_oom_kill_is_shown_for_ten_minutes() -> None:
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": at(NOW)}}
    world = with_pods(pod(status__containerStatuses__0__lastState=killed), pod("orders-b"))
    plan = world.plan()
    assert condition(plan.status, "Ready")[0] == "True"
    assert condition(plan.status, "Degraded")[:2] == ("True", "OOMKilled")
    assert plan.requeue_after == 600
    world.now = later(600)
    assert condition(world.plan().status, "Degraded")[0] == "False"


def test_an_operator_that_has_just_started_does_not_withdraw_what_was_known() -> None:
    world = converged()
    world.secret, world.database = SecretUnknown(), DatabaseUnknown()
    assert world.plan().status_write == "none"
    new = World(pool_body(), secret=SecretUnknown(), database=DatabaseUnknown())
    assert condition(new.plan().status, "Ready")[:2] == ("Unknown", "NotYetKnown")
