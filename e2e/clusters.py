"""Clusters for tests: a control plane of its own for a test, and kubectl as a function.

with control_plane() as plane:
    plane.kubectl("apply", "-f", "crds/")
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster_tool import build, layout
from e2e.cluster_tool import control_plane as processes
from e2e.programs import needed

TOOL = layout.CHECKOUT / "e2e" / "cluster"


class KubectlError(Exception):
    """kubectl ended with an error; the message is what it wrote to stderr."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with one kubeconfig: the one built here if there is one, as the machine's may have another version."""

    kubeconfig: Path

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run `kubectl WORDS` and return its stdout.

        `timeout` is in seconds. Raises KubectlError with its stderr when it fails, subprocess.TimeoutExpired when it
        hangs.
        """
        command = self.command(*words)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def command(self, *words: str) -> list[str]:
        """`kubectl WORDS` as a command, for a caller that starts the process itself."""
        built = layout.BIN / "kubectl"
        program = str(built) if built.exists() else "kubectl"
        return [program, f"--kubeconfig={self.kubeconfig}", *words]

    def json(self, *words: str) -> Any:
        """Run `kubectl WORDS -o json` and return what it printed, decoded."""
        return json.loads(self(*words, "-o", "json"))

    def apply(self, *manifests: dict[str, Any], namespace: str = "default") -> None:
        """Server-side apply of the manifests, as the field manager `kubectl`, taking over what conflicts."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self("apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-", stdin=json.dumps(listed))

    def wait_established(self) -> None:
        """Wait, for 60 s at most, until every custom resource that is defined is served."""
        # `kubectl wait` fails at once on a definition that has no conditions yet, but not while its list is null.
        self("wait", "--for=jsonpath={.status.acceptedNames.kind}", "--all", "crd", "--timeout=60s")
        self("wait", "--for=condition=Established", "--all", "crd", "--timeout=60s")


@dataclass(frozen=True)
class ControlPlane:
    """A real API server with its store and controllers, and no node: Deployments get Pods, and these stay Pending."""

    directory: Path
    """The directory of its state, `log/` and `pids/`; a file of `pids/` begins with the id of its process."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's; its server is https://127.0.0.1 on a port that stays through restarts."""
        return layout.load(self.directory).kubeconfig

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(self.kubeconfig)

    def kill_api_server(self) -> None:
        """Kill the API server (SIGKILL). Requests are refused until `restart_api_server`."""
        processes.kill_api_server(layout.load(self.directory))

    def restart_api_server(self) -> None:
        """Kill the API server if it lives, start it again, and wait until it is ready (some 2 s). Objects stay."""
        processes.restart_api_server(layout.load(self.directory))


def need_control_plane() -> None:
    """Skip the test that asks for a control plane where none can be made, or fail it in CI; see `programs.needed`."""
    needed("openssl", "apt-get install openssl")
    if not build.up_to_date():
        needed("go", "https://go.dev/dl")


@contextmanager
def control_plane(directory: Path | None = None) -> Iterator[ControlPlane]:
    """A new control plane. It ends with the block, or with the process that holds it, even by SIGKILL.

    It takes about 4 s, and minutes where the binaries have to be built. `directory` must be new or empty; by default it
    is a temporary one. Several may run at once. Raises RuntimeError with the one line that says what is missing.
    """
    place = (directory or Path(tempfile.mkdtemp(prefix="currant-control-plane-"))).absolute()
    command = [str(TOOL), "up", "--control-plane-only", "--hold", "--dir", str(place)]
    # The holder takes everything down when its stdin closes, however its parent ends. It has a session of its own, so
    # that a signal to the tests' process group does not end it first.
    pipe = subprocess.PIPE
    holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        if holder.stdout is None or not holder.stdout.readline():
            raise RuntimeError(holder.communicate()[1].strip())
        yield ControlPlane(place)
    finally:
        holder.communicate()


def current() -> Kubectl:
    """kubectl on the cluster that KUBECONFIG names. Raises RuntimeError when it names none."""
    named = os.environ.get("KUBECONFIG", "")
    if not named:
        raise RuntimeError('KUBECONFIG names no cluster: eval "$(e2e/cluster env)" after e2e/cluster up')
    return Kubectl(Path(named))
