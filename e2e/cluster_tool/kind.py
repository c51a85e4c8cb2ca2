"""A cluster by kind, for machines with a Docker engine that may pull kind's node image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from . import processes
from .errors import ClusterError
from .layout import DEFAULT_DIRECTORY, Cluster
from .report import step

NEEDED = {
    "kind": "https://kind.sigs.k8s.io",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "helm": "https://helm.sh/docs/intro/install",
}


def usable() -> bool:
    """Whether everything is installed that `prepare` asks for."""
    return not any(shutil.which(command) is None for command in NEEDED) and _docker_answers()


def prepare() -> None:
    """Raises ClusterError with the line that says what is missing."""
    if shutil.which("docker") is None:
        raise ClusterError("no Docker here, which kind needs: install it, or use --backend native on Linux")
    if not _docker_answers():
        raise ClusterError("Docker does not answer (`docker info`): start it, or use --backend native on Linux")
    for command, where in NEEDED.items():
        if shutil.which(command) is None:
            raise ClusterError(f"no {command} here: install it ({where}), or use --backend native on Linux")


def name_for(directory: Path) -> str:
    """kind's name for the cluster of a directory: `currant` for the usual one."""
    return "currant" if directory == DEFAULT_DIRECTORY else f"currant-{directory.name}"


def up(cluster: Cluster) -> None:
    """Create the cluster and wait until its node is ready."""
    with step("kind create cluster"):
        _kind("create", "cluster", f"--name={cluster.name}", f"--kubeconfig={cluster.kubeconfig}", "--wait=180s")


def down(cluster: Cluster) -> None:
    """Delete the cluster."""
    _kind("delete", "cluster", f"--name={cluster.name}", f"--kubeconfig={cluster.kubeconfig}")


def load_image(cluster: Cluster, archive: Path) -> None:
    """Load an image's archive (of `docker save`) into the nodes."""
    _kind("load", "image-archive", str(archive), f"--name={cluster.name}")


def restart_api_server(cluster: Cluster) -> None:
    """Kill the API server; the kubelet of the node starts it again. Returns when it is ready."""
    processes.run(["docker", "exec", f"{cluster.name}-control-plane", "pkill", "-KILL", "-x", "kube-apiserver"])
    if not processes.wait_until(lambda: ready(cluster), 120, 1):
        raise ClusterError("the API server did not come back within 120 s: docker logs, or e2e/cluster down and up")


def runs(cluster: Cluster) -> bool:
    """Whether kind knows nodes of the cluster."""
    return bool(status(cluster))


def ready(cluster: Cluster) -> bool:
    """Whether the API server answers."""
    asking = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", "get", "--raw", "/readyz"]
    return subprocess.run(asking, capture_output=True, check=False).returncode == 0


def status(cluster: Cluster) -> list[str]:
    """A line for each node."""
    return [f"node {name}" for name in _kind("get", "nodes", f"--name={cluster.name}").split()]


def _kind(*words: str) -> str:
    return processes.run(["kind", *words])


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
