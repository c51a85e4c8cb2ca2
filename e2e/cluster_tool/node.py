"""One node, from Debian's containerd and the built kubelet and kube-proxy, and CoreDNS as its first pod. Needs root."""

from __future__ import annotations

import subprocess
from pathlib import Path
from string import Template

from . import cgroups, control_plane, images, namespaces, packages, pki, processes
from .errors import ClusterError
from .layout import BIN, CONFIG, Cluster
from .report import step

NODE = "currant-node"


def up(cluster: Cluster) -> None:
    """Start the node, in namespaces that are there already, and wait until pods run and names resolve."""
    cgroups.make(cluster.cgroup)
    _configure(cluster)
    with step("containerd"):
        namespaces.start(cluster, "containerd", ["containerd", "--config", cluster.directory / "containerd.toml"])
        processes.wait_for(cluster, "containerd", lambda: _succeeds(_ctr(cluster, "version")))
        for binary in ("pause", "coredns"):
            load_image(cluster, images.of_binary(binary))
    with step("kubelet and kube-proxy"):
        config = cluster.kubeconfig.parent
        words = [f"--kubeconfig={config}/kubelet.conf", f"--hostname-override={NODE}", f"--node-ip={cluster.node_ip}"]
        namespaces.start(cluster, "kubelet", [BIN / "kubelet", f"--config={cluster.directory}/kubelet.yaml", *words])
        proxy = cluster.directory / "kube-proxy.yaml"
        namespaces.start(cluster, "kube-proxy", [BIN / "kube-proxy", f"--config={proxy}"])
        node = f"/api/v1/nodes/{NODE}"
        processes.wait_for(cluster, "kubelet", lambda: control_plane.ask(cluster, node) == 200)
        _wait(cluster, "node", f"node/{NODE}", "Ready")
    with step("DNS"):
        _kubectl(cluster, "apply", "--filename", str(cluster.directory / "coredns.yaml"))
        _wait(cluster, "DNS", "deployment/coredns", "Available", "--namespace=kube-system")


def down(cluster: Cluster) -> None:
    """End the node and everything that ran on it."""
    namespaces.end(cluster)
    if cluster.subnet:
        cgroups.remove(cluster.cgroup)


def load_image(cluster: Cluster, archive: Path) -> None:
    """Load an image's archive (of `docker save`, or OCI) into the node. Raises ClusterError for any other file."""
    # The archive goes through standard input, because the node has other directories in some places, such as /run.
    with archive.open("rb") as content:
        command = _ctr(cluster, "--namespace=k8s.io", "images", "import", "-")
        done = subprocess.run(command, stdin=content, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{archive} cannot be loaded: {done.stderr.strip() or done.returncode}")


def _configure(cluster: Cluster) -> None:
    pki.kubeconfig(cluster, "kubelet", f"/O=system:nodes/CN=system:node:{NODE}", cluster.node_server)
    proxy = pki.kubeconfig(cluster, "kube-proxy", "/CN=system:kube-proxy", cluster.node_server)
    names = f"DNS:{NODE},IP:127.0.0.1,IP:{cluster.node_ip}"
    pki.issue(cluster, "kubelet-server", f"/O=system:nodes/CN=system:node:{NODE}", "serverAuth", names)
    (cluster.directory / "resolv.conf").write_text(f"nameserver {cluster.dns_ip}\n")
    (cluster.directory / "cni").mkdir(exist_ok=True)
    values = {
        "cgroup": cluster.cgroup,
        "directory": cluster.directory,
        "dns": cluster.dns_ip,
        "gateway": f"{cluster.subnet}.0.1",
        "host": cluster.host_ip,
        "image": images.name_of("coredns"),
        "kubeconfig": proxy,
        "node": NODE,
        "pause": images.name_of("pause"),
        "pki": cluster.pki,
        "plugins": packages.plugins(),
        "pods": cluster.pods,
    }
    for source in CONFIG.iterdir():
        target = cluster.directory / ("cni/10-currant.conflist" if source.name == "cni.conflist" else source.name)
        target.write_text(Template(source.read_text()).substitute(values))


def _ctr(cluster: Cluster, *words: str) -> list[str]:
    return [*namespaces.enter(cluster), "ctr", *words]


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _kubectl(cluster: Cluster, *words: str) -> str:
    return processes.run([BIN / "kubectl", f"--kubeconfig={cluster.kubeconfig}", *words])


def _wait(cluster: Cluster, what: str, item: str, condition: str, *words: str) -> None:
    try:
        _kubectl(cluster, "wait", f"--for=condition={condition}", item, "--timeout=180s", *words)
    except ClusterError as error:
        raise ClusterError(f"{what} not ready after 180 s: {error}") from None
