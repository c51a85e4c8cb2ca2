"""The namespaces that a node lives in, as in a container: its own network, mounts and process ids.

So several nodes fit on one machine, the machine's firewall and interfaces stay as they were but for one link, and the
end of process 1 ends everything: pods, mounts, bridges, rules.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import shlex
import signal
from pathlib import Path

from . import processes
from .errors import ClusterError
from .layout import BIN, HOME, Cluster

INIT = "node"
# Directories of the machine that the node replaces with directories of the cluster, by the names of these.
STATE = {
    "containerd": "/var/lib/containerd",
    "kubelet": "/var/lib/kubelet",
    "networks": "/var/lib/cni",
    "node-log": "/var/log",
}
# Packets from a pod to a Service pass the bridge, where kube-proxy's rules must apply too. The module may be built in.
FORWARD = """
echo 1 > /proc/sys/net/ipv4/ip_forward
[ -e /proc/sys/net/bridge ] || modprobe br_netfilter
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
"""
SECOND_NUMBERS = range(210, 250)
"""A cluster gets 10.N.0.0/16, the first N of these that no route of the machine leads to."""


def make(cluster: Cluster) -> None:
    """Make the namespaces, which an idle process keeps open, and the link between machine and node."""
    words = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave"]
    processes.start_forking(cluster, INIT, ["unshare", *words, BIN / "pause"])
    _mount(cluster)
    with (HOME / "network.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster.subnet = _free_subnet()
        cluster.save()
        _link(cluster)


def enter(cluster: Cluster) -> list[str]:
    """The beginning of a command that runs in the node. Raises ClusterError when the node is not there."""
    init = processes.pid_of(cluster, INIT)
    if init is None:
        raise ClusterError(f"no node runs in {cluster.directory}: e2e/cluster up makes one")
    return ["nsenter", f"--target={init}", "--net", "--mount", "--pid", "--wd=/", "--"]


def start(cluster: Cluster, name: str, command: list[str | Path]) -> None:
    """Start a process in the node. `pids/NAME` holds its id as the machine sees it."""
    processes.start_forking(cluster, name, [*enter(cluster), *command])


def end(cluster: Cluster) -> None:
    """End process 1; the kernel then ends all others and frees the namespaces."""
    processes.stop(cluster, INIT, signal.SIGKILL)


def _mount(cluster: Cluster) -> None:
    """Give the node its own /run, and its own directories below /var, without making any on the machine."""
    own = {cluster.directory / name: f"/run/own/{name}" for name in STATE}
    for directory in own:
        directory.mkdir()
    lines = [
        "set -e",
        # Volumes with mount propagation need shared mounts. The machine does not see them: the namespace is its slave.
        "mount --make-rshared /",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "mkdir -p /run/upper /run/work " + " ".join(own.values()),
        *(f"mount --bind {shlex.quote(str(directory))} {target}" for directory, target in own.items()),
        # The directories may be missing; they must not be made or removed while another node may use them.
        "mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work overlay /var/lib",
        "mkdir -p " + " ".join(STATE.values()),
        *(f"mount --bind /run/own/{name} {point}" for name, point in STATE.items()),
    ]
    processes.run([*enter(cluster), "sh", "-c", "\n".join(lines)])


def _free_subnet() -> str:
    routes = json.loads(processes.run(["ip", "-4", "-json", "route"]))
    taken = [ipaddress.ip_network(route["dst"]) for route in routes if route["dst"] != "default"]
    for number in SECOND_NUMBERS:
        wanted = ipaddress.ip_network(f"10.{number}.0.0/16")
        if not any(wanted.overlaps(network) for network in taken):
            return f"10.{number}"
    raise ClusterError("every network from 10.210.0.0/16 to 10.249.0.0/16 is in use: take down a cluster")


def _link(cluster: Cluster) -> None:
    """`currantN` on the machine, `eth0` in the node; from the machine, a route to the node's pods and Services."""
    init = str(processes.pid_of(cluster, INIT))
    interface, inside = f"currant{cluster.subnet.removeprefix('10.')}", enter(cluster)
    processes.run(["ip", "link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", init])
    processes.run(["ip", "address", "add", f"{cluster.host_ip}/30", "dev", interface])
    processes.run(["ip", "link", "set", interface, "up"])
    processes.run([*inside, "ip", "link", "set", "lo", "up"])
    processes.run([*inside, "ip", "address", "add", f"{cluster.node_ip}/30", "dev", "eth0"])
    processes.run([*inside, "ip", "link", "set", "eth0", "up"])
    processes.run([*inside, "ip", "route", "add", "default", "via", cluster.host_ip])
    processes.run(["ip", "route", "add", f"{cluster.subnet}.0.0/16", "via", cluster.node_ip])
    processes.run([*inside, "sh", "-c", FORWARD])
