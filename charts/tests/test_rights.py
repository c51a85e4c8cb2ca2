"""A real operator with no other rights than the chart grants does all of its work, and is refused nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from currant.embedded import temporary_server
from e2e.clusters import Kubectl
from helm import NAMESPACE, Object, objects, render
from operators import RunningOperator, eventually

ACCOUNT = "currant-operator"
RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
MODES = {"default": "", "watch-namespace": "shop"}  # and the namespace that the operator watches
StartOperator = Callable[..., RunningOperator]


def pool(**spec: Any) -> Object:
    """A pool of one pod."""
    base = {
        "queues": ["orders"],
        "modules": ["shop.orders"],
        "image": "shop:1",
        "database": {"secretRef": {"name": "orders-db"}},
        "scaling": {"mode": "Fixed", "replicas": 1},
    }
    return {
        "apiVersion": "currant.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "orders"},
        "spec": {**base, **spec},
    }


WORKFLOW = {
    "apiVersion": "currant.dev/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "orders"},
    "spec": {"function": "shop.orders.process_order", "poolRef": {"name": "orders"}},
}


@pytest.fixture
def start_operator(kubectl: Kubectl, tmp_path: Path) -> Iterator[StartOperator]:
    """Start an operator as the chart's account, with the rights of a mode: all of them but those for `without`."""
    started: list[tuple[RunningOperator, list[Object]]] = []

    def start(mode: str, without: str = "") -> RunningOperator:
        granted = [item for item in objects(render(mode)) if item["kind"] in RIGHTS]
        for role in granted:
            if "rules" in role:
                role["rules"] = [rule for rule in role["rules"] if without not in rule["resources"]]
        # They are of two namespaces.
        kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(granted))
        operator = RunningOperator(
            as_account(kubectl, tmp_path),
            tmp_path / "operator.log",
            "currant-operator-0",
            "currant-operator",
            POD_NAMESPACE=NAMESPACE,
            WATCH_NAMESPACE=MODES[mode],
            CURRANT_OPERATOR_LEASE_NAMESPACE=MODES[mode] or NAMESPACE,
        )
        started.append((operator, granted))
        return operator.wait_leading()

    yield start
    for operator, granted in started:
        operator.kill()
        print(operator.log)
        kubectl("delete", "-f", "-", stdin=yaml.safe_dump_all(granted))
        for namespace in {NAMESPACE, *MODES.values()} - {""}:
            kubectl("delete", "lease", "currant-operator", "-n", namespace, "--ignore-not-found")


def as_account(kubectl: Kubectl, directory: Path) -> Path:
    """A kubeconfig of the operator's account."""
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    token = kubectl("create", "token", ACCOUNT, "-n", NAMESPACE).strip()
    config["users"] = [{"name": entry["name"], "user": {"token": token}} for entry in config["users"]]
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def shop(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The namespace shop with the Secret of an empty database; empty again when the test ends."""
    with temporary_server() as url:
        data = {"url": base64.b64encode(url.encode()).decode()}
        kubectl.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-db"}, "data": data}, namespace="shop"
        )
        yield kubectl
        for kind in ("workflow", "workerpool"):
            kubectl("delete", kind, "orders", "-n", "shop", "--ignore-not-found", "--wait=false")
        kubectl("delete", "secret", "orders-db", "-n", "shop")


def condition(kubectl: Kubectl, kind: str, name: str) -> tuple[str, str, str]:
    """A condition's status, reason and message; empty while there is none."""
    status = kubectl.json("get", kind, "orders", "-n", "shop").get("status", {})
    for item in status.get("conditions", []):
        if item["type"] == name:
            return item["status"], item["reason"], item["message"]
    return "", "", ""


def owned(kubectl: Kubectl) -> set[str]:
    """The objects that the pool owns."""
    kinds = "deployments,serviceaccounts,poddisruptionbudgets"
    return set(kubectl("get", kinds, "-n", "shop", "-l", "currant.dev/pool=orders", "-o", "name").split())


@pytest.mark.parametrize("mode", MODES)
def test_the_rights_are_enough_from_the_first_pool_to_the_end_of_the_last(
    mode: str, shop: Kubectl, start_operator: StartOperator
) -> None:
    operator = start_operator(mode)
    shop.apply(pool(), WORKFLOW, namespace="shop")
    eventually(lambda: condition(shop, "workerpool", "SchemaReady")[0] == "True", 60)
    eventually(lambda: condition(shop, "workflow", "Ready")[:2] == ("True", "Applied"))
    everything = {"deployment.apps/orders", "serviceaccount/orders", "poddisruptionbudget.policy/orders"}
    eventually(lambda: owned(shop) == everything)
    eventually(lambda: shop("get", "events", "-n", "shop", "--field-selector=involvedObject.kind=WorkerPool"))
    # An account of the user's own: the operator deletes the one that it made.
    shop.apply(pool(template={"spec": {"serviceAccountName": "default"}}), namespace="shop")
    eventually(lambda: owned(shop) == everything - {"serviceaccount/orders"})
    shop("delete", "workflow", "orders", "-n", "shop", "--timeout=60s")
    shop("delete", "workerpool", "orders", "-n", "shop", "--timeout=60s")
    assert operator.terminate() == 0
    assert "forbidden" not in operator.log.lower()


def test_a_right_that_is_missing_is_named_by_the_condition(shop: Kubectl, start_operator: StartOperator) -> None:
    start_operator("watch-namespace", without="secrets")
    shop.apply(pool(), namespace="shop")
    status, reason, message = eventually(
        lambda: (found := condition(shop, "workerpool", "DatabaseReachable"))[0] == "False" and found, 60
    ) or ("", "", "")
    assert (status, reason) == ("False", "SecretUnreadable")
    assert 'cannot get resource "secrets"' in message
