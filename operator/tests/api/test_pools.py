"""A WorkerPool becomes a Deployment, a ServiceAccount and a PodDisruptionBudget, and they stay as they should be."""

from __future__ import annotations

import json

import pytest

from operators import Cluster, RunningOperator, eventually
from samples import SMALLEST_POOL, manifest

pytestmark = pytest.mark.usefixtures("operator")


def pool(**changes):
    return manifest(SMALLEST_POOL, **{"spec__scaling": {"mode": "Fixed", "replicas": 2}, **changes})


def made(cluster: Cluster, **changes) -> dict:
    """Apply a pool and give its Deployment when it has its replicas."""
    cluster.apply(pool(**changes))
    return wait_replicas(cluster, 2)


def wait_replicas(cluster: Cluster, replicas: int) -> dict:
    def reached():
        deployment = cluster.get("deployment", "orders")
        assert deployment.get("spec", {}).get("replicas") == replicas, deployment.get("spec", "no Deployment")
        return deployment

    return eventually(reached)


def test_a_pool_gets_its_three_objects_which_go_with_it(ready_cluster: Cluster) -> None:
    deployment = made(ready_cluster)
    owner = ready_cluster.get("wp", "orders")
    for kind in ("deployment", "serviceaccount", "poddisruptionbudget"):
        found = ready_cluster.get(kind, "orders")
        (reference,) = found["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["uid"], reference["controller"]) == (
            "WorkerPool",
            owner["metadata"]["uid"],
            True,
        )
        assert found["metadata"]["labels"]["currant.dev/pool"] == "orders"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/shop-worker:1.4"
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["WORKFLOWS_DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"] == "currant-db"
    assert environment["WORKFLOWS_POOL"]["value"] == f"{ready_cluster.namespace}/orders"


def test_a_pool_is_shown_ready_for_what_it_can_be_without_nodes(ready_cluster: Cluster) -> None:
    made(ready_cluster)
    ready_cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected")
    assert ready_cluster.condition("wp", "orders", "SchemaReady")["status"] == "True"
    ready = ready_cluster.wait_reason("wp", "orders", "Ready", "Progressing")
    assert ready["message"] == "0 of 2 pods are ready"
    eventually(lambda: ready_cluster.get("wp", "orders")["status"]["replicas"] == 2)


def test_what_is_edited_by_hand_is_put_back(ready_cluster: Cluster) -> None:
    made(ready_cluster)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "evil.example/x:1"}]}}}}
    ready_cluster("patch", "deployment", "orders", "-p", json.dumps(patch))
    ready_cluster("label", "serviceaccount", "orders", "currant.dev/pool=other", "--overwrite")
    ready_cluster("patch", "pdb", "orders", "--type=merge", "-p", '{"spec": {"maxUnavailable": "100%"}}')

    def put_back():
        containers = ready_cluster.get("deployment", "orders")["spec"]["template"]["spec"]["containers"]
        account = ready_cluster.get("serviceaccount", "orders")["metadata"]["labels"]["currant.dev/pool"]
        budget = ready_cluster.get("pdb", "orders")["spec"]["maxUnavailable"]
        return (containers[0]["image"], account, budget) == ("registry.example/shop-worker:1.4", "orders", "25%")

    eventually(put_back)


def test_what_others_add_is_left_to_them(ready_cluster: Cluster) -> None:
    made(ready_cluster)
    ready_cluster("annotate", "deployment", "orders", "team=blue")
    ready_cluster("patch", "wp", "orders", "--type=merge", "-p", '{"spec": {"concurrency": 7}}')

    def changed():
        deployment = ready_cluster.get("deployment", "orders")
        environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        return {"name": "WORKFLOWS_WORKER_MAX_CONCURRENT", "value": "7"} in environment and deployment

    assert eventually(changed)["metadata"]["annotations"]["team"] == "blue"


@pytest.mark.parametrize("kind", ["deployment", "serviceaccount", "poddisruptionbudget"])
def test_what_is_deleted_by_hand_is_made_again(ready_cluster: Cluster, kind: str) -> None:
    made(ready_cluster)
    before = ready_cluster.get(kind, "orders")["metadata"]["uid"]
    ready_cluster("delete", kind, "orders", "--wait=false")
    eventually(lambda: ready_cluster.get(kind, "orders").get("metadata", {}).get("uid") not in (None, before))


