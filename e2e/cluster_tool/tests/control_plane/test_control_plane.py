"""A control plane alone: comes up, keeps what it is given, and leaves nothing behind however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster_tool import layout, processes
from e2e.cluster_tool.tests.support import run
from e2e.clusters import ControlPlane, KubectlError, control_plane

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as made:
        yield made


def test_the_controllers_work_and_pods_stay_pending(plane: ControlPlane) -> None:
    plane.kubectl("create", "deployment", "web", "--image=none")
    plane.kubectl("wait", "--for=create", "pod", "--selector=app=web", "--timeout=60s")
    pods = plane.kubectl.json("get", "pods", "--selector=app=web")["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Pending"]


def test_what_was_applied_outlives_the_api_server(plane: ControlPlane) -> None:
    plane.kubectl.apply(CONFIG_MAP)
    plane.kill_api_server()
    with pytest.raises(KubectlError, match="refused"):
        plane.kubectl("get", "configmap", "kept")
    plane.restart_api_server()
    assert plane.kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}


def test_an_error_of_kubectl_has_its_own_words(plane: ControlPlane) -> None:
    with pytest.raises(KubectlError, match='configmaps "absent" not found'):
        plane.kubectl("get", "configmap", "absent")


def test_a_second_one_knows_nothing_of_the_first(plane: ControlPlane, tmp_path: Path) -> None:
    plane.kubectl.apply(CONFIG_MAP)
    with control_plane(tmp_path / "second") as second, pytest.raises(KubectlError, match="not found"):
        second.kubectl("get", "configmap", "kept")
    assert not (tmp_path / "second").exists()


def test_a_cluster_that_runs_is_not_started_over(plane: ControlPlane) -> None:
    done = run("up", "--control-plane-only", "--dir", plane.directory)
    assert done.returncode == 1
    assert done.stderr.startswith(f"e2e/cluster: there is a cluster in {plane.directory} already")
    plane.kubectl("get", "--raw", "/readyz")


def test_an_image_cannot_be_loaded_where_there_is_no_node(plane: ControlPlane) -> None:
    done = run("load-image", "--dir", plane.directory, __file__)
    assert done.stderr == f"e2e/cluster: no node runs in {plane.directory}: e2e/cluster up makes one\n"


def test_it_is_taken_down_by_the_command_line_too(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    up = run("up", "--control-plane-only", "--dir", directory)
    assert up.stdout.startswith(f"export KUBECONFIG={directory}/kubeconfig/admin.conf PATH=")
    assert run("env", "--dir", directory).stdout == up.stdout
    running = pids(directory)
    assert [line.split()[1] for line in run("status", "--dir", directory).stdout.splitlines()[1:4]] == ["running,"] * 3
    assert run("down", "--dir", directory).returncode == 0
    assert not directory.exists()
    assert not any(processes.alive(pid) for pid in running)


def test_a_cluster_that_lost_a_process_is_not_called_well_and_one_that_lost_all_is_replaced(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    run("up", "--control-plane-only", "--dir", directory)
    cluster = layout.load(directory)
    processes.stop(cluster, "kube-controller-manager")
    (directory / "pids" / "kube-controller-manager").write_text("1 0\n")
    status = run("status", "--dir", directory)
    assert "kube-controller-manager  NOT RUNNING" in status.stdout
    assert (status.returncode, status.stderr) == (1, "e2e/cluster: not all of it runs: e2e/cluster down, then up\n")
    assert "already" in run("up", "--control-plane-only", "--dir", directory).stderr
    for name in ("kube-apiserver", "etcd"):
        processes.stop(cluster, name)
    try:
        assert run("up", "--control-plane-only", "--dir", directory).returncode == 0
        assert run("status", "--dir", directory).returncode == 0
    finally:
        run("down", "--dir", directory)


@pytest.mark.parametrize("when", ["while it starts", "while it runs"])
def test_tests_that_are_killed_leave_nothing_behind(when: str, tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    script = f"""
import pathlib, sys
sys.path.insert(0, {str(layout.CHECKOUT)!r})
from e2e.clusters import control_plane
with control_plane(pathlib.Path({str(directory)!r})):
    print("up", flush=True)
    sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True) as tests:
        if when == "while it starts":
            assert processes.wait_until(lambda: (directory / "pids" / "kube-apiserver").exists(), 60)
        else:
            assert tests.stdout is not None
            assert tests.stdout.readline() == "up\n"
        running = pids(directory)
        assert running
        tests.send_signal(signal.SIGKILL)
    assert processes.wait_until(lambda: not directory.exists(), 60)
    assert not any(processes.alive(pid) for pid in running)


def pids(directory: Path) -> list[int]:
    """The ids of what runs in the directory."""
    return [int(file.read_text().split()[0]) for file in (directory / "pids").iterdir()]
