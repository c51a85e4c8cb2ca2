"""Plans carried out on a real API server: what it makes of the manifests must leave nothing to be done again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from currant_operator.plan.drift import drift_digest, needs_apply
from currant_operator.plan.observations import DatabaseReachable, ObservedPool, SecretFound
from currant_operator.plan.plans import PoolPlan
from currant_operator.plan.pool import plan_pool
from currant_operator.plan.resources import parse_pool
from e2e.clusters import Kubectl, KubectlError
from samples import SMALLEST_POOL, manifest

Body = dict[str, Any]
KINDS = {
    "Deployment": "deployment",
    "ServiceAccount": "service_account",
    "PodDisruptionBudget": "pod_disruption_budget",
}
# Everything that the server writes in another way than we do, or gives defaults to.
RICH_TEMPLATE: Body = {
    "metadata": {"labels": {"team": "shop"}, "annotations": {"example.com/note": "x"}},
    "spec": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
        ],
        "volumes": [
            {"name": "data", "emptyDir": {"sizeLimit": "1024Mi"}},
            {"name": "settings", "configMap": {"name": "settings", "optional": True}},
        ],
        "initContainers": [{"name": "first", "image": "init:1"}],
        "containers": [
            {
                "name": "worker",
                "imagePullPolicy": "IfNotPresent",
                "resources": {
                    "requests": {"cpu": 0.5, "memory": "1024Mi"},
                    "limits": {"cpu": "1000m", "memory": "2048Mi"},
                },
                "env": [
                    {"name": "EMPTY", "value": ""},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1000m"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "settings", "optional": False}}],
                "ports": [{"containerPort": 9000}],
                "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": False}],
                "stdin": False,
            },
            {"name": "log", "image": "log:1", "resources": {"limits": {"cpu": "0.1"}}},
        ],
    },
}


class Operator:
    """Does with kubectl what a plan says, in its order."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl, self.namespace = kubectl, namespace

    def observe(self) -> ObservedPool:
        objects: dict[str, Any] = {KINDS[kind]: self.get(kind) for kind in KINDS}
        pool = parse_pool(self.kubectl.json("get", "-n", self.namespace, "wp/orders"))
        return ObservedPool(
            pool=pool,
            now=datetime.now(UTC),
            secret=SecretFound("beef"),
            database=DatabaseReachable(6),
            **objects,
        )

    def get(self, kind: str) -> Body | None:
        found = self.kubectl(
            "get", "-n", self.namespace, kind, "orders", "--ignore-not-found", "--show-managed-fields", "-o", "json"
        )
        body: Body | None = json.loads(found) if found.strip() else None
        return body

    def apply(self, body: Body, manager: str) -> None:
        words = ("--server-side", "--force-conflicts", f"--field-manager={manager}", "-n", self.namespace, "-f", "-")
        self.kubectl("apply", *words, stdin=json.dumps(body))

    def carry_out(self, plan: PoolPlan) -> None:
        for body in plan.apply:
            self.apply(body, "currant-operator")
        if plan.replicas is not None:
            scale = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "orders"}}
            self.apply({**scale, "spec": {"replicas": plan.replicas}}, "currant-scaler")

    def reconcile(self) -> None:
        self.carry_out(plan_pool(self.observe()))

    def nothing_to_apply(self) -> bool:
        plan = plan_pool(self.observe())
        assert [body["kind"] for body in plan.apply] == []
        assert plan.replicas is None
        return True

    def patch(self, change: Body, kind: str = "deployment") -> None:
        self.kubectl(
            "patch", "-n", self.namespace, kind, "orders", "-p", json.dumps(change), "--field-manager=somebody"
        )

    def deployment(self) -> Body:
        found = self.get("Deployment")
        assert found is not None
        return found


@pytest.fixture
def operator(kubectl: Kubectl, namespace: str) -> Operator:
    return Operator(kubectl, namespace)


def make(operator: Operator, **changes: Any) -> None:
    body = manifest(SMALLEST_POOL, spec__scaling={"mode": "Fixed", "replicas": 2}, **changes)
    operator.kubectl("create", "-n", operator.namespace, "-f", "-", stdin=json.dumps(body))


@pytest.mark.parametrize("template", [{}, RICH_TEMPLATE], ids=["no template", "rich template"])
def test_what_was_applied_needs_nothing_more(operator: Operator, template: Body) -> None:
    make(operator, spec__template=template)
    operator.reconcile()
    assert operator.nothing_to_apply()
    assert operator.deployment()["spec"]["replicas"] == 2


