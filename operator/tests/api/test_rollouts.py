"""A new version that does not start: Ready is what `kubectl rollout status` says. The tests tell what a kubelet would."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.clusters import KubectlError
from operators import Cluster, RunningOperator, eventually
from samples import SMALLEST_POOL, manifest

pytestmark = pytest.mark.usefixtures("operator")


def pool(**changes: Any) -> dict[str, Any]:
    return manifest(SMALLEST_POOL, **{"spec__scaling": {"mode": "Fixed", "replicas": 1}, **changes})


def stamp(ago: float = 0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pods(cluster: Cluster) -> list[str]:
    """The names of the pods that are not being deleted."""
    listed = cluster.kubectl.json("-n", cluster.namespace, "get", "pods", "-l", "currant.dev/pool=orders")["items"]
    return [each["metadata"]["name"] for each in listed if "deletionTimestamp" not in each["metadata"]]


def new_pod(cluster: Cluster, *others: str) -> str:
    """The pod that is there beside these."""

    def come() -> str:
        names = [name for name in pods(cluster) if name not in others]
        return names[0] if len(names) == 1 else ""

    return eventually(come)


def tell(cluster: Cluster, name: str, ready: bool, container: dict[str, Any]) -> None:
    """Write a pod's status as its kubelet would."""
    status = {"name": "worker", "ready": ready, "restartCount": 0, "image": "x", "imageID": "", **container}
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp(5)}
    body = {"status": {"phase": "Running", "conditions": [condition], "containerStatuses": [status]}}
    cluster("patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps(body))


def make_ready(cluster: Cluster, name: str) -> None:
    tell(cluster, name, True, {"started": True, "state": {"running": {"startedAt": stamp(5)}}})


def ready_pool(cluster: Cluster, **changes: Any) -> str:
    """A pool of one pod that is ready; gives the pod's name."""
    cluster.apply(pool(**changes))
    name = new_pod(cluster)
    make_ready(cluster, name)
    cluster.wait_reason("wp", "orders", "Ready", "AllReplicasReady")
    return name


def wait_ready(cluster: Cluster, timeout: str) -> None:
    cluster("wait", "--for=condition=Ready", f"--timeout={timeout}", "wp/orders")


def test_a_new_version_that_blocks_at_its_import_is_not_ready_and_says_so(
    ready_cluster: Cluster, operator: RunningOperator
) -> None:
    old = ready_pool(ready_cluster)
    wait_ready(ready_cluster, "10s")
    ready_cluster.apply(pool(spec__modules=["shop.blocks"]))
    new = new_pod(ready_cluster, old)
    ready_cluster.wait_reason("wp", "orders", "Ready", "Progressing")
    tell(ready_cluster, new, False, {"started": False, "state": {"running": {"startedAt": stamp(130)}}})
    shown = ready_cluster.wait_reason("wp", "orders", "Ready", "ImportSlow")
    assert shown["status"] == "False"
    assert "1 of 2 pods: the worker has not finished importing shop.blocks for 2m" in shown["message"]
    assert f"logs {new} -c worker" in shown["message"]
    with pytest.raises(KubectlError, match="timed out"):
        wait_ready(ready_cluster, "2s")
    assert ready_cluster.condition("wp", "orders", "Degraded")["status"] == "True"
    labels = {"namespace": ready_cluster.namespace, "pool": "orders"}
    assert operator.metric("currant_pool_rolled_out", **labels) == 0
    assert ("Warning", "ImportSlow") in [event[:2] for event in ready_cluster.events("orders")]
    assert old in pods(ready_cluster)
    make_ready(ready_cluster, new)
    wait_ready(ready_cluster, "30s")
    assert pods(ready_cluster) == [new]
    assert operator.metric("currant_pool_rolled_out", **labels) == 1


def test_a_new_version_that_ends_itself_at_its_import_is_not_ready_and_says_so(ready_cluster: Cluster) -> None:
    old = ready_pool(ready_cluster)
    ready_cluster.apply(pool(spec__modules=["shop.exits"]))
    new = new_pod(ready_cluster, old)
    end = {"terminated": {"exitCode": 3, "reason": "Error", "startedAt": stamp(3), "finishedAt": stamp(1)}}
    back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    tell(ready_cluster, new, False, {"started": False, "state": back_off, "lastState": end, "restartCount": 2})
    shown = ready_cluster.wait_reason("wp", "orders", "Ready", "CrashLooping")
    assert (shown["status"], "exit code 3" in shown["message"]) == ("False", True)
    assert old in pods(ready_cluster)


def test_a_roll_out_in_a_full_quota_names_it_and_goes_on_where_a_pod_may_be_missing(ready_cluster: Cluster) -> None:
    ready_cluster("create", "quota", "small", "--hard=pods=1")
    old = ready_pool(ready_cluster)
    ready_cluster.apply(pool(spec__concurrency=7))
    shown = ready_cluster.wait_reason("wp", "orders", "Ready", "QuotaExceeded")["message"]
    assert "the ResourceQuota small has no room for the one pod more that a roll-out needs" in shown
    assert "rollout: {maxUnavailable: 1}" in shown
    assert pods(ready_cluster) == [old]
    ready_cluster.apply(pool(spec__concurrency=7, spec__rollout={"maxUnavailable": 1}))
    make_ready(ready_cluster, new_pod(ready_cluster, old))
    ready_cluster.wait_reason("wp", "orders", "Ready", "AllReplicasReady", 60)


def test_a_template_may_name_the_workers_port_and_the_probes_still_ask_it(ready_cluster: Cluster) -> None:
    port = {"containerPort": 8080, "name": "metrics"}
    ready_cluster.apply(pool(spec__template={"spec": {"containers": [{"name": "worker", "ports": [port]}]}}))
    spec = eventually(lambda: ready_cluster.get("deployment", "orders").get("spec"))["template"]["spec"]
    (worker,) = spec["containers"]
    assert worker["ports"] == [{**port, "protocol": "TCP"}]
    assert {worker[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")} == {8080}
