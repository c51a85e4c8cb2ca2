"""The cache of the cluster: the newest state counts, deletions that were missed are found, and the right keys are notified."""

from __future__ import annotations

from typing import Any

import pytest

from currant_operator.cluster.store import Store, identity, slim
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key

POOL = Key("WorkerPool", "shop", "orders")


class Known(Store):
    """A store that notes what it tells."""

    def __init__(self) -> None:
        self.notified: list[Key] = []
        self.ended: list[str] = []
        self.containers: list[str] = []
        super().__init__(
            self.notified.append,
            lambda pod: self.ended.append(pod["metadata"]["name"]),
            lambda pod: self.containers.append(pod["metadata"]["name"]),
        )

    def told_since(self) -> list[Key]:
        notified, self.notified[:] = sorted(self.notified), []
        return notified


@pytest.fixture
def store() -> Known:
    return Known()


def made(name: str, version: int = 1, uid: str = "u1", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**metadata, **more.pop("metadata", {})}, **more}


def owned(name: str, version: int = 1, pool: str = "orders", **more: Any) -> dict[str, Any]:
    return made(name, version, metadata={"labels": {kinds.POOL_LABEL: pool}}, **more)


def workflow(name: str, pool: str) -> dict[str, Any]:
    return made(name, spec={"poolRef": {"name": pool}})


def test_an_older_state_than_the_known_one_is_ignored(store):
    store.accept(kinds.WORKER_POOL, made("orders", 10, spec=2))
    store.told_since()
    store.accept(kinds.WORKER_POOL, made("orders", 9, spec=1))
    store.accept(kinds.WORKER_POOL, made("orders", 10, spec=2))
    assert store.get(kinds.WORKER_POOL, "shop", "orders")["spec"] == 2
    assert store.told_since() == []


def test_an_object_made_again_under_its_name_is_another(store):
    first = made("orders", 10, uid="first", metadata={"creationTimestamp": "2026-01-01T00:00:00Z"})
    again = made("orders", 20, uid="again", metadata={"creationTimestamp": "2026-01-01T00:00:01Z"})
    store.accept(kinds.WORKER_POOL, first)
    store.accept(kinds.WORKER_POOL, again)
    store.remove(kinds.WORKER_POOL, first)  # the news of the deletion comes late
    assert store.get(kinds.WORKER_POOL, "shop", "orders")["metadata"]["uid"] == "again"
    store.accept(kinds.WORKER_POOL, made("orders", 11, uid="first", metadata=first["metadata"]))
    assert store.get(kinds.WORKER_POOL, "shop", "orders")["metadata"]["uid"] == "again"


def test_what_an_own_write_answered_is_known_and_not_notified(store):
    store.accept(kinds.WORKER_POOL, made("orders", 1))
    store.told_since()
    store.accept(kinds.WORKER_POOL, made("orders", 2, status={"replicas": 1}), notify=False)
    store.accept(kinds.WORKER_POOL, made("orders", 2, status={"replicas": 1}))  # the watch says the same
    assert store.told_since() == []
    assert store.get(kinds.WORKER_POOL, "shop", "orders")["status"] == {"replicas": 1}


def test_a_change_of_an_owned_object_is_reported_to_its_pool(store):
    store.accept(kinds.DEPLOYMENT, owned("orders"))
    store.accept(kinds.POD, owned("orders-1-abcde"))
    assert store.told_since() == [POOL, POOL]
    store.remove(kinds.DEPLOYMENT, owned("orders"))
    assert store.told_since() == [POOL]


def test_an_object_whose_label_changed_is_reported_to_both_pools(store):
    store.accept(kinds.POD, owned("pod", 1, "orders"))
    store.told_since()
    store.accept(kinds.POD, owned("pod", 2, "mail"))
    assert store.told_since() == [Key("WorkerPool", "shop", "mail"), POOL]
    assert store.pods("shop", "orders") == []
    assert [pod["metadata"]["name"] for pod in store.pods("shop", "mail")] == ["pod"]


def test_workflows_hear_of_their_pool_but_not_of_its_numbers(store):
    mine, other = Key("Workflow", "shop", "process"), Key("Workflow", "shop", "other")
    store.accept(kinds.WORKFLOW, workflow("process", "orders"))
    store.accept(kinds.WORKFLOW, workflow("other", "mail"))
    assert store.workflows("shop", "orders") == [mine]
    store.told_since()
    store.accept(kinds.WORKER_POOL, made("orders", 1, spec={}))
    assert store.told_since() == [POOL, mine]
    store.accept(kinds.WORKER_POOL, made("orders", 2, spec={}, status={"replicas": 3}))
    assert store.told_since() == [POOL]
    store.accept(kinds.WORKER_POOL, made("orders", 3, spec={}, status={"conditions": [1]}))
    assert store.told_since() == [POOL, mine]
    store.remove(kinds.WORKER_POOL, made("orders", 3))
    assert store.told_since() == [POOL, mine]
    assert other not in store.notified


