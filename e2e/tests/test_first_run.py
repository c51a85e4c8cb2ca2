"""From `helm install` to finished orders, as docs/operate/kubernetes.md has it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.clusters import KubectlError
from e2e.tests.conftest import FIRST, RELEASE, SYSTEM, Release
from e2e.tests.kube import Database, Namespace, cluster, eventually, helm
from e2e.tests.manifests import example

ORDERS = 20
PROXY = "/api/v1/namespaces/{namespace}/services/shop-web:8000/proxy"


@pytest.fixture(scope="module")
def shop(release: Release) -> Iterator[Namespace]:
    """The example, applied where the chart put the Secret of its database."""
    namespace = Namespace(FIRST)
    namespace.apply(*example("workerpool.yaml"), *example("workflow.yaml"), *example("shop.yaml"))
    namespace.ready("workerpool", "shop")
    namespace("rollout", "status", "deployment/shop-web", "--timeout=90s")
    yield namespace
    # The namespace itself is the release's: it has the Secret there.
    namespace("delete", "wp,cwf,deployments", "--all", "--wait=false")


@pytest.fixture(scope="module")
def database(release: Release) -> Database:
    """The database of the chart's Secret."""
    return release.database("currant")


CLIENT = """
import json, urllib.request
for number in range({orders}):
    order = {{"order_id": f"o-{{number}}", "item": "apple", "quantity": 1, "cents": 250}}
    headers = {{"content-type": "application/json"}}
    request = urllib.request.Request("http://shop-web:8000/orders", json.dumps(order).encode(), headers)
    print(json.load(urllib.request.urlopen(request, timeout=10))["id"])
"""


@pytest.fixture(scope="module")
def orders(shop: Namespace) -> list[str]:
    """Orders posted to the shop's Service from another pod; the ids of their workflows.

    Not by `kubectl create --raw`, which sends no content type.
    """
    client = ("exec", "deploy/shop", "--", "python", "-c", CLIENT.format(orders=ORDERS))
    # The first second after a pod is Ready, its Service may not answer; an order that is sent twice is one.
    return eventually("the shop answers", lambda: shop(*client).split(), timeout=30)


def test_orders_posted_to_the_shop_in_the_cluster_complete(
    shop: Namespace, database: Database, orders: list[str]
) -> None:
    def finished() -> list[object]:
        found = [shop.raw("get", f"{PROXY}/orders/{order}") for order in orders]
        return found if all(item["state"] == "completed" for item in found) else []

    receipts = eventually("all orders are completed", finished)
    assert receipts[3]["receipt"] == {"order_id": "o-3", "payment": "payment-o-3", "parcel": "parcel-o-3"}  # type: ignore[index]
    shop.show("get", "wp,cwf,deployments,pods")
    assert database.number("select count(*) from currant.executions where attempt > 1 or worker_losses > 0") == 0


def test_the_command_line_of_the_release_shows_the_orders(shop: Namespace, orders: list[str]) -> None:
    line = ("exec", "deploy/currant-cli", "--", "currant")
    assert "shop.orders.process_order" in SYSTEM.show(*line, "list", "--roots", "--limit", "5")
    listed = json.loads(SYSTEM.execute("deploy/currant-cli", "currant", "list", "--roots", "--limit", "1000", "--json"))
    assert {run["id"] for run in listed} >= set(orders)
    assert "shop" in SYSTEM.show(*line, "workers")
    SYSTEM.show(*line, "schedules")


def test_neither_workers_nor_the_command_line_have_the_owners_credentials(shop: Namespace) -> None:
    who = "import os, urllib.parse; print(urllib.parse.urlsplit(os.environ['WORKFLOWS_DATABASE_URL']).username)"
    assert shop.execute("deploy/shop", "python", "-c", who).strip() == "demo_worker"
    assert SYSTEM.execute("deploy/currant-cli", "python", "-c", who).strip() == "demo_client"
    assert shop.find("secret", "currant-db-owner") is None
    with pytest.raises(KubectlError, match="no right to do this"):
        SYSTEM.execute("deploy/currant-cli", "currant", "retention", "set", "orders", "1d")


def test_helm_test_passes(release: Release, shop: Namespace) -> None:
    output = helm("test", RELEASE, "-n", SYSTEM.name, "--timeout", "2m")
    assert "Phase:          Succeeded" in output


def test_kubectl_explains_the_fields(release: Release) -> None:
    for field in ("workerpool.spec.scaling.mode", "workflow.spec.schedules.cron"):
        assert "DESCRIPTION" in cluster()("explain", field)


def test_status_of_pool_and_workflow_tell_what_runs(shop: Namespace, orders: list[str]) -> None:
    def counted() -> bool:
        runs = shop.get("workflow", "process-order")["status"].get("runs", {})
        return bool(runs.get("completed") == ORDERS)

    eventually("the Workflow counts its runs", counted)
    status = shop.get("workerpool", "shop")["status"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    shop.show("describe", "wp", "shop")
    shop.show("get", "cwf", "-o", "wide")
