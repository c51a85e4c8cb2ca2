"""The cluster's binaries: built from the Go modules that `e2e/tools/go.mod` pins, and kept until these change."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ClusterError
from .layout import BIN, CHECKOUT, HOME
from .report import say, step

TOOLS = CHECKOUT / "e2e" / "tools"
OURS = ("hyperkube", "kubectl", "coredns", "pause")
HELM = "helm.sh/helm/v3/cmd/helm"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
LINKED = "-s -w"  # leaves out debugging tables, which halves the size


def binaries() -> None:
    """Build what is missing or out of date in `.cluster/bin`; several callers at once wait for one of them to do it.

    Raises ClusterError when there is no Go, it is too old, or the build fails.
    """
    HOME.mkdir(exist_ok=True)
    wanted = _fingerprint()
    with _one_at_a_time():
        if _built() == wanted:
            return
        check_go()
        BIN.mkdir(parents=True, exist_ok=True)
        say("building Kubernetes (about five minutes the first time) ...")
        for name in OURS:
            if (BIN / name).is_symlink():  # of an older build, where kubectl was a part of hyperkube
                (BIN / name).unlink()
        with step("built Kubernetes, etcd, CoreDNS"):
            _go_build(_version_flags(), *(f"./{name}" for name in OURS))
        helm()
        for name in COMPONENTS:
            if not (BIN / name).is_symlink():
                (BIN / name).symlink_to("hyperkube")
        (BIN / ".built").write_text(wanted)


def helm() -> Path:
    """Build helm, which a release needs without a cluster. Raises ClusterError as `binaries` does."""
    check_go()
    BIN.mkdir(parents=True, exist_ok=True)
    with step("built helm"):
        _go_build(LINKED, HELM)
    return BIN / "helm"


def up_to_date() -> bool:
    """Whether there is nothing to build."""
    return _built() == _fingerprint()


def kubernetes_version() -> str:
    """The version that `go.mod` pins, as `v1.34.4`."""
    found = re.search(r"^\tk8s\.io/kubernetes (v\S+)$", (TOOLS / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError("e2e/tools/go.mod pins no k8s.io/kubernetes")
    return found[1]


def _go_build(flags: str, *packages: str) -> None:
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly",
        "GOTOOLCHAIN": "local",
        # The compilers are short-lived processes: without collecting garbage they take a sixth less processor time.
        "GOGC": "off",
        "GOMEMLIMIT": "1536MiB",
    }
    # At the lowest priority: `make test` builds it beside tests that must not wait for it.
    command = ["nice", "-n", "19", "go", "build", "-ldflags", flags, "-o", f"{BIN}/", *packages]
    done = subprocess.run(command, cwd=TOOLS, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading")]
        raise ClusterError(f"go build of {' '.join(packages)} failed:\n" + "\n".join(said[-20:]))


def _version_flags() -> str:
    """Linker flags that tell the components their version: without them they say v0.0.0, and clients complain."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".")
    variables = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "currant-e2e",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        [LINKED, *(f"-X {package}.{name}={value}" for package in packages for name, value in variables.items())]
    )


def check_go() -> None:
    """Raises ClusterError when there is no Go, or one that is too old."""
    if shutil.which("go") is None:
        raise ClusterError("no Go here, which builds the native cluster: install it from go.dev, or use --backend kind")
    wanted = re.search(r"^go (\d+)\.(\d+)", (TOOLS / "go.mod").read_text(), re.MULTILINE)
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if wanted and found and (int(found[1]), int(found[2])) < (int(wanted[1]), int(wanted[2])):
        raise ClusterError(
            f"Go is {version}, and Kubernetes {kubernetes_version()} needs {wanted[1]}.{wanted[2]} or newer"
        )


def _built() -> str:
    if any(not (BIN / name).exists() for name in (*OURS, "helm", *COMPONENTS)):
        return ""
    try:
        return (BIN / ".built").read_text()
    except FileNotFoundError:
        return ""


def _fingerprint() -> str:
    """A digest of what the binaries depend on: our Go files and the versions of all modules."""
    digest = hashlib.sha256()
    for file in sorted(path for path in TOOLS.rglob("*") if path.is_file()):
        digest.update(file.relative_to(TOOLS).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with Path(HOME / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
