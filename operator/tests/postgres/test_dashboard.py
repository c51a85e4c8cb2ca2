"""Every query of the dashboard gives data: a real Prometheus scrapes two real workers and the operator's page.

The operator's page is that of its own modules, which look at the workers' database; what only an API server would make it
do (reconciles, pods) is counted here in its place.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from prometheus_client import start_http_server

from currant.embedded import temporary_server
from currant.rust_bridge import RustBridge
from currant_operator import metrics
from currant_operator.database.bridge import Times
from currant_operator.database.databases import Databases
from currant_operator.plan.kinds import Key
from e2e.prometheus import Prometheus, free_port, prometheus
from operators import CHECKOUT, eventually

DASHBOARD = CHECKOUT / "charts" / "currant" / "files" / "dashboards" / "currant.json"
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
POOL = Key("WorkerPool", "observed", "orders")
STATUS = {
    "replicas": 2,
    "readyReplicas": 2,
    "drainingReplicas": 0,
    "scaling": {"desired": 2, "limitedBy": "maxReplicas"},
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "True"}],
}
LOAD = """
    select currant.enqueue('observed.order', '{"args": [1]}', '{"queue": "orders", "kind": "workflow"}');
    select currant.enqueue('observed.fail', '{}', '{"queue": "orders", "retries": 0}');
"""
# A run that does not fit its code, as a worker would leave it; workers that start would look at it once more.
OLD = """select currant.enqueue('observed.old', '{}', '{"queue": "orders", "kind": "workflow"}')"""
HELD = "update currant.executions set state = 'suspended', suspended_at = now(), ready_xid = null, incompatible = true, worker_id = null where function = 'observed.old'"


@contextmanager
def worker(database: str, pool: str, port: int, log: Path) -> Iterator[None]:
    """A worker process of the pool, as its pod would run it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "WORKFLOWS_DATABASE_URL": database,
        "WORKFLOWS_HTTP_PORT": str(port),
        "WORKFLOWS_POOL": pool,
    }
    command = [sys.executable, "-m", "currant", "worker", "-q", "orders", "-m", "observed"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait(30)
        print(log.read_text())


@contextmanager
def load(database: str) -> Iterator[None]:
    """Enqueues from beginning to end, a few a second."""
    end = threading.Event()

    def enqueue() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(OLD)
            while not end.wait(0.2):
                connection.execute(LOAD)
                connection.execute(HELD)

    thread = threading.Thread(target=enqueue)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextmanager
def operator(database: str) -> Iterator[int]:
    """The operator's page, on a port; its module for databases looks at this one, as it would for a pool."""
    port, end = free_port(), threading.Event()

    async def look() -> None:
        databases = Databases(RustBridge, Times(0.3, 0.5, 1.0), lambda *_: None, lambda _: None)
        databases.use(POOL, database, ["orders"])
        metrics.LEADING.set(1)
        while not await asyncio.to_thread(end.wait, 0.5):
            metrics.show_pool(POOL, STATUS, True)
            metrics.RECONCILES.labels(POOL.kind, "ok").inc()
            metrics.RECONCILE_SECONDS.labels(POOL.kind).observe(0.01)
            metrics.api_request("GET", "/apis/currant.dev/v1alpha1/workerpools", {}, 200)
        await databases.close()

    server, serving = start_http_server(port, "127.0.0.1", metrics.REGISTRY)
    looking = threading.Thread(target=lambda: asyncio.run(look()))
    looking.start()
    try:
        yield port
    finally:
        end.set()
        looking.join()
        server.shutdown()
        server.server_close()
        serving.join()
        metrics.LEADING.set(0)
        metrics.forget_pool(POOL)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, with everything under way that it scrapes."""
    directory = tmp_path_factory.mktemp("prometheus")
    ports = {f"orders-{number}": free_port() for number in (1, 2)}
    # The labels are those of the chart's PodMonitor and ServiceMonitor.
    pods = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "observed", "pool": "orders", "pod": pod}}
        for pod, port in ports.items()
    ]
    with ExitStack() as stack:
        database = stack.enter_context(temporary_server())
        bridge = RustBridge(database)
        bridge.migrate()
        schedule = {"name": "often", "cron": "* * * * * *"}
        bridge.apply_definitions([{"owner": "observed/order", "function": "observed.order", "schedules": [schedule]}])
        page = f"127.0.0.1:{stack.enter_context(operator(database))}"
        jobs = [
            {"job_name": "workers", "static_configs": pods},
            {
                "job_name": "currant-operator",
                "honor_labels": True,
                "static_configs": [{"targets": [page], "labels": {"pod": "currant-operator-1"}}],
            },
        ]
        server = stack.enter_context(prometheus(directory, jobs))
        for pod, port in ports.items():
            stack.enter_context(worker(database, "observed/orders", port, directory / f"{pod}.log"))
        stack.enter_context(load(database))
        eventually(lambda: server.ready)
        eventually(lambda: len(server.query("up == 1")) == 3)
        yield server


@pytest.mark.parametrize("expression", QUERIES)
def test_a_query_of_the_dashboard_gives_data(observed: Prometheus, expression: str) -> None:
    asked = expression.replace("$namespace", ".*").replace("$pool", "orders").replace("$__rate_interval", "10s")

    def numbers() -> bool:
        found = [series["value"][1] for series in observed.query(asked)]
        assert found, f"nothing for {asked}"
        assert set(found) != {"NaN"}, f"no number for {asked}"  # a quantile of what has not happened is none
        return True

    eventually(numbers)


def test_a_query_for_what_is_not_there_gives_none(observed: Prometheus) -> None:
    assert observed.query("currant_worker_moons") == []


def test_both_workers_and_the_operator_are_distinguished(observed: Prometheus) -> None:
    pods = {series["metric"]["pod"] for series in observed.query("currant_worker_slots")}
    assert pods == {"orders-1", "orders-2"}
    (leading,) = observed.query('currant_operator_leading{job="currant-operator"}')
    assert leading["value"][1] == "1"
