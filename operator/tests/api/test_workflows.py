"""A Workflow's definition is in Postgres, where every enqueue obeys it; its runs are never touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from currant.rust_bridge import Call, RustBridge
from operators import CHECKOUT, Cluster, RunningOperator, eventually
from samples import SMALLEST_POOL, SMALLEST_WORKFLOW, manifest

pytestmark = pytest.mark.usefixtures("operator")
PROCESS_ORDER = "examples.simple_example.process_order"


@pytest.fixture
def bridge(database: str) -> Iterator[RustBridge]:
    """The module's database, to look behind the scenes."""
    bridge = RustBridge(database)
    yield bridge
    bridge.close()


@pytest.fixture
def shop(ready_cluster: Cluster) -> Cluster:
    """A namespace with a pool whose database is reachable."""
    ready_cluster.apply(manifest(SMALLEST_POOL, spec__scaling={"mode": "Fixed", "replicas": 0}))
    ready_cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected")
    return ready_cluster


def function(cluster: Cluster) -> str:
    """A function of the test's own: the database is the module's."""
    return f"{cluster.namespace.replace('-', '_')}.process_order"


def apply_workflow(cluster: Cluster, name: str = "process-order", **changes) -> None:
    wished = {"metadata__name": name, "spec__function": function(cluster), **changes}
    cluster.apply(manifest(SMALLEST_WORKFLOW, **wished))


def definition(bridge: RustBridge, name: str) -> dict:
    """The definition of a function; empty when there is none."""
    return next((item for item in bridge.list_definitions() if item["function"] == name), {})


def wait_defined(cluster: Cluster, bridge: RustBridge, **expected) -> dict:
    def reached():
        found = definition(bridge, function(cluster))
        assert found, "there is no definition"
        for key, value in expected.items():
            assert found[key] == value, found
        return found

    return eventually(reached)


def test_a_workflow_is_a_definition_in_postgres(shop: Cluster, bridge: RustBridge) -> None:
    apply_workflow(
        shop,
        spec__queue="orders",
        spec__defaults={"priority": 9, "timeout": "10m", "retry": {"maxAttempts": 4, "initialInterval": "1s"}},
        spec__concurrency={"limit": 10},
        spec__retention="7d",
    )
    found = wait_defined(shop, bridge, queue="orders", priority=9, timeout=600, concurrency_limit=10)
    assert found["owner"] == f"{shop.namespace}/process-order"
    assert found["retry"]["max_attempts"] == 4
    assert found["retention"] == 7 * 86400
    assert [schedule["cron"] for schedule in found["schedules"]] == ["0 3 * * *"]
    shop.wait_reason("cwf", "process-order", "Registered", "NoWorkers")


def test_a_change_of_a_workflow_reaches_postgres(shop: Cluster, bridge: RustBridge) -> None:
    apply_workflow(shop)
    wait_defined(shop, bridge, suspended=False)
    shop("patch", "cwf", "process-order", "--type=merge", "-p", '{"spec": {"suspended": true}}')
    wait_defined(shop, bridge, suspended=True)
    shop.wait_reason("cwf", "process-order", "Ready", "Suspended")


def test_a_workflow_that_is_deleted_leaves_its_runs(shop: Cluster, bridge: RustBridge) -> None:
    apply_workflow(shop)
    wait_defined(shop, bridge)
    run = bridge.create_execution(Call("workflow", function(shop), "nobody", 5, b"[[],{}]"))
    shop("delete", "cwf", "process-order", "--timeout=30s")
    eventually(lambda: definition(bridge, function(shop)) == {})
    assert bridge.get_execution(run)["state"] == "pending"


def test_of_two_workflows_with_one_function_the_first_has_it_until_it_goes(shop: Cluster, bridge: RustBridge) -> None:
    apply_workflow(shop)
    wait_defined(shop, bridge)
    apply_workflow(shop, "second")
    shown = shop.wait_reason("cwf", "second", "Ready", "OwnedByAnother")["message"]
    assert f"defined by the Workflow {shop.namespace}/process-order already" in shown
    assert "OwnedByAnother" in shop("get", "cwf", "second")
    eventually(lambda: "Warning OwnedByAnother" in shop.described("cwf", "second"))
    shop("delete", "cwf", "process-order", "--timeout=30s")
    wait_defined(shop, bridge, owner=f"{shop.namespace}/second")
    eventually(lambda: shop.condition("cwf", "second", "Ready")["reason"] != "OwnedByAnother")


