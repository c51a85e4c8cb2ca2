"""A certificate authority for one cluster, its certificates, and a kubeconfig for each caller of the API server."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from . import processes
from .layout import Cluster

DAYS = "30"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

# The callers of the API server on the machine, with the users and groups to which the built-in roles are bound.
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
}


def make(cluster: Cluster, addresses: Sequence[str]) -> None:
    """The authority, the key that signs service accounts' tokens, the API server's certificates and the kubeconfigs."""
    directory = cluster.pki
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
    out = ("-keyout", directory / "ca.key", "-out", directory / "ca.crt")
    _openssl("req", "-x509", *CURVE, *out, "-subj", "/CN=currant-e2e", "-days", DAYS, *usage)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", directory / "sa.key")
    _openssl("ec", "-in", directory / "sa.key", "-pubout", "-out", directory / "sa.pub")
    services = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    names = [f"DNS:{name}" for name in (*services, "localhost")] + [f"IP:{address}" for address in addresses]
    issue(cluster, "apiserver", "/CN=kube-apiserver", "serverAuth,clientAuth", ",".join(names))
    issue(cluster, "apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet", "clientAuth")
    server = f"https://127.0.0.1:{cluster.ports['apiserver']}"
    for name, subject in CLIENTS.items():
        kubeconfig(cluster, name, subject, server)


def issue(cluster: Cluster, name: str, subject: str, usage: str, names: str = "") -> None:
    """A key and a certificate signed by the authority; `names` are its alternative names as openssl writes them."""
    extensions = ["keyUsage=critical,digitalSignature,keyEncipherment", f"extendedKeyUsage={usage}"]
    extensions += [f"subjectAltName={names}"] if names else []
    signing = ("-CA", cluster.pki / "ca.crt", "-CAkey", cluster.pki / "ca.key", "-days", DAYS, "-subj", subject)
    added = [word for extension in extensions for word in ("-addext", extension)]
    out = ("-keyout", cluster.pki / f"{name}.key", "-out", cluster.pki / f"{name}.crt")
    _openssl("req", "-x509", *CURVE, *out, *signing, "-addext", "basicConstraints=critical,CA:FALSE", *added)


def kubeconfig(cluster: Cluster, name: str, subject: str, server: str) -> Path:
    """A client certificate for `subject`, and the kubeconfig that uses it to call `server`."""
    issue(cluster, name, subject, "clientAuth")

    def data(file: str) -> str:
        return base64.b64encode((cluster.pki / file).read_bytes()).decode()

    authority, certificate, key = data("ca.crt"), data(name + ".crt"), data(name + ".key")
    path = cluster.kubeconfig.parent / f"{name}.conf"
    path.write_text(
        f"""apiVersion: v1
kind: Config
clusters: [{{name: {cluster.name}, cluster: {{server: "{server}", certificate-authority-data: {authority}}}}}]
users: [{{name: {name}, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]
contexts: [{{name: {cluster.name}, context: {{cluster: {cluster.name}, user: {name}}}}}]
current-context: {cluster.name}
"""
    )
    path.chmod(0o600)
    return path


def _openssl(*words: str | Path) -> None:
    processes.run(["openssl", *words])
