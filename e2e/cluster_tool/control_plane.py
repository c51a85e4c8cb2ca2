"""etcd, the API server and the controllers: ordinary processes on ports of their own. Needs no root."""

from __future__ import annotations

import http.client
import signal
import ssl
from collections.abc import Sequence

from . import pki, processes
from .layout import BIN, Cluster
from .ports import Reservation

LOOPBACK = "127.0.0.1"
PORTS = ("etcd", "etcd-peer", "apiserver")


def up(cluster: Cluster) -> None:
    """Start the control plane and wait until it answers and has made the default service account.

    Raises ClusterError with the last line of the log of whatever did not come up.
    """
    reserved = {name: Reservation() for name in PORTS}
    cluster.ports = {name: reservation.port for name, reservation in reserved.items()}
    cluster.save()
    addresses = [LOOPBACK] if cluster.control_plane_only else [LOOPBACK, cluster.host_ip, f"{cluster.subnet}.128.1"]
    pki.make(cluster, addresses)
    reserved["etcd"].release()
    reserved["etcd-peer"].release()
    start_etcd(cluster)
    reserved["apiserver"].release()
    start_api_server(cluster)
    start_controllers(cluster)
    if not cluster.control_plane_only:
        start_scheduler(cluster)
    wait_for_controllers(cluster)


def start_etcd(cluster: Cluster) -> None:
    """Start etcd without flushing to disk, because its data is thrown away."""
    client, peer = (f"http://{LOOPBACK}:{cluster.ports[name]}" for name in ("etcd", "etcd-peer"))
    data = cluster.directory / "etcd"
    data.mkdir(mode=0o700, exist_ok=True)
    processes.start(
        cluster,
        "etcd",
        [
            BIN / "etcd",
            f"--name={cluster.name}",
            f"--data-dir={data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster.name}={peer}",
            "--unsafe-no-fsync",
        ],
    )


def start_api_server(cluster: Cluster) -> None:
    """Start the API server and wait until it is ready. Its command line is kept for `restart_api_server`."""
    made, port = cluster.pki, cluster.ports["apiserver"]
    alone = cluster.control_plane_only
    advertise, services = (LOOPBACK, "10.96.0.0/16") if alone else (cluster.host_ip, cluster.services)
    command = [
        f"{BIN}/kube-apiserver",
        f"--etcd-servers=http://{LOOPBACK}:{cluster.ports['etcd']}",
        f"--bind-address={LOOPBACK if alone else '0.0.0.0'}",  # noqa: S104  a node calls it too
        f"--advertise-address={advertise}",
        f"--secure-port={port}",
        f"--service-cluster-ip-range={services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={made}/ca.crt",
        f"--tls-cert-file={made}/apiserver.crt",
        f"--tls-private-key-file={made}/apiserver.key",
        f"--kubelet-client-certificate={made}/apiserver-kubelet.crt",
        f"--kubelet-client-key={made}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={made}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        f"--service-account-key-file={made}/sa.pub",
        f"--service-account-signing-key-file={made}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--allow-privileged=true",
        f"--cert-dir={made}/apiserver",
    ]
    if alone:
        # The address is published as an endpoint of the Service `kubernetes`, where a loopback address is refused.
        command.append("--endpoint-reconciler-type=none")
    (cluster.directory / "api-server.args").write_text("\n".join(command))
    _run_api_server(cluster, command)


def restart_api_server(cluster: Cluster) -> None:
    """Kill the API server (SIGKILL) and start it again on the same port; every watch and request in flight breaks."""
    kill_api_server(cluster)
    _run_api_server(cluster, (cluster.directory / "api-server.args").read_text().split("\n"))


def kill_api_server(cluster: Cluster) -> None:
    """Kill the API server (SIGKILL) and leave it dead; `restart_api_server` brings it back."""
    processes.stop(cluster, "kube-apiserver")


def start_controllers(cluster: Cluster) -> None:
    """Start the controller manager, once the API server is ready: it ends if the roles that it needs are missing."""
    made, config = cluster.pki, cluster.kubeconfig.parent / "controller-manager.conf"
    processes.start(
        cluster,
        "kube-controller-manager",
        [
            BIN / "kube-controller-manager",
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--secure-port=0",
            "--leader-elect=false",
            # With the usual limit of 20 requests per second the start takes 4 s longer.
            "--kube-api-qps=1000",
            "--kube-api-burst=1000",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={made}/sa.key",
            f"--root-ca-file={made}/ca.crt",
            f"--cluster-signing-cert-file={made}/ca.crt",
            f"--cluster-signing-key-file={made}/ca.key",
            "--allocate-node-cidrs=false",
        ],
    )


def start_scheduler(cluster: Cluster) -> None:
    """Start the scheduler, which a cluster without a node does not need."""
    config = cluster.kubeconfig.parent / "scheduler.conf"
    words = [f"--{use}kubeconfig={config}" for use in ("", "authentication-", "authorization-")]
    command = [f"{BIN}/kube-scheduler", *words, "--secure-port=0", "--leader-elect=false"]
    processes.start(cluster, "kube-scheduler", command)


def wait_for_controllers(cluster: Cluster) -> None:
    """Wait until the controllers have made the default service account, without which no pod starts."""
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    processes.wait_for(cluster, "kube-controller-manager", lambda: ask(cluster, account) == 200)


def down(cluster: Cluster) -> None:
    """Kill all processes: nothing is kept. (A graceful API server waits for a minute if etcd has ended before it.)"""
    for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
        processes.stop(cluster, name, signal.SIGKILL)


def ask(cluster: Cluster, path: str) -> int:
    """The status code of a GET as admin; 0 without an answer. (A kubectl takes 0.1 s of processor time.)"""
    context = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
    context.load_cert_chain(cluster.pki / "admin.crt", cluster.pki / "admin.key")
    connection = http.client.HTTPSConnection(LOOPBACK, cluster.ports["apiserver"], timeout=5, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _run_api_server(cluster: Cluster, command: Sequence[str]) -> None:
    processes.start(cluster, "kube-apiserver", command)
    processes.wait_for(cluster, "kube-apiserver", lambda: ask(cluster, "/readyz") == 200)
