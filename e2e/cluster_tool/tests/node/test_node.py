"""A native node of its own: what pods and the machine can reach, and that nothing of it stays. Needs root."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e.cluster_tool import cgroups, images, layout, native, processes
from e2e.cluster_tool.tests.support import run
from e2e.clusters import Kubectl


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("node") / "cluster"
    up = run("up", "--backend", "native", "--dir", made)
    assert up.returncode == 0, up.stderr
    yield made
    run("down", "--dir", made)


def test_a_pod_runs_and_the_machine_calls_it_by_its_address_and_its_service(directory: Path) -> None:
    cluster = layout.load(directory)
    kubectl = Kubectl(cluster.kubeconfig)
    kubectl("-n", "kube-system", "expose", "deployment", "coredns", "--name=ready", "--port=80", "--target-port=8181")
    pod = kubectl.json("-n", "kube-system", "get", "pods", "--selector=k8s-app=kube-dns")["items"][0]
    service = kubectl.json("-n", "kube-system", "get", "service", "ready")
    for address in (f"{pod['status']['podIP']}:8181", service["spec"]["clusterIP"]):
        assert processes.wait_until(partial(answers, f"http://{address}/ready"), 30), address


def test_logs_and_exec_reach_the_pod(directory: Path) -> None:
    kubectl = Kubectl(layout.load(directory).kubeconfig)
    assert "CoreDNS-" in kubectl("-n", "kube-system", "logs", "deployment/coredns")
    assert "CoreDNS-" in kubectl("-n", "kube-system", "exec", "deployment/coredns", "--", "/coredns", "-version")


def test_an_image_that_was_loaded_runs(directory: Path) -> None:
    kubectl = Kubectl(layout.load(directory).kubeconfig)
    assert run("load-image", "--dir", directory, images.of_binary("pause")).returncode == 0
    kubectl("run", "idle", f"--image={images.name_of('pause')}", "--image-pull-policy=Never")
    kubectl("wait", "--for=condition=Ready", "pod/idle", "--timeout=60s")


def test_what_is_no_image_is_refused(directory: Path) -> None:
    done = run("load-image", "--dir", directory, __file__)
    assert done.returncode == 1
    assert done.stderr.startswith(f"e2e/cluster: {__file__} cannot be loaded: ")


def test_a_second_node_runs_beside_the_first(directory: Path, tmp_path: Path) -> None:
    beside = tmp_path / "second"
    try:
        up = run("up", "--backend", "native", "--dir", beside)
        assert up.returncode == 0, up.stderr
        assert layout.load(beside).subnet != layout.load(directory).subnet
    finally:
        run("down", "--dir", beside)
    Kubectl(layout.load(directory).kubeconfig)("-n", "kube-system", "wait", "--for=condition=Ready", "pod", "--all")


def test_nothing_of_a_node_stays(tmp_path: Path) -> None:
    before = traces()
    directory = tmp_path / "cluster"
    run("up", "--backend", "native", "--dir", directory)
    cluster = layout.load(directory)
    assert traces() != before
    running = [processes.pid_of(cluster, file.name) for file in cluster.pids.iterdir()]
    assert "running" in "\n".join(native.status(cluster))
    assert run("down", "--dir", directory).returncode == 0
    assert not any(pid and processes.alive(pid) for pid in running)
    assert not directory.exists()
    assert traces() == before


def traces() -> dict[str, object]:
    """Everything that a node might leave on the machine: interfaces, routes, mounts, control groups."""
    return {
        "interfaces": subprocess.check_output(["ip", "-brief", "link"], text=True).count("currant"),
        "routes": subprocess.check_output(["ip", "route"], text=True).count("currant"),
        "mounts": Path("/proc/mounts").read_text().count("cluster/"),
        "cgroups": sorted(str(path) for path in cgroups.ROOT.glob("**/currant-*")),
        "lib": sorted(path.name for path in Path("/var/lib").iterdir()),
    }


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
