"""Manifests that the API server refuses, with a message that says what to write."""

from __future__ import annotations

import json
import re

import pytest

from e2e.tests import manifests
from e2e.tests.conftest import Release
from e2e.tests.kube import Namespace, Object, refusal

FUNCTION = "shop.orders.process_order"


def changed(**spec: object) -> Object:
    """A good pool with some fields changed."""
    return manifests.pool("refused", **spec)  # type: ignore[arg-type]


def scheduled(cron: str, **schedule: object) -> Object:
    """A good Workflow with one schedule."""
    return manifests.workflow("refused", FUNCTION, "pool", schedules=[{"name": "nightly", "cron": cron, **schedule}])


REFUSED = {
    "an unknown field": (changed(replicaCount=3), "unknown field.*replicaCount"),
    "a minimum above the maximum": (
        changed(scaling={"mode": "Native", "minReplicas": 5, "maxReplicas": 2}),
        "minReplicas.*maxReplicas",
    ),
    "a fixed size that is not given": (changed(scaling={"mode": "Fixed"}), "replicas"),
    "no queues": (manifests.pool("refused") | {"spec": manifests.pool("refused")["spec"] | {"queues": []}}, "queues"),
    "a bad duration": (changed(drain={"timeout": "5 minutes"}), "drain.timeout"),
    "two images": (
        changed(template={"spec": {"containers": [{"name": "worker", "image": "other:1"}]}}),
        "image",
    ),
    "a cron line of four fields": (scheduled("0 3 * *"), "cron"),
    "an hour that no day has": (scheduled("0 25 * * *"), "cron"),
    "a limit of nothing": (manifests.workflow("refused", FUNCTION, "pool", concurrency={"limit": 0}), "limit"),
}


@pytest.fixture(scope="module")
def anywhere(release: Release) -> Namespace:
    """Nothing is stored: every request is a dry run."""
    return Namespace("default")


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_manifest_is_refused_with_what_to_write(anywhere: Namespace, what: str) -> None:
    manifest, wanted = REFUSED[what]
    dry = ("-n", anywhere.name, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
    assert re.search(wanted, refusal(*dry, stdin=json.dumps(manifest)), re.DOTALL)


def test_scaling_by_hand_is_refused_where_the_operator_scales(namespace: Namespace) -> None:
    native = manifests.pool("native", scaling={"mode": "Native", "minReplicas": 0, "maxReplicas": 1})
    namespace.apply(native)
    assert "Native" in refusal("-n", namespace.name, "scale", "wp/native", "--replicas=5")
    namespace.wait("wp", "native", "ScalingActive", "True", "NativeReplicas")
    namespace.show("get", "wp", "native")


def test_a_pool_does_not_move_to_another_database(namespace: Namespace) -> None:
    namespace.apply(manifests.pool("existing", replicas=0))
    patch = json.dumps({"spec": {"database": {"secretRef": {"name": "another"}}}})
    assert "database" in refusal("-n", namespace.name, "patch", "wp", "existing", "--type=merge", "-p", patch)