def test_a_workflow_without_its_pool_is_shown_and_defined_when_the_pool_comes(
    ready_cluster: Cluster, bridge: RustBridge
) -> None:
    apply_workflow(ready_cluster)
    shown = ready_cluster.wait_reason("cwf", "process-order", "Ready", "PoolNotFound")["message"]
    assert "there is no WorkerPool orders" in shown
    ready_cluster.apply(manifest(SMALLEST_POOL, spec__scaling={"mode": "Fixed", "replicas": 0}))
    wait_defined(ready_cluster, bridge)


def test_a_workflow_outlives_its_pool_and_can_be_deleted_after_it(shop: Cluster, bridge: RustBridge) -> None:
    apply_workflow(shop)
    wait_defined(shop, bridge)
    shop("delete", "wp", "orders", "--timeout=30s")
    shop.wait_reason("cwf", "process-order", "Ready", "PoolNotFound")
    assert definition(bridge, function(shop))
    shop("delete", "cwf", "process-order", "--timeout=30s")
    eventually(lambda: definition(bridge, function(shop)) == {})


def test_a_bad_schedule_is_shown_with_the_words_of_the_database(shop: Cluster) -> None:
    schedule = {"name": "never", "cron": "0 3 31 2 *", "timeZone": "Mars/Olympus"}
    apply_workflow(shop, spec__schedules=[schedule])
    shown = shop.wait_reason("cwf", "process-order", "Ready", "InvalidSchedule")["message"]
    assert "Mars/Olympus" in shown


def test_a_definition_that_was_removed_behind_the_operators_back_comes_back(
    shop: Cluster, bridge: RustBridge, operator: RunningOperator
) -> None:
    apply_workflow(shop)
    wait_defined(shop, bridge)
    bridge.delete_definitions([f"{shop.namespace}/process-order"])
    # Found by the resync, or by the next change of the object.
    shop("patch", "cwf", "process-order", "--type=merge", "-p", '{"spec": {"suspended": true}}')
    wait_defined(shop, bridge, suspended=True)


@pytest.fixture
def worker(shop: Cluster, database: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, as one of the pool's pods would be."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "WORKFLOWS_DATABASE_URL": database,
        "WORKFLOWS_POOL": f"{shop.namespace}/orders",
        "WORKFLOWS_POD_NAME": "orders-1",
        "WORKFLOWS_POD_UID": shop.namespace,
    }
    command = [sys.executable, "-m", "currant", "worker", "-q", shop.namespace, "-m", "examples.simple_example"]
    process = subprocess.Popen(command, env=environment)
    yield process
    process.kill()
    process.wait()


def test_a_workflow_is_registered_while_a_worker_of_its_pool_has_the_function(shop: Cluster, worker) -> None:
    apply_workflow(shop, spec__function=PROCESS_ORDER)
    apply_workflow(shop, "misspelt", spec__function="examples.simple_example.proces_order")
    registered = shop.wait_reason("cwf", "process-order", "Registered", "Served")
    assert registered["status"] == "True"
    shop.wait_reason("cwf", "process-order", "Ready", "Applied")
    assert "True" in shop("get", "cwf", "process-order")
    missing = shop.wait_reason("cwf", "misspelt", "Registered", "FunctionNotServed")
    assert f"did you mean {PROCESS_ORDER}?" in missing["message"]
    worker.terminate()
    shop.wait_reason("cwf", "process-order", "Registered", "NoWorkers")


def test_the_runs_of_a_workflow_are_shown(shop: Cluster, bridge: RustBridge) -> None:
    apply_workflow(shop)
    wait_defined(shop, bridge)
    call = Call("workflow", function(shop), "nobody", 5, b"[[],{}]")
    for _ in range(2):
        bridge.create_execution(call)
    eventually(lambda: shop.get("cwf", "process-order")["status"].get("runs", {}).get("pending") == 2, 60)
    assert shop.get("cwf", "process-order")["status"]["nextScheduleTime"]
