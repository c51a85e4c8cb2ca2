"""The mode External: the number of pods is an autoscaler's, and no manifest that is applied again takes it back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.clusters import KubectlError
from operators import Cluster, eventually
from samples import SMALLEST_POOL, manifest

pytestmark = pytest.mark.usefixtures("operator")


def pool(**changes: Any) -> dict[str, Any]:
    return manifest(SMALLEST_POOL, **{"spec__scaling": {"mode": "External"}, **changes})


def apply(cluster: Cluster, body: dict[str, Any], *words: str) -> None:
    """`kubectl apply`, client-side unless the words say otherwise, as GitOps does it; conflicts are errors."""
    cluster("apply", *words, "-f", "-", stdin=json.dumps(body))


def scale(cluster: Cluster) -> int:
    """The /scale of a pool, which an autoscaler reads."""
    path = f"/apis/currant.dev/v1alpha1/namespaces/{cluster.namespace}/workerpools/orders/scale"
    found: int = json.loads(cluster("get", "--raw", path))["spec"]["replicas"]
    return found


def autoscale(cluster: Cluster, replicas: int) -> None:
    """Write the number as an HPA does."""
    change = json.dumps({"spec": {"replicas": replicas}})
    words = ("--subresource=scale", "--type=merge", "--field-manager=horizontal-pod-autoscaler")
    cluster("patch", "wp", "orders", *words, "-p", change)


def wait_replicas(cluster: Cluster, replicas: int) -> None:
    def reached() -> bool:
        deployment = cluster.get("deployment", "orders").get("spec", {}).get("replicas")
        assert (deployment, scale(cluster)) == (replicas, replicas)
        return True

    eventually(reached)


def eventually_scaled(cluster: Cluster) -> int:
    def found() -> bool:
        try:
            return scale(cluster) > 0
        except KubectlError as error:
            raise AssertionError(str(error)) from None

    eventually(found)
    return scale(cluster)


def generation(cluster: Cluster) -> None:
    """Wait until the operator has observed the newest spec."""

    def seen() -> bool:
        body = cluster.get("wp", "orders")
        return bool(body["status"]["observedGeneration"] == body["metadata"]["generation"])

    eventually(seen)


@pytest.mark.parametrize("words", [(), ("--server-side", "--field-manager=argocd")], ids=["client-side", "server-side"])
def test_a_new_pool_begins_with_one_pod_and_a_manifest_that_is_applied_again_keeps_the_autoscalers_number(
    ready_cluster: Cluster, words: tuple[str, ...]
) -> None:
    apply(ready_cluster, pool(), *words)
    assert eventually_scaled(ready_cluster) == 1
    wait_replicas(ready_cluster, 1)
    autoscale(ready_cluster, 4)
    wait_replicas(ready_cluster, 4)
    apply(ready_cluster, pool(spec__concurrency=7), *words)
    generation(ready_cluster)
    wait_replicas(ready_cluster, 4)
    autoscale(ready_cluster, 6)
    wait_replicas(ready_cluster, 6)
    apply(ready_cluster, pool(spec__concurrency=8), *words)
    generation(ready_cluster)
    wait_replicas(ready_cluster, 6)


def test_a_manifest_that_had_the_number_and_no_longer_does_leaves_what_is_there(ready_cluster: Cluster) -> None:
    apply(ready_cluster, pool(spec__scaling={"mode": "Fixed", "replicas": 3}))
    wait_replicas(ready_cluster, 3)
    apply(ready_cluster, pool())  # this takes the number out of the object
    assert eventually_scaled(ready_cluster) == 3
    generation(ready_cluster)
    wait_replicas(ready_cluster, 3)


def test_a_pool_becomes_native_again_though_an_autoscaler_has_written_a_number(ready_cluster: Cluster) -> None:
    words = ("--server-side", "--field-manager=argocd")
    apply(ready_cluster, pool(), *words)
    eventually_scaled(ready_cluster)
    autoscale(ready_cluster, 2)
    wait_replicas(ready_cluster, 2)
    apply(ready_cluster, pool(spec__scaling={"mode": "Native"}), *words)
    eventually(lambda: "replicas" not in ready_cluster.get("wp", "orders")["spec"]["scaling"])
    with pytest.raises(KubectlError, match="replicas"):
        autoscale(ready_cluster, 5)
