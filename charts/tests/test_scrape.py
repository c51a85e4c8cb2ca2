"""The scrape configuration of docs/operate/observability.md, for a Prometheus without the Prometheus operator.

Debian's Prometheus has no discovery of Kubernetes, so the targets are given here, with the labels that the discovery
of pods gives them; the relabelling is Prometheus' own.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from currant_operator.plan import manifests
from currant_operator.plan.resources import parse_pool
from e2e.programs import needed
from e2e.prometheus import HOW
from helm import CHECKOUT, NAMESPACE, objects, one, render

GUIDE = (CHECKOUT / "docs" / "operate" / "observability.md").read_text()
META = "__meta_kubernetes"
POOL: dict[str, Any] = {
    "metadata": {"name": "orders", "namespace": "shop"},
    "spec": {
        "queues": ["orders"],
        "modules": ["shop.orders"],
        "image": "shop:1",
        "database": {"secretRef": {"name": "currant-db"}},
        "template": {"spec": {"containers": [{"name": "proxy", "image": "x", "ports": [{"containerPort": 8080}]}]}},
    },
}


def targets(namespace: str, name: str, template: dict[str, Any]) -> list[dict[str, Any]]:
    """A target for each port of each container, as `role: pod` gives them: documentation of kubernetes_sd_config."""
    labels = {
        f"{META}_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', key)}": value
        for key, value in template["metadata"]["labels"].items()
    }
    return [
        {
            "targets": [f"10.0.0.1:{port['containerPort']}"],
            "labels": {
                **labels,
                f"{META}_namespace": namespace,
                f"{META}_pod_name": name,
                f"{META}_pod_container_name": container["name"],
                f"{META}_pod_container_port_number": str(port["containerPort"]),
            },
        }
        for container in template["spec"]["containers"]
        for port in container.get("ports", [])
    ]


def configuration() -> dict[str, Any]:
    """The documented jobs over a worker's pod with a side-car, an operator's, and one of somebody else."""
    block = GUIDE.split("<!-- scrape -->")[1].split("<!-- end -->")[0]
    found: dict[str, Any] = yaml.safe_load(block.split("```yaml\n")[1].split("```")[0])
    operator = one(objects(render("default")), "Deployment", "currant-operator")["spec"]["template"]
    worker = manifests.pod_template(parse_pool(POOL), None)
    other = {**worker, "metadata": {"labels": {"app": "web"}}}
    pods = [
        *targets("shop", "orders-1", worker),
        *targets("shop", "web-1", other),
        *targets(NAMESPACE, "currant-operator-1", operator),
    ]
    for job in found["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job["static_configs"] = pods
    return found


def discovered(directory: Path, job: str) -> list[dict[str, str]]:
    """The targets that promtool keeps for a job after relabelling, by their labels."""
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration()))
    command = [needed("promtool", HOW), "check", "service-discovery", "--timeout=2s", str(path), job]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [target["labels"] for target in json.loads(done.stdout) if target.get("labels")]


def test_the_documented_jobs_give_the_labels_that_alerts_and_dashboard_ask_for(tmp_path: Path) -> None:
    (worker,) = discovered(tmp_path, "currant-workers")
    assert (worker["namespace"], worker["pod"], worker["pool"]) == ("shop", "orders-1", "orders")
    assert worker["__address__"] == "10.0.0.1:8080"
    (operator,) = discovered(tmp_path, "currant-operator")
    assert (operator["namespace"], operator["pod"]) == (NAMESPACE, "currant-operator-1")
    assert operator["job"] == "currant-operator"  # CurrantNobodyLeads asks for it


def test_the_configuration_is_one_and_the_operators_labels_are_honoured(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration()))
    done = subprocess.run([needed("promtool", HOW), "check", "config", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"]: job for job in configuration()["scrape_configs"]}
    assert jobs["currant-operator"]["honor_labels"] is True
