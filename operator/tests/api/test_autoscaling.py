"""A pool in the mode Native follows its queue, on an API server without nodes: pods are asked for, and never start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from operators import Cluster, RunningOperator, eventually
from samples import SMALLEST_POOL, manifest

pytestmark = pytest.mark.usefixtures("operator")
NATIVE = {"mode": "Native", "minReplicas": 0, "maxReplicas": 5, "scaleToZeroAfter": "1s", "scaleDown": {"window": "1s"}}


@pytest.fixture
def queue(database: str, operator: RunningOperator) -> Iterator[psycopg.Connection[Any]]:
    """The module's database, emptied of work in the end."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
        connection.execute("delete from currant.executions")


def pool(**scaling: Any) -> dict[str, Any]:
    return manifest(SMALLEST_POOL, spec__concurrency=2, spec__scaling={**NATIVE, **scaling})


def wait_replicas(cluster: Cluster, replicas: int) -> None:
    def reached() -> bool:
        found = cluster.get("deployment", "orders").get("spec", {}).get("replicas")
        assert found == replicas, (found, cluster.get("wp", "orders").get("status", {}).get("scaling"))
        return True

    eventually(reached, 60)


def enqueue(queue: psycopg.Connection[Any], number: int) -> None:
    queue.execute(
        "select currant.enqueue('shop.f', '{}', '{\"queue\": \"orders\"}') from generate_series(1, %s)", [number]
    )


def test_the_replicas_follow_the_queue_from_zero_to_what_it_needs_and_back(
    ready_cluster: Cluster, queue: psycopg.Connection[Any]
) -> None:
    ready_cluster.apply(pool())
    wait_replicas(ready_cluster, 0)
    ready_cluster.wait_reason("wp", "orders", "ScalingActive", "NativeReplicas")
    enqueue(queue, 6)
    wait_replicas(ready_cluster, 3)
    enqueue(queue, 20)
    wait_replicas(ready_cluster, 5)

    def limited() -> bool:
        scaling = ready_cluster.get("wp", "orders")["status"]["scaling"]
        assert (scaling["desired"], scaling.get("limitedBy")) == (5, "maxReplicas"), scaling
        return True

    eventually(limited)
    queue.execute("delete from currant.executions")
    wait_replicas(ready_cluster, 0)
    shown = [message for _, reason, message in ready_cluster.events("orders") if reason == "Scaled"]
    assert any(message.startswith("from 0 to 3 pods: 6 executions ready to start") for message in shown), shown


def test_a_paused_pool_stays_whatever_waits(ready_cluster: Cluster, queue: psycopg.Connection[Any]) -> None:
    ready_cluster.apply(pool())
    enqueue(queue, 4)
    wait_replicas(ready_cluster, 2)
    ready_cluster.apply(pool(paused=True))
    ready_cluster.wait_reason("wp", "orders", "ScalingActive", "Paused")
    enqueue(queue, 20)
    eventually(lambda: ready_cluster.get("wp", "orders")["status"]["queue"]["ready"] == 24)
    wait_replicas(ready_cluster, 2)
