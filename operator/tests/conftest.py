"""Fixtures of all of the operator's tests. A control plane (a real API server without nodes) is made once, if asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.clusters import ControlPlane, Kubectl, control_plane, need_control_plane

CHECKOUT = Path(__file__).parents[2]
CRDS = CHECKOUT / "crds"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A control plane of the tests' own, with the custom resources installed."""
    need_control_plane()
    with control_plane() as running:
        install_crds(running.kubectl)
        yield running


def install_crds(kubectl: Kubectl) -> None:
    """Apply `crds/` and wait until the API server serves them."""
    kubectl("apply", "--server-side", "-f", str(CRDS))
    kubectl.wait_established()


@pytest.fixture(scope="session")
def kubectl(plane: ControlPlane) -> Kubectl:
    """kubectl as the administrator of that control plane."""
    return plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own; what is left in it does not disturb other tests."""
    name = f"test-{next(_numbers)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
