"""The Debian packages that a node needs on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import ClusterError
from .report import step

# Debian's package for each command.
COMMANDS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "openssl": "openssl",
}
PLUGIN_PACKAGE = "containernetworking-plugins"
PLUGIN_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


def need(*, node: bool) -> None:
    """Check that every package is installed; as root on Debian, install those that are missing.

    Raises ClusterError that names what is missing, or says that a node needs root.
    """
    if node and os.geteuid() != 0:
        raise ClusterError("a node needs root: run as root, with --control-plane-only, or with --backend kind")
    missing = _missing(node=node)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        with step(f"installed {' '.join(missing)}"):
            _install(missing)
        missing = _missing(node=node)
    if missing:
        raise ClusterError(f"missing on this machine: install the packages {' '.join(missing)}")


def plugins() -> Path:
    """The directory of the CNI plugins. Raises ClusterError when there is none."""
    for directory in PLUGIN_DIRECTORIES:
        if (directory / "bridge").exists():
            return directory
    raise ClusterError(f"missing on this machine: install the package {PLUGIN_PACKAGE}")


def _missing(*, node: bool) -> list[str]:
    commands = COMMANDS if node else {"openssl": "openssl"}
    missing = {package for command, package in commands.items() if shutil.which(command) is None}
    if node and not any((directory / "bridge").exists() for directory in PLUGIN_DIRECTORIES):
        missing.add(PLUGIN_PACKAGE)
    return sorted(missing)


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ClusterError(f"{' '.join(command[:2])} failed: {last}")