def test_kubectl_scale_moves_the_pods_of_a_fixed_and_of_an_external_pool(ready_cluster: Cluster) -> None:
    made(ready_cluster)
    ready_cluster("scale", "wp", "orders", "--replicas=3")
    wait_replicas(ready_cluster, 3)
    ready_cluster("patch", "wp", "orders", "--type=merge", "-p", '{"spec": {"scaling": {"mode": "External"}}}')
    ready_cluster.wait_reason("wp", "orders", "ScalingActive", "ExternalReplicas")
    ready_cluster("scale", "wp", "orders", "--replicas=0")
    wait_replicas(ready_cluster, 0)
    ready_cluster.wait_reason("wp", "orders", "Ready", "ScaledToZero")
    assert ("Normal", "Scaled") in [event[:2] for event in ready_cluster.events("orders")]


def test_replicas_changed_behind_the_pools_back_are_put_back(ready_cluster: Cluster) -> None:
    made(ready_cluster)
    ready_cluster("scale", "deployment", "orders", "--replicas=9")
    wait_replicas(ready_cluster, 2)


def test_a_deployment_never_has_more_pods_than_wanted_not_even_when_it_is_made(ready_cluster: Cluster) -> None:
    ready_cluster.apply(pool(spec__scaling={"mode": "Fixed", "replicas": 0}))
    ready_cluster.wait_reason("wp", "orders", "Ready", "ScaledToZero")
    deployment = ready_cluster.get("deployment", "orders")
    assert deployment["spec"]["replicas"] == 0
    # The first version that the API server ever had of it is generation 1, and no pod was made for it.
    assert ready_cluster.kubectl.json("-n", ready_cluster.namespace, "get", "pods")["items"] == []


def test_a_quota_that_stops_pods_is_shown(ready_cluster: Cluster) -> None:
    ready_cluster("create", "quota", "none", "--hard=pods=0")
    made(ready_cluster)
    degraded = ready_cluster.wait_reason("wp", "orders", "Degraded", "QuotaExceeded")
    assert "exceeded quota: none" in degraded["message"]
    shown = ready_cluster("get", "wp", "orders")
    assert "QuotaExceeded" in shown
    assert "QuotaExceeded" in ready_cluster.described("wp", "orders")


def test_a_template_that_the_api_server_refuses_is_shown_with_its_words_and_fixed(ready_cluster: Cluster) -> None:
    resources = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    bad = {"spec": {"containers": [{"name": "worker", "resources": resources}]}}
    ready_cluster.apply(pool(spec__template=bad))
    shown = ready_cluster.wait_reason("wp", "orders", "Ready", "ApplyRejected")
    assert "refuses the Deployment orders" in shown["message"]
    assert "must be less than or equal to memory limit" in shown["message"]
    assert "ApplyRejected" in ready_cluster("get", "wp", "orders")
    good = {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"memory": "1Gi", "cpu": "1000m"}}}]}}
    ready_cluster.apply(pool(spec__template=good))
    wait_replicas(ready_cluster, 2)
    ready_cluster.wait_reason("wp", "orders", "Ready", "Progressing")


def test_a_deployment_of_somebody_else_is_not_touched(ready_cluster: Cluster) -> None:
    ready_cluster("create", "deployment", "orders", "--image=registry.example/other:1", "--replicas=0")
    ready_cluster("label", "deployment", "orders", "currant.dev/pool=orders")
    ready_cluster.apply(pool())
    ready_cluster.wait_reason("wp", "orders", "Ready", "NameTaken")
    containers = ready_cluster.get("deployment", "orders")["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "registry.example/other:1"


def test_a_pool_that_is_deleted_is_gone_when_its_pods_are(ready_cluster: Cluster) -> None:
    made(ready_cluster)
    eventually(lambda: ready_cluster("get", "pods", "-o", "name").split())
    # In the foreground it is there until its pods are gone, as at an uninstall.
    ready_cluster("delete", "wp", "orders", "--cascade=foreground", "--timeout=60s")
    assert not ready_cluster.get("wp", "orders")
    assert ready_cluster("get", "pods", "-o", "name").split() == []
    eventually(lambda: not ready_cluster.get("deployment", "orders"))


def test_nothing_is_written_when_nothing_changes(ready_cluster: Cluster, operator: RunningOperator) -> None:
    template = {
        "spec": {"containers": [{"name": "worker", "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}}]}
    }
    made(ready_cluster, spec__template=template)
    ready_cluster.wait_reason("wp", "orders", "Ready", "Progressing")

    def writes() -> float:
        verbs = ("create", "patch", "delete")
        return sum(operator.metric("currant_operator_api_requests_total", verb=verb) for verb in verbs)

    def converged() -> bool:
        before = writes(), operator.metric("currant_operator_reconciles_total")
        ready_cluster("annotate", "wp", "orders", f"again={before[1]:.0f}", "--overwrite")
        eventually(lambda: operator.metric("currant_operator_reconciles_total") > before[1])
        return writes() == before[0]

    # Counts of pods that are still being made are written later; then there is silence.
    eventually(lambda: converged() and converged() and converged(), 60)
