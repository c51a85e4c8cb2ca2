"""Objects that have a pool's name but are somebody else's."""

from __future__ import annotations

import pytest

from operators import Cluster
from samples import SMALLEST_POOL, manifest

pytestmark = pytest.mark.usefixtures("operator")

FOREIGN = {
    "serviceaccount": {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "orders"}},
    "pdb": {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "orders"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "orders"}}},
    },
    "deployment": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "orders"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "orders"}},
            "template": {
                "metadata": {"labels": {"app": "orders"}},
                "spec": {"containers": [{"name": "orders", "image": "orders:1"}]},
            },
        },
    },
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_object_of_somebody_else_is_left_alone_and_the_pool_says_so(ready_cluster: Cluster, kind: str) -> None:
    ready_cluster.apply(FOREIGN[kind])
    before = ready_cluster.get(kind, "orders")
    ready_cluster.apply(manifest(SMALLEST_POOL, spec__scaling={"mode": "Fixed", "replicas": 1}))
    ready = ready_cluster.wait_reason("wp", "orders", "Ready", "NameTaken")
    assert "is not of this operator's making" in ready["message"]
    ready_cluster("delete", "wp", "orders")
    after = ready_cluster.get(kind, "orders")
    assert {**after["metadata"], "managedFields": 0} == {**before["metadata"], "managedFields": 0}
    assert after.get("spec") == before.get("spec")