def test_the_rich_template_is_in_the_pods(operator: Operator) -> None:
    make(operator, spec__template=RICH_TEMPLATE)
    operator.reconcile()
    spec = operator.deployment()["spec"]["template"]["spec"]
    worker, log = spec["containers"]
    assert (worker["name"], log["name"]) == ("worker", "log")
    assert worker["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert [port["containerPort"] for port in worker["ports"]] == [8080, 9000]
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp", "data", "settings"]
    assert spec["nodeSelector"] == {"disk": "ssd"}


def test_a_pool_that_begins_with_no_pods_never_has_one(operator: Operator) -> None:
    make(operator)
    operator.kubectl("scale", "-n", operator.namespace, "wp/orders", "--replicas=0")
    plan = plan_pool(operator.observe())
    operator.carry_out(replace(plan, replicas=None))  # killed before it had the scaler's part done
    assert operator.deployment()["spec"]["replicas"] == 0
    operator.patch({"metadata": {"labels": {"app.kubernetes.io/name": "x"}}})
    operator.reconcile()
    operator.reconcile()
    assert operator.deployment()["spec"]["replicas"] == 0
    assert operator.nothing_to_apply()


def test_fields_that_are_no_longer_wanted_go(operator: Operator) -> None:
    make(operator, spec__template=RICH_TEMPLATE)
    operator.reconcile()
    operator.kubectl(
        "patch",
        "-n",
        operator.namespace,
        "wp/orders",
        "--type=json",
        "-p",
        '[{"op": "remove", "path": "/spec/template/spec"}]',
    )
    operator.reconcile()
    spec = operator.deployment()["spec"]
    assert "nodeSelector" not in spec["template"]["spec"]
    assert [container["name"] for container in spec["template"]["spec"]["containers"]] == ["worker"]
    assert spec["template"]["metadata"]["labels"]["team"] == "shop"
    assert spec["replicas"] == 2
    assert operator.nothing_to_apply()


EDITS: dict[str, tuple[str, Body]] = {
    "image": ("deployment", {"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "evil:1"}]}}}}),
    "variable": (
        "deployment",
        {
            "spec": {
                "template": {
                    "spec": {"containers": [{"name": "worker", "env": [{"name": "WORKFLOWS_POOL", "value": "x"}]}]}
                }
            }
        },
    ),
    "replicas": ("deployment", {"spec": {"replicas": 7}}),
    "label": ("deployment", {"metadata": {"labels": {"currant.dev/pool": "other"}}}),
    "grace": ("deployment", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}),
    "budget": ("pdb", {"spec": {"maxUnavailable": "100%"}}),
    "account": ("serviceaccount", {"automountServiceAccountToken": True}),
}


@pytest.mark.parametrize(("kind", "change"), EDITS.values(), ids=EDITS.keys())
def test_an_edit_by_hand_is_put_back_by_one_reconcile(operator: Operator, kind: str, change: Body) -> None:
    make(operator)
    operator.reconcile()
    before = {name: settled_part(operator.get(name)) for name in KINDS}
    operator.patch(change, kind)
    operator.reconcile()
    assert {name: settled_part(operator.get(name)) for name in KINDS} == before
    assert operator.nothing_to_apply()


def settled_part(body: Body | None) -> Body:
    """The part of an object that its owner decides."""
    assert body is not None
    metadata = {key: body["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")}
    (metadata["annotations"] or {}).pop("deployment.kubernetes.io/revision", None)
    return {"metadata": metadata, **{key: value for key, value in body.items() if key not in ("metadata", "status")}}


def test_what_others_add_stays(operator: Operator) -> None:
    make(operator)
    operator.reconcile()
    operator.kubectl("rollout", "restart", "-n", operator.namespace, "deployment/orders")
    operator.kubectl("set", "env", "-n", operator.namespace, "deployment/orders", "ADDED=1")
    assert operator.nothing_to_apply()


def test_objects_that_are_deleted_by_hand_are_made_again(operator: Operator) -> None:
    make(operator)
    operator.reconcile()
    operator.kubectl("delete", "-n", operator.namespace, "deployment/orders", "pdb/orders", "serviceaccount/orders")
    operator.reconcile()
    assert all(operator.get(kind) is not None for kind in KINDS)
    assert operator.nothing_to_apply()


def test_a_template_that_the_server_does_not_take_is_refused_by_it(operator: Operator) -> None:
    """The message that the operator then shows as ApplyRejected."""
    make(
        operator,
        spec__template={"spec": {"containers": [{"name": "worker", "ports": [{"containerPort": 8080, "name": "UP"}]}]}},
    )
    with pytest.raises(KubectlError, match="UP"):
        operator.reconcile()


def test_a_difference_that_is_only_the_servers_way_is_applied_once_and_then_accepted(operator: Operator) -> None:
    make(operator)
    operator.reconcile()
    live = operator.deployment()
    wanted = json.loads(json.dumps(live))
    wanted["spec"]["template"]["spec"]["containers"][0]["args"][0] = "another way"
    digest = drift_digest(wanted, live)
    assert digest is not None
    assert needs_apply(wanted, live)
    assert not needs_apply(wanted, live, frozenset({digest}))
