"""Operators that die, that are two, that lose their API server or a watch: what they look after goes on converging."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from blackhole import Proxy, proxy
from conftest import install_crds
from e2e.clusters import ControlPlane, Kubectl, control_plane
from operators import Cluster, RunningOperator, eventually, starter
from samples import SMALLEST_POOL, manifest

Start = Callable[..., RunningOperator]


@pytest.fixture
def start_operator(plane: ControlPlane, tmp_path: Path) -> Iterator[Start]:
    """Start an operator. They end with the test: any that is left would do the work of those that are tested."""
    with starter(plane.kubeconfig, tmp_path) as start:
        yield start


def apply_pool(cluster: Cluster, name: str = "orders", replicas: int = 1) -> None:
    changes = {"metadata__name": name, "spec__scaling": {"mode": "Fixed", "replicas": replicas}}
    cluster.apply(manifest(SMALLEST_POOL, **changes))


def has_replicas(cluster: Cluster, name: str, replicas: int) -> bool:
    deployment = cluster.get("deployment", name)
    assert deployment.get("spec", {}).get("replicas") == replicas, deployment.get("spec", "no Deployment")
    return True


def wait_replicas(cluster: Cluster, name: str, replicas: int, timeout: float = 30) -> None:
    eventually(lambda: has_replicas(cluster, name, replicas), timeout)


def holder(kubectl: Kubectl, lease: str) -> str:
    return str(kubectl.json("get", "lease", lease)["spec"]["holderIdentity"])


def test_an_operator_that_was_killed_converges_when_it_is_back(ready_cluster: Cluster, start_operator: Start) -> None:
    first = start_operator("pod-0", "killed").wait_leading()
    apply_pool(ready_cluster)
    wait_replicas(ready_cluster, "orders", 1)
    first.kill()
    ready_cluster("delete", "deployment", "orders")
    ready_cluster("scale", "wp", "orders", "--replicas=2")
    apply_pool(ready_cluster, "mail", 3)
    start_operator("pod-0", "killed")  # the same pod: its container was started again
    wait_replicas(ready_cluster, "orders", 2)
    wait_replicas(ready_cluster, "mail", 3)


def test_of_two_operators_one_leads_and_the_other_takes_over_when_it_dies(
    ready_cluster: Cluster, start_operator: Start, kubectl: Kubectl
) -> None:
    first = start_operator("pod-a", "two").wait_leading()
    second = start_operator("pod-b", "two")
    eventually(lambda: second.ready)
    assert not second.leading
    assert holder(kubectl, "two") == "pod-a"
    apply_pool(ready_cluster)
    wait_replicas(ready_cluster, "orders", 1)
    assert second.metric("currant_operator_reconciles_total") == 0
    first.kill()
    apply_pool(ready_cluster, replicas=2)
    second.wait_leading()
    assert holder(kubectl, "two") == "pod-b"
    wait_replicas(ready_cluster, "orders", 2)


def test_a_leader_that_is_ended_hands_over_at_once(
    ready_cluster: Cluster, start_operator: Start, kubectl: Kubectl
) -> None:
    long = {"CURRANT_OPERATOR_LEASE_DURATION": "600", "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE": "500"}
    first = start_operator("pod-a", "handed", **long).wait_leading()
    second = start_operator("pod-b", "handed", **long)
    eventually(lambda: second.ready)
    assert first.terminate() == 0
    second.wait_leading()  # long before the lease would have expired
    assert "Traceback" not in first.log


def test_a_leader_whose_lease_another_took_ends_itself(start_operator: Start, kubectl: Kubectl) -> None:
    leader = start_operator("pod-a", "robbed").wait_leading()
    kubectl("patch", "lease", "robbed", "--type=merge", "-p", '{"spec": {"holderIdentity": "somebody-else"}}')
    assert leader.process.wait(30) == 1
    assert "no longer leading: the process ends" in leader.log
    assert holder(kubectl, "robbed") == "somebody-else"


@pytest.mark.parametrize("robbed", [False, True], ids=["ended", "robbed"])
def test_the_key_of_a_kubeconfig_is_not_left_on_the_disk(
    robbed: bool, start_operator: Start, kubectl: Kubectl, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    operator = start_operator(lease=f"key-{robbed}".lower(), TMPDIR=str(scratch)).wait_leading()
    assert list(scratch.iterdir())
    if robbed:
        kubectl("patch", "lease", f"key-{robbed}".lower(), "--type=merge", "-p", '{"spec": {"holderIdentity": "else"}}')
        assert operator.process.wait(30) == 1
    else:
        assert operator.terminate() == 0
    assert not list(scratch.iterdir())


def test_a_leader_that_was_frozen_does_not_write_after_its_time(
    ready_cluster: Cluster, start_operator: Start, kubectl: Kubectl
) -> None:
    first = start_operator("pod-a", "frozen").wait_leading()
    first.process.send_signal(signal.SIGSTOP)
    second = start_operator("pod-b", "frozen").wait_leading()
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(30) == 1
    assert second.leading
    assert holder(kubectl, "frozen") == "pod-b"


def test_two_operators_that_serve_one_namespace_each_leave_the_others_alone(
    kubectl: Kubectl, database: str, start_operator: Start
) -> None:
    for name in ("left", "right"):
        kubectl("create", "namespace", name)
    left = start_operator("left", "left", WATCH_NAMESPACE="left").wait_leading()
    clusters = {name: Cluster(kubectl, name) for name in ("left", "right")}
    for cluster in clusters.values():
        cluster.secret(database)
        apply_pool(cluster)
    wait_replicas(clusters["left"], "orders", 1)
    assert not clusters["right"].get("deployment", "orders")
    assert left.metric("currant_operator_objects", kind="WorkerPool") == 1
    start_operator("right", "right", WATCH_NAMESPACE="right")
    wait_replicas(clusters["right"], "orders", 1)


def operators_deployment(namespace: str, watches: str) -> dict[str, Any]:
    """A Deployment of an operator, with the fields of the chart's that other operators read."""
    labels = {"app.kubernetes.io/name": "currant-operator"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "operator", "image": "x"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "elsewhere",
            "namespace": namespace,
            "labels": labels,
            "annotations": {"currant.dev/watches": watches},
        },
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def test_an_operator_of_every_namespace_leaves_alone_one_that_has_its_own(
    ready_cluster: Cluster, kubectl: Kubectl, database: str, start_operator: Start
) -> None:
    kubectl("create", "namespace", "with-own")
    other = Cluster(kubectl, "with-own")
    other.secret(database)
    kubectl.apply(operators_deployment("with-own", "with-own"), namespace="with-own")
    operator = start_operator("currant-operator-1").wait_leading()
    for cluster in (other, ready_cluster):
        apply_pool(cluster)
    wait_replicas(ready_cluster, "orders", 1)
    assert "the namespace with-own has an operator of its own, and is left to it" in operator.log
    assert not other.get("deployment", "orders")
    assert "status" not in other.get("wp", "orders")
    other("delete", "deployment", "elsewhere")  # its release is gone
    wait_replicas(other, "orders", 1)
    other("delete", "wp", "orders", "--timeout=60s")


