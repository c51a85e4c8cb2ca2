"""Measure the seconds from the creation of a worker's pod until it is Ready, in total and for each step.

    start_time.py --namespace N --secret S [--image I] [--pods 10] [--arguments "worker -q q -m module"]

It creates pods, one after another, on the cluster of KUBECONFIG. The namespace has a Secret with the key `url`: the URL
of a migrated database. Times of this machine and of the node are subtracted from each other, so run it on the node.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import time
from datetime import UTC, datetime
from typing import Any

TICKS = 100  # of a second in /proc: what Linux tells programs, whatever it counts in
STEPS = ("scheduled, sandbox, container started", "Python and imports", "connected, registered, probed: Ready", "all")


def kubectl(*arguments: str, text: str | None = None) -> str:
    """Output of kubectl; its errors go to the terminal and end the program."""
    return subprocess.run(["kubectl", *arguments], input=text, stdout=subprocess.PIPE, text=True, check=True).stdout


def manifest(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A pod as the operator makes them, with a probe every second."""
    container = {
        "name": "worker",
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "args": options.arguments.split(),
        "env": [
            {"name": "WORKFLOWS_DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": options.secret, "key": "url"}}},
            {"name": "TZ", "value": "UTC"},
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # the pod's
    }
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": options.namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": security,
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "containers": [container],
        },
    }


def process_start(name: str, namespace: str) -> float:
    """When process 1 of the pod started, in seconds since 1970."""
    output = kubectl("-n", namespace, "exec", name, "--", "cat", "/proc/1/stat", "/proc/uptime")
    now = time.time()
    stat, uptime = output.rsplit(")", 1)[1].splitlines()[:2]
    return now - float(uptime.split()[0]) + int(stat.split()[19]) / TICKS


def imported(name: str, namespace: str) -> float:
    """When the worker printed its queues: it has imported its modules, and connects to the database next."""
    log = kubectl("-n", namespace, "logs", name)
    found = re.search(r"^(\S+ \S+) INFO .* serves ", log, re.MULTILINE)
    if found is None:
        raise SystemExit(f"error: {name} did not say that it serves:\n{log}")
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC).timestamp()


def measure(name: str, options: argparse.Namespace) -> list[float]:
    """Seconds of each of STEPS for one pod, which is deleted again."""
    text = json.dumps(manifest(name, options))
    created = time.time()
    kubectl("apply", "-f", "-", text=text)
    try:
        kubectl("-n", options.namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        ready = time.time()
        start, serves = process_start(name, options.namespace), imported(name, options.namespace)
    finally:
        kubectl("-n", options.namespace, "delete", "pod", name, "--now", "--wait=false")
    return [start - created, serves - start, ready - serves, ready - created]


def main() -> None:
    """Measure and print the median and the range of each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--image", default="currant.local/currant-shop:dev")
    parser.add_argument("--arguments", default="worker -q start-time -m shop.orders")
    parser.add_argument("--pods", type=int, default=10)
    options = parser.parse_args()
    runs = [measure(f"start-time-{number}", options) for number in range(options.pods)]
    print(f"{options.pods} pods, one after another; seconds: median (least to most)")
    for step, values in zip(STEPS, zip(*runs, strict=True), strict=True):
        print(f"  {step:40} {statistics.median(values):5.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
