"""The scrape configuration of docs/observability.md, for a Prometheus without the Prometheus operator, on a real API server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.clusters import Kubectl
from e2e.prometheus import executable
from helm import CHECKOUT, NAMESPACE

GUIDE = (CHECKOUT / "docs" / "observability.md").read_text()
RUNS = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
PODS: dict[str, tuple[str, str, dict[str, str], dict[str, int]]] = {
    # namespace, name, labels, the port of each container
    "worker": (
        "shop",
        "orders-1",
        {"app.kubernetes.io/name": "currant-worker", "currant.dev/pool": "orders"},
        {"worker": 8080, "proxy": 15090},
    ),
    "operator": (NAMESPACE, "currant-operator-1", {"app.kubernetes.io/name": "currant-operator"}, {"operator": 8080}),
    "other": ("shop", "web-1", {"app": "web"}, {"worker": 8080}),
}


def configuration(kubectl: Kubectl) -> dict[str, Any]:
    """The documented jobs, for a Prometheus outside of the cluster."""
    block = GUIDE.split("<!-- scrape -->")[1].split("<!-- end -->")[0]
    found: dict[str, Any] = yaml.safe_load(block.split("```yaml\n")[1].split("```")[0])
    for job in found["scrape_configs"]:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(kubectl.kubeconfig)
    return found


@pytest.fixture
def pods(kubectl: Kubectl) -> Iterator[None]:
    """A worker's pod with a side-car's port, an operator's, and another, with addresses as a kubelet would give them."""
    for number, (namespace, name, labels, ports) in enumerate(PODS.values()):
        containers = [{"name": f"c{port}", "image": "x", "ports": [{"containerPort": port}], **RUNS} for port in ports]
        context = {"runAsNonRoot": True, "runAsUser": 7, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": containers, "securityContext": context, "serviceAccountName": "default"},
        }
        kubectl("create", "-f", "-", stdin=json.dumps(pod))
        address = f"10.0.0.{number + 1}"
        status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
        kubectl("patch", "pod", name, "-n", namespace, *patch)
    yield
    for namespace, name, _, _ in PODS.values():
        kubectl("delete", "pod", name, "-n", namespace, "--force", "--grace-period=0")


def discovered(kubectl: Kubectl, directory: Path, job: str) -> list[dict[str, str]]:
    """What promtool finds for a job, after relabelling: the labels of each target that is kept."""
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration(kubectl)))
    command = [executable("promtool"), "check", "service-discovery", "--timeout=10s", str(path), job]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [target["labels"] for target in json.loads(done.stdout) if target.get("labels")]


def test_the_documented_jobs_give_the_labels_that_alerts_and_dashboard_ask_for(
    kubectl: Kubectl, pods: None, tmp_path: Path
) -> None:
    (worker,) = discovered(kubectl, tmp_path, "currant-workers")
    assert (worker["namespace"], worker["pod"], worker["pool"]) == ("shop", "orders-1", "orders")
    assert worker["__address__"] == "10.0.0.1:8080"
    (operator,) = discovered(kubectl, tmp_path, "currant-operator")
    assert (operator["namespace"], operator["pod"]) == (NAMESPACE, "currant-operator-1")
    assert operator["job"] == "currant-operator"  # CurrantNobodyLeads asks for it


def test_the_configuration_is_one_and_the_operators_labels_are_honoured(kubectl: Kubectl, tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration(kubectl)))
    done = subprocess.run([executable("promtool"), "check", "config", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"]: job for job in configuration(kubectl)["scrape_configs"]}
    assert jobs["currant-operator"]["honor_labels"] is True