def test_of_two_operators_of_every_namespace_the_younger_waits_and_says_why(
    ready_cluster: Cluster, kubectl: Kubectl, start_operator: Start
) -> None:
    kubectl("create", "namespace", "older")
    kubectl.apply(operators_deployment("older", "*"), namespace="older")
    apply_pool(ready_cluster)
    operator = start_operator("currant-operator-1")
    why = "the operator older/elsewhere serves every namespace already, and two must not serve one"
    try:
        eventually(lambda: why in operator.log)
        assert not operator.ready
        assert why in operator.page("/readyz")
        assert not ready_cluster.get("deployment", "orders")
    finally:
        kubectl("delete", "deployment", "elsewhere", "-n", "older")
    operator.wait_leading()
    wait_replicas(ready_cluster, "orders", 1)


@contextmanager
def behind(plane: ControlPlane, directory: Path) -> Iterator[tuple[Proxy, Path]]:
    """A proxy in front of the API server, and a kubeconfig that goes through it."""
    config = yaml.safe_load(plane.kubeconfig.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    with proxy(server.hostname or "", server.port or 443) as between:
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{between.port}"
        path = directory / "kubeconfig"
        path.write_text(json.dumps(config))
        yield between, path


def test_a_watch_that_went_silent_is_made_again(
    plane: ControlPlane, ready_cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    with behind(plane, tmp_path) as (between, kubeconfig):
        # Only the watches are in question: the election has time enough for its own connections.
        calm = {"CURRANT_OPERATOR_LEASE_DURATION": "60", "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE": "50"}
        operator = start_operator(through=kubeconfig, CURRANT_OPERATOR_WATCH_INACTIVITY="3", **calm).wait_leading()
        apply_pool(ready_cluster)
        wait_replicas(ready_cluster, "orders", 1)
        between.freeze()
        ready_cluster("delete", "deployment", "orders")
        ready_cluster("scale", "wp", "orders", "--replicas=2")
        wait_replicas(ready_cluster, "orders", 2, 60)
        assert operator.running


def test_a_deletion_that_no_watch_reported_is_found_by_the_listing(
    plane: ControlPlane, ready_cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    with behind(plane, tmp_path) as (between, kubeconfig):
        calm = {"CURRANT_OPERATOR_LEASE_DURATION": "60", "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE": "50"}
        # The watches stay silent for ever, and only the resync looks.
        start_operator(through=kubeconfig, CURRANT_OPERATOR_RESYNC_INTERVAL="2", **calm).wait_leading()
        apply_pool(ready_cluster)
        wait_replicas(ready_cluster, "orders", 1)
        between.freeze()
        ready_cluster("delete", "deployment", "orders")
        wait_replicas(ready_cluster, "orders", 1, 60)


def test_an_operator_goes_on_when_the_api_server_was_started_again(
    database: str, start_operator: Start, plane: ControlPlane, ready_cluster: Cluster
) -> None:
    calm = {"CURRANT_OPERATOR_LEASE_DURATION": "60", "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE": "50"}
    operator = start_operator(**calm).wait_leading()
    apply_pool(ready_cluster)
    wait_replicas(ready_cluster, "orders", 1)
    plane.restart_api_server()
    ready_cluster("delete", "deployment", "orders")
    ready_cluster("scale", "wp", "orders", "--replicas=2")
    wait_replicas(ready_cluster, "orders", 2, 60)
    assert operator.leading


def test_an_operator_that_cannot_renew_its_lease_ends_itself(
    start_operator: Start, plane: ControlPlane, ready_cluster: Cluster
) -> None:
    leader = start_operator().wait_leading()
    plane.kill_api_server()
    try:
        assert leader.process.wait(30) == 1
    finally:
        plane.restart_api_server()
    assert "the lease could not be renewed within 3 s" in leader.log


def test_an_operator_waits_for_the_custom_resources_at_its_start_and_when_they_are_removed(
    kubectl: Kubectl, start_operator: Start, plane: ControlPlane
) -> None:
    with control_plane() as bare:
        operator = start_operator(through=bare.kubeconfig)
        eventually(lambda: "waiting: the custom resources" in operator.log)
        assert "workerpools, workflows of currant.dev are not installed" in operator.log
        assert operator.page("/healthz") == "ok\n"
        assert not operator.ready
        install_crds(bare.kubectl)
        operator.wait_leading()
        assert operator.ready
        assert operator.log.count("are not installed") == 1
        cluster = Cluster(bare.kubectl, "default")
        bare.kubectl("delete", "crd", "workerpools.currant.dev", "workflows.currant.dev")
        eventually(lambda: operator.log.count("are not installed") == 2, 60)
        install_crds(bare.kubectl)
        apply_pool(cluster)
        eventually(lambda: cluster.get("deployment", "orders"), 60)
        assert operator.terminate() == 0


def test_logs_are_objects_when_that_is_asked_for(ready_cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(CURRANT_OPERATOR_LOG_FORMAT="json")
    eventually(lambda: "health and metrics" in operator.log)
    operator_port = json.loads(operator.log.splitlines()[0])
    assert operator_port["message"].startswith("health and metrics on port")
    apply_pool(ready_cluster)

    def shown() -> bool:
        lines = [json.loads(line) for line in operator.log.splitlines()]
        return any(
            (line.get("kind"), line.get("namespace"), line.get("object"))
            == ("WorkerPool", ready_cluster.namespace, "orders")
            for line in lines
        )

    eventually(shown)
    assert operator.terminate() == 0
    assert [json.loads(line)["level"] for line in operator.log.splitlines()]
