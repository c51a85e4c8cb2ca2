"""Calls to the API are counted by verb and kind, never by anything that a user may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from currant_operator import metrics
from currant_operator.plan.kinds import Key

POOL = "/apis/currant.dev/v1alpha1/namespaces/pods/workerpools"


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "resource"),
    [
        ("GET", "/apis/currant.dev/v1alpha1/workerpools", {}, "list", "workerpools"),
        ("GET", POOL, {"watch": "true"}, "watch", "workerpools"),
        ("GET", f"{POOL}/status", {}, "get", "workerpools"),
        ("PATCH", f"{POOL}/orders", {}, "patch", "workerpools"),
        ("PATCH", f"{POOL}/leases/status", {}, "patch", "workerpools/status"),
        ("GET", "/api/v1/namespaces/shop/secrets/pods", {}, "get", "secrets"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/shop/leases/scale", {}, "update", "leases"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events", {}, "create", "events"),
        ("GET", "/apis/currant.dev/v1alpha1", {}, "get", "discovery"),
        ("GET", "/api/v1/namespaces", {}, "get", "discovery"),
        ("GET", "/api", {}, "get", "discovery"),
    ],
)
def test_a_call_is_counted_as_kubernetes_would_name_it(method, path, query, verb, resource):
    series = metrics.API_REQUESTS.labels(verb, resource, "2xx")
    before = series._value.get()
    metrics.api_request(method, path, query, 200)
    assert series._value.get() == before + 1


def test_the_series_of_a_pool_go_with_it():
    key = Key("WorkerPool", "shop", "orders")
    condition = {"type": "Ready", "status": "False"}
    metrics.show_pool(key, {"replicas": 2, "scaling": {"desired": 3}, "conditions": [condition]}, True)
    metrics.show_queue(key, 5, 0, 1, 2.5)
    page = metrics.page().decode()
    assert 'currant_pool_desired_replicas{namespace="shop",pool="orders"} 3.0' in page
    assert 'currant_pool_condition{condition="Ready",namespace="shop",pool="orders"} 0.0' in page
    assert 'currant_pool_ready{namespace="shop",pool="orders"} 5.0' in page
    metrics.forget_pool(key)
    assert 'pool="orders"' not in metrics.page().decode()


def test_incompatible_runs_are_reported_by_function_and_a_function_without_any_has_no_series():
    key = Key("WorkerPool", "shop", "orders")

    def shown():
        samples = metrics.POOL_INCOMPATIBLE.collect()[0].samples
        return {sample.labels["function"]: sample.value for sample in samples}

    metrics.show_incompatible(key, {"f": 3, "g": 1})
    assert shown() == {"f": 3, "g": 1}
    metrics.show_incompatible(key, {"g": 2})
    assert shown() == {"g": 2}
    metrics.show_incompatible(key, {"g": 2, "f": 1})
    metrics.forget_pool(key)
    assert shown() == {}


def test_whether_a_pool_is_rolled_out_is_reported():
    key = Key("WorkerPool", "shop", "orders")
    for rolled_out in (False, True):
        metrics.show_pool(key, {}, rolled_out)
        assert metrics.POOL_ROLLED_OUT.labels("shop", "orders")._value.get() == rolled_out
    metrics.forget_pool(key)


def samples(*gauges):
    """The series of some gauges: the values of their labels, and their value."""
    return {
        (gauge._name, *sample.labels.values()): sample.value
        for gauge in gauges
        for sample in gauge.collect()[0].samples
    }


def test_a_queue_that_pools_share_is_counted_once_and_its_series_go_with_it():
    series = metrics.DatabaseSeries("db:5432/shop")
    orders, mail = Key("WorkerPool", "shop", "orders"), Key("WorkerPool", "shop", "mail")
    row = {"ready": 7, "due": 1, "running": 2, "oldest_ready_seconds": 3.5}
    series.show_queues({"a": row, "b": {"ready": 1}}, {orders: ("a", "b"), mail: ("a",)})
    assert samples(metrics.QUEUE_READY, metrics.QUEUE_OLDEST) == {
        ("currant_queue_ready", "db:5432/shop", "a"): 7,
        ("currant_queue_ready", "db:5432/shop", "b"): 1,
        ("currant_queue_oldest_ready_seconds", "db:5432/shop", "a"): 3.5,
        ("currant_queue_oldest_ready_seconds", "db:5432/shop", "b"): 0,
    }
    assert {labels[2:] for labels in samples(metrics.POOL_QUEUE)} == {
        ("orders", "db:5432/shop", "a"),
        ("orders", "db:5432/shop", "b"),
        ("mail", "db:5432/shop", "a"),
    }
    series.show_queues({"a": row}, {orders: ("a",), mail: ("a",)})
    assert {labels[2] for labels in samples(metrics.QUEUE_READY, metrics.QUEUE_RUNNING)} == {"a"}
    assert {labels[2:] for labels in samples(metrics.POOL_QUEUE)} == {
        ("orders", "db:5432/shop", "a"),
        ("mail", "db:5432/shop", "a"),
    }
    series.forget()
    assert samples(metrics.QUEUE_READY, metrics.QUEUE_DUE, metrics.QUEUE_RUNNING, metrics.POOL_QUEUE) == {}


def test_a_schedule_has_its_next_and_last_time_and_what_it_missed():
    series = metrics.DatabaseSeries("db:5432/shop")
    nightly = {
        "owner": "shop/report",
        "function": "shop.report",
        "name": "nightly",
        "next_fire_at": "1970-01-01T01:00:00+01:00",
        "last_fire_at": None,
        "missed": 2,
    }
    labels = ("shop", "report", "shop.report", "nightly")
    gauges = (metrics.SCHEDULE_NEXT, metrics.SCHEDULE_LAST, metrics.SCHEDULE_MISSED)
    series.show_schedules([nightly])
    assert samples(*gauges) == {
        ("currant_schedule_next_timestamp_seconds", *labels): 0,
        ("currant_schedule_missed", *labels): 2,
    }
    series.show_schedules([{**nightly, "next_fire_at": None, "last_fire_at": "1970-01-01T00:00:09Z"}])
    assert samples(*gauges) == {
        ("currant_schedule_last_timestamp_seconds", *labels): 9,
        ("currant_schedule_missed", *labels): 2,
    }
    series.show_schedules([])
    assert samples(*gauges) == {}


def test_what_limits_a_pool_is_one_of_a_few_words():
    key = Key("WorkerPool", "shop", "orders")

    def limits():
        series = metrics.POOL_LIMITED.collect()[0].samples
        return {sample.labels["by"]: sample.value for sample in series if sample.value}

    for given, shown in [(None, "nothing"), ("maxReplicas", "maxReplicas"), ("the moon", "other")]:
        metrics.show_pool(key, {"drainingReplicas": 1, "scaling": {"desired": 3, "limitedBy": given}}, False)
        assert limits() == {shown: 1}
    metrics.forget_pool(key)
    assert limits() == {}


def test_databases_are_counted_by_state():
    def count(state):
        return metrics.DATABASES.labels(state)._value.get()

    before = count("DatabaseReachable")
    metrics.DATABASES.set_state("a", "DatabaseReachable")
    metrics.DATABASES.set_state("b", "DatabaseReachable")
    metrics.DATABASES.set_state("a", "DatabaseUnreachable")
    assert (count("DatabaseReachable") - before, count("DatabaseUnreachable")) == (1, 1)
    metrics.DATABASES.set_state("a", None)
    metrics.DATABASES.set_state("b", None)
    assert (count("DatabaseReachable"), count("DatabaseUnreachable")) == (before, 0)


def test_the_reference_has_every_metric_of_the_operator():
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
    table = reference.split("\n## The operator\n")[1]
    documented = [line for line in table.splitlines() if line.startswith("| `")]
    collectors = [each for each in metrics.REGISTRY._collector_to_names if hasattr(each, "_labelnames")]
    assert documented == [row for each in collectors for row in rows(each)]


def rows(collector):
    """The row of the reference for a metric."""
    for family in collector.describe():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"
