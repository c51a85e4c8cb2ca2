"""One control plane for the session: an API server that checks what the chart renders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.clusters import Kubectl, control_plane
from helm import CHECKOUT, NAMESPACE

# As demanding as namespaces get: what the chart runs must be let in there.
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
NAMESPACES = (NAMESPACE, "shop", "reports")


@pytest.fixture(scope="session")
def kubectl() -> Iterator[Kubectl]:
    """kubectl on an API server with the namespaces of the modes, Currant's definitions, and the Prometheus operator's."""
    with control_plane() as plane:
        kubectl = plane.kubectl
        for name in NAMESPACES:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
            kubectl("create", "-f", "-", stdin=json.dumps(namespace))
        for path in (CHECKOUT / "crds", Path(__file__).with_name("data") / "monitoring.coreos.com.json"):
            kubectl("apply", "--server-side", "-f", str(path))
        kubectl.wait_established()
        yield kubectl