def test_a_workflow_that_refers_to_another_pool_is_counted_there(store):
    store.accept(kinds.WORKFLOW, workflow("process", "orders"))
    store.accept(kinds.WORKFLOW, {**workflow("process", "mail"), "metadata": made("process", 2)["metadata"]})
    assert store.workflows("shop", "orders") == []
    assert store.workflows("shop", "mail") == [Key("Workflow", "shop", "process")]
    store.remove(kinds.WORKFLOW, workflow("process", "mail"))
    assert store.workflows("shop", "mail") == []


def test_a_listing_finds_deletions_that_no_watch_reported(store):
    store.accept(kinds.DEPLOYMENT, owned("kept", 1))
    store.accept(kinds.DEPLOYMENT, owned("gone", 1))
    before = store.names(kinds.DEPLOYMENT)
    store.accept(kinds.DEPLOYMENT, owned("came-during-the-listing", 5))
    store.told_since()
    store.prune(kinds.DEPLOYMENT, before, {identity(owned("kept", 1))})
    assert {name for (_, name), _ in store.names(kinds.DEPLOYMENT)} == {"kept", "came-during-the-listing"}
    assert store.told_since() == [POOL]


def test_a_listing_does_not_forget_what_was_made_again_meanwhile(store):
    store.accept(kinds.DEPLOYMENT, owned("orders", 1, uid="first"))
    before = store.names(kinds.DEPLOYMENT)
    store.accept(kinds.DEPLOYMENT, owned("orders", 9, uid="again"))
    store.prune(kinds.DEPLOYMENT, before, set())
    assert store.get(kinds.DEPLOYMENT, "shop", "orders")["metadata"]["uid"] == "again"


def test_of_a_pod_only_what_is_read_is_kept(store):
    pod = owned(
        "pod",
        spec={
            "nodeName": "node1",
            "terminationGracePeriodSeconds": 300,
            "containers": [{"name": "worker", "env": ["long"]}],
        },
        status={
            "phase": "Running",
            "hostIP": "10.0.0.1",
            "containerStatuses": [{"name": "worker", "ready": True, "containerID": "long", "state": {"running": {}}}],
        },
    )
    kept = slim(kinds.POD, {**pod, "metadata": {**pod["metadata"], "managedFields": ["long"]}})
    assert kept["spec"] == {"nodeName": "node1", "terminationGracePeriodSeconds": 300}
    assert kept["status"] == {
        "phase": "Running",
        "containerStatuses": [{"name": "worker", "ready": True, "state": {"running": {}}}],
    }
    assert "managedFields" not in kept["metadata"]


def test_of_a_deployments_managers_only_ours_are_kept(store):
    fields = [
        {"manager": name} for name in ("kube-controller-manager", "currant-operator", "currant-scaler", "kubectl")
    ]
    kept = slim(kinds.DEPLOYMENT, {"metadata": {"name": "orders", "managedFields": fields}})
    assert [entry["manager"] for entry in kept["metadata"]["managedFields"]] == ["currant-operator", "currant-scaler"]


def test_the_end_of_a_pod_is_reported_once_however_it_comes(store):
    for name in ("deleted", "failed", "alive"):
        store.accept(kinds.POD, owned(name, 1, status={"phase": "Running"}))
    store.accept(kinds.POD, owned("failed", 2, status={"phase": "Failed"}))
    store.accept(kinds.POD, owned("failed", 3, status={"phase": "Failed", "reason": "Evicted"}))
    store.remove(kinds.POD, owned("failed", 3))
    store.remove(kinds.POD, owned("deleted", 1))
    store.accept(kinds.POD, owned("seen-too-late", 9, status={"phase": "Succeeded"}))
    assert store.ended == ["failed", "deleted", "seen-too-late"]


def with_container(version: int, phase: str = "Running", **states: Any) -> dict[str, Any]:
    statuses = [{"name": "sidecar", "lastState": {"terminated": {"finishedAt": "x"}}}, {"name": "worker", **states}]
    return owned("pod", version, status={"phase": phase, "containerStatuses": statuses})


def test_the_end_of_the_workers_container_in_a_pod_that_goes_on_is_reported_once_however_it_is_written(store):
    first, second = ({"terminated": {"finishedAt": at, "reason": "OOMKilled"}} for at in ("1", "2"))
    store.accept(kinds.POD, with_container(1, state={"running": {}}))
    assert store.containers == []
    store.accept(kinds.POD, with_container(2, state=first))
    store.accept(kinds.POD, with_container(3, state={"waiting": {}}, lastState=first))
    store.accept(kinds.POD, with_container(4, state={"running": {}}, lastState=first))
    assert store.containers == ["pod"]
    store.accept(kinds.POD, with_container(5, state={"running": {}}, lastState=second))
    assert store.containers == ["pod", "pod"]
    store.accept(kinds.POD, with_container(6, "Failed", state=first, lastState=second))
    assert (store.containers, store.ended) == (["pod", "pod"], ["pod"])
