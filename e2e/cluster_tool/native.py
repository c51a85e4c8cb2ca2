"""A cluster of native processes: a control plane, and a node unless only that was asked for."""

from __future__ import annotations

from pathlib import Path

from . import build, control_plane, namespaces, node, packages, processes
from .layout import Cluster
from .report import step


def check(*, with_node: bool) -> None:
    """Install the packages that are missing. Raises ClusterError with the line that says what this machine lacks."""
    packages.need(node=with_node)
    if not build.up_to_date():
        build.check_go()


def prepare() -> None:
    """Build what is missing or out of date. Raises ClusterError when that fails."""
    build.binaries()


def up(cluster: Cluster) -> None:
    """Start everything, and wait until it can be used."""
    if not cluster.control_plane_only:
        namespaces.make(cluster)
    with step("control plane"):
        control_plane.up(cluster)
    if not cluster.control_plane_only:
        node.up(cluster)


def down(cluster: Cluster) -> None:
    """End every process of the cluster that runs."""
    if not cluster.control_plane_only:
        node.down(cluster)
    control_plane.down(cluster)


def load_image(cluster: Cluster, archive: Path) -> None:
    """Load an image's archive into the node."""
    node.load_image(cluster, archive)


def restart_api_server(cluster: Cluster) -> None:
    """Kill the API server, start it again, and wait until it is ready."""
    control_plane.restart_api_server(cluster)


def runs(cluster: Cluster) -> bool:
    """Whether any process of the cluster runs; after a restart of the machine none does."""
    return any(processes.pid_of(cluster, file.name) for file in cluster.pids.iterdir())


def ready(cluster: Cluster) -> bool:
    """Whether everything that was started runs, and the API server is ready."""
    started = list(cluster.pids.iterdir())
    return all(processes.pid_of(cluster, file.name) for file in started) and _api_server_is_ready(cluster)


def status(cluster: Cluster) -> list[str]:
    """A line for each process, then the addresses."""
    lines = []
    for file in sorted(cluster.pids.iterdir()):
        pid = processes.pid_of(cluster, file.name)
        lines.append(f"{file.name:24} {f'running, process {pid}' if pid else 'NOT RUNNING'}")
    lines.append(f"{'API server':24} {'ready' if _api_server_is_ready(cluster) else 'NOT READY'}")
    if cluster.subnet:
        lines.append(
            f"{'node':24} {cluster.node_ip}: NodePorts; the machine can call pods and Services themselves, too"
        )
        lines.append(f"{'the machine':24} {cluster.host_ip}, and as pg.host, from within the cluster")
    return lines


def _api_server_is_ready(cluster: Cluster) -> bool:
    return "apiserver" in cluster.ports and control_plane.ask(cluster, "/readyz") == 200
