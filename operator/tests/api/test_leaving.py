"""Definitions, pods and connections go with their Workflow, pool or namespace, whether or not an operator runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from currant.rust_bridge import RustBridge
from e2e.clusters import Kubectl
from operators import Cluster, RunningOperator, eventually
from samples import SMALLEST_POOL, SMALLEST_WORKFLOW, manifest

Start = Callable[..., RunningOperator]
NATIVE = {"mode": "Native", "minReplicas": 0, "maxReplicas": 2}


def pool(**changes: Any) -> dict[str, Any]:
    return manifest(SMALLEST_POOL, **{"spec__scaling": NATIVE, **changes})


def workflow(cluster: Cluster) -> dict[str, Any]:
    return manifest(SMALLEST_WORKFLOW, spec__function=function(cluster))


def function(cluster: Cluster) -> str:
    return f"{cluster.namespace.replace('-', '_')}.process_order"


def defined(database: str) -> set[str]:
    """The functions that have a definition."""
    bridge = RustBridge(database)
    try:
        return {str(item["function"]) for item in bridge.list_definitions()}
    finally:
        bridge.close()


def make(cluster: Cluster, database: str) -> None:
    """A pool and a Workflow, whose definition is in the database."""
    cluster.secret(database)
    cluster.apply(pool(), workflow(cluster))
    cluster.wait_reason("wp", "orders", "ScalingActive", "NativeReplicas")
    eventually(lambda: function(cluster) in defined(database))


def gone(cluster: Cluster) -> bool:
    return not cluster.kubectl("get", "namespace", cluster.namespace, "--ignore-not-found").strip()


def test_a_namespace_goes_with_the_operator_that_was_in_it(
    kubectl: Kubectl, make_database: Callable[[], str], start_operator: Start
) -> None:
    kubectl("create", "namespace", "alone")
    cluster, database = Cluster(kubectl, "alone"), make_database()
    operator = start_operator(WATCH_NAMESPACE="alone").wait_leading()
    make(cluster, database)
    operator.kill()
    kubectl("delete", "namespace", "alone", "--wait=false")
    eventually(lambda: gone(cluster), 60)


def test_nothing_of_ours_has_a_finalizer(ready_cluster: Cluster, start_operator: Start, database: str) -> None:
    start_operator(WATCH_NAMESPACE=ready_cluster.namespace).wait_leading()
    make(ready_cluster, database)
    for kind, name in (("wp", "orders"), ("cwf", "process-order"), ("deployment", "orders")):
        assert "finalizers" not in ready_cluster.get(kind, name)["metadata"]


def test_the_definition_of_a_workflow_that_was_deleted_while_no_operator_ran_goes_when_one_does(
    cluster: Cluster, make_database: Callable[[], str], start_operator: Start
) -> None:
    database = make_database()
    first = start_operator(WATCH_NAMESPACE=cluster.namespace).wait_leading()
    make(cluster, database)
    assert cluster.get("wp", "orders")["status"]["definitions"] == {"process-order": function(cluster)}
    assert first.terminate() == 0
    cluster("delete", "cwf", "process-order", "--timeout=10s")
    assert function(cluster) in defined(database)
    start_operator(WATCH_NAMESPACE=cluster.namespace).wait_leading()
    eventually(lambda: function(cluster) not in defined(database))
    eventually(lambda: not cluster.get("wp", "orders")["status"].get("definitions"))


def test_a_workflow_that_comes_again_under_its_name_for_another_function_leaves_nothing_of_the_first(
    cluster: Cluster, make_database: Callable[[], str], start_operator: Start
) -> None:
    database = make_database()
    first = start_operator(WATCH_NAMESPACE=cluster.namespace).wait_leading()
    make(cluster, database)
    assert first.terminate() == 0
    cluster("delete", "cwf", "process-order", "--timeout=10s")
    cluster.apply(manifest(SMALLEST_WORKFLOW, spec__function="shop.another"))
    start_operator(WATCH_NAMESPACE=cluster.namespace).wait_leading()
    eventually(lambda: defined(database) == {"shop.another"})


def test_a_definition_that_was_not_of_this_cluster_is_left_alone(
    cluster: Cluster, make_database: Callable[[], str], start_operator: Start
) -> None:
    """Two clusters may have a namespace of one name, and one database."""
    database = make_database()
    bridge = RustBridge(database)
    bridge.migrate()
    other = {"function": "elsewhere.f", "owner": f"{cluster.namespace}/elsewhere", "suspended": False}
    assert [row["status"] for row in bridge.apply_definitions([other])] == ["applied"]
    bridge.close()
    start_operator(WATCH_NAMESPACE=cluster.namespace, CURRANT_OPERATOR_RESYNC_INTERVAL="1").wait_leading()
    make(cluster, database)
    cluster("delete", "cwf", "process-order", "--timeout=10s")
    eventually(lambda: function(cluster) not in defined(database))
    assert defined(database) == {"elsewhere.f"}


@pytest.mark.parametrize("order", [("ns",), ("wp", "cwf", "ns"), ("cwf", "wp", "ns")], ids=" ".join)
def test_when_the_last_user_of_a_database_is_gone_its_definitions_and_all_connections_go_and_it_can_be_dropped(
    kubectl: Kubectl, namespace: str, make_database: Callable[[], str], start_operator: Start, order: tuple[str, ...]
) -> None:
    database = make_database()
    start_operator(WATCH_NAMESPACE=namespace).wait_leading()
    cluster = Cluster(kubectl, namespace)
    make(cluster, database)
    name = urlsplit(database).path.lstrip("/")
    server = urlsplit(database)._replace(path="/postgres").geturl()
    with psycopg.connect(server, autocommit=True) as connection:

        def connections() -> int:
            row = connection.execute("select count(*) from pg_stat_activity where datname = %s", [name]).fetchone()
            assert row is not None
            return int(row[0])

        assert connections() > 0
        for kind in order[:-1]:
            cluster("delete", kind, "--all", "--timeout=10s")
        if len(order) == 1:
            kubectl("delete", "namespace", namespace, "--wait=false")

        def alone() -> bool:
            assert connections() == 0
            return True

        eventually(alone, 20)
    assert function(cluster) not in defined(database)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'drop database "{name}"')


def test_incompatible_runs_are_in_the_status_the_conditions_an_event_and_a_gauge(
    ready_cluster: Cluster, start_operator: Start, database: str
) -> None:
    operator = start_operator(WATCH_NAMESPACE=ready_cluster.namespace).wait_leading()
    make(ready_cluster, database)
    name = function(ready_cluster)
    labels = {"namespace": ready_cluster.namespace, "pool": "orders", "function": name}
    with psycopg.connect(database, autocommit=True) as connection:
        enqueue = "select currant.enqueue(%s, '{}', %s)"
        options = json.dumps({"queue": "orders", "kind": "workflow"})
        connection.execute(enqueue, [name, options])
        connection.execute(
            "update currant.executions set state = 'suspended', suspended_at = now(), ready_xid = null, incompatible = true, refused_builds = array['1']"
            " where function = %s",
            [name],
        )
        shown = ready_cluster.wait_reason("wp", "orders", "RunsCompatible", "IncompatibleRuns")["message"]
        assert f"1 runs do not fit the code that is deployed (1 of {name})" in shown
        assert ready_cluster.get("wp", "orders")["status"]["incompatibleRuns"] == 1
        ready_cluster.wait_reason("cwf", "process-order", "RunsCompatible", "IncompatibleRuns")
        eventually(lambda: ready_cluster.get("cwf", "process-order")["status"]["runs"]["incompatible"] == 1)
        assert operator.metric("currant_pool_incompatible_runs", **labels) == 1
        assert ("Warning", "IncompatibleRuns") in [event[:2] for event in ready_cluster.events("orders")]
        connection.execute("delete from currant.executions where function = %s", [name])
        ready_cluster.wait_reason("wp", "orders", "RunsCompatible", "AllFit")
        assert [series for series, _ in operator.metrics("currant_pool_incompatible_runs") if series == labels] == []
