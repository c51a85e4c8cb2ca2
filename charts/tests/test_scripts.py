"""The scripts of the hooks, against a real API server, as the accounts that the chart makes for them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from currant.embedded import temporary_server
from currant.rust_bridge import RustBridge
from e2e.clusters import Kubectl, KubectlError
from helm import CHART, NAMESPACE, objects, render

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/currant-operator"
POOL = {
    "apiVersion": "currant.dev/v1alpha1",
    "kind": "WorkerPool",
    "metadata": {"name": "orders", "finalizers": ["example.com/pods"]},
    "spec": {
        "queues": ["orders"],
        "modules": ["shop.orders"],
        "image": "shop:1",
        "database": {"secretRef": {"name": "currant-db"}},
        "scaling": {"mode": "Fixed", "replicas": 1},
    },
}
WORKFLOW = {
    "apiVersion": "currant.dev/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "orders"},
    "spec": {"function": "shop.orders.process_order", "poolRef": {"name": "orders"}},
}

StartScript = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_script(kubectl: Kubectl, tmp_path: Path) -> Iterator[StartScript]:
    """Start a script of the chart as an account of the chart: `start_script("cleanup.py", "currant-cleanup")`."""
    accounts = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    ours = [item for item in objects(render("crds-not-kept")) if item["kind"] in accounts]
    kubectl.apply(*ours, namespace=NAMESPACE)
    cluster = yaml.safe_load(kubectl.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = cluster.get("certificate-authority-data")
    certificate = base64.b64decode(authority) if authority else Path(cluster["certificate-authority"]).read_bytes()
    (tmp_path / "ca.crt").write_bytes(certificate)
    server = urlsplit(cluster["server"])
    started = []

    def start(script: str, account: str, patience: int = 60, **variables: str) -> subprocess.Popen[str]:
        (tmp_path / "token").write_text(kubectl("create", "token", account, "-n", NAMESPACE).strip())
        text = (CHART / "files" / "scripts" / script).read_text()
        text = text.replace("/var/run/secrets/kubernetes.io/serviceaccount", str(tmp_path))
        text = text.replace("PATIENCE_SECONDS = 60", f"PATIENCE_SECONDS = {patience}")
        address = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
        process = subprocess.Popen(
            [sys.executable, "-c", text],
            env={**os.environ, **address, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    kubectl("delete", "-f", "-", stdin=yaml.safe_dump_all(ours))


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """The lines up to the one with `wanted`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if wanted in line:
            return lines
    raise AssertionError(f"it never says {wanted!r}: {lines}")


class TestCleanup:
    def test_it_deletes_workflows_and_pools_and_waits_until_their_pods_have_ended(
        self, kubectl: Kubectl, start_script: StartScript
    ) -> None:
        kubectl.apply(POOL, WORKFLOW, namespace="shop")
        process = start_script("cleanup.py", "currant-cleanup")
        said = read_until(process, "workerpools: waiting")
        assert said[-1] == "workerpools: waiting for shop/orders"
        assert "workflows: none left" in said
        # Its pods have ended: a finalizer stands in their place here.
        patch = json.dumps({"metadata": {"finalizers": None}})
        kubectl("patch", "workerpool", "orders", "-n", "shop", "--type=merge", "-p", patch)
        rest, _ = process.communicate(timeout=60)
        assert (process.returncode, rest.strip()) == (0, "workerpools: none left")
        with pytest.raises(KubectlError, match="NotFound"):
            kubectl("get", "workerpool", "orders", "-n", "shop")

    def test_with_nothing_there_it_ends_at_once(self, start_script: StartScript) -> None:
        process = start_script("cleanup.py", "currant-cleanup")
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said.splitlines()) == (0, ["workflows: none left", "workerpools: none left"])

    def test_another_account_may_not_do_it(self, start_script: StartScript) -> None:
        process = start_script("cleanup.py", "currant-test")
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "cannot list resource" in said


@pytest.fixture
def operator_page() -> Iterator[str]:
    """The address of a page that answers as a ready operator does."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def lease(renewed: datetime) -> dict[str, Any]:
    """The operator's Lease, renewed then."""
    spec = {
        "holderIdentity": "currant-operator-0",
        "leaseDurationSeconds": 15,
        "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    metadata = {"name": "currant-operator", "namespace": NAMESPACE}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


class TestReleaseTest:
    def run(self, start_script: StartScript, **variables: str) -> tuple[int, list[str]]:
        process = start_script("release_test.py", "currant-test", LEASE_PATH=LEASE, patience=3, **variables)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said.splitlines()

    def test_it_passes_when_all_is_well(self, kubectl: Kubectl, start_script: StartScript, operator_page: str) -> None:
        kubectl.apply(lease(datetime.now(UTC)), namespace=NAMESPACE)
        with temporary_server() as url:
            empty = self.run(start_script, OPERATOR_ADDRESS=operator_page, DATABASE_URL=url)
            bridge = RustBridge(url)
            version = bridge.migrate()
            bridge.close()
            migrated = self.run(start_script, OPERATOR_ADDRESS=operator_page, DATABASE_URL=url)
        well = [
            "ok: the API server serves WorkerPool and Workflow of currant.dev/v1alpha1",
            "ok: the operator is ready",
            "ok: currant-operator-0 leads",
        ]
        makes = "the operator makes its schema when the first WorkerPool refers to it"
        assert empty == (0, [*well, f"ok: the database answers; {makes}"])
        assert migrated == (0, [*well, f"ok: the database answers and has schema version {version}"])

    def test_it_names_everything_that_is_wrong(self, kubectl: Kubectl, start_script: StartScript) -> None:
        kubectl.apply(lease(datetime.now(UTC) - timedelta(hours=1)), namespace=NAMESPACE)
        with temporary_server() as url:
            elsewhere = urlsplit(url)._replace(path="/nowhere").geturl()
            code, said = self.run(start_script, OPERATOR_ADDRESS="127.0.0.1:1", DATABASE_URL=elsewhere)
        assert code == 1
        assert [line.split(":")[0:2] for line in said if line.startswith("FAILED")] == [
            ["FAILED", " operator_is_ready"],
            ["FAILED", " one_leads"],
            ["FAILED", " database_answers"],
        ]
        assert "the Lease was renewed 36" in "\n".join(said)
        assert (urlsplit(url).password or "") not in "\n".join(said)
