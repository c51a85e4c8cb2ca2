"""A problem is shown where a person looks (`kubectl get wp`, `kubectl describe`), and goes when it is fixed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from currant.embedded import EmbeddedPostgres
from e2e.clusters import Kubectl, KubectlError
from operators import Cluster, RunningOperator, eventually
from samples import SMALLEST_POOL, manifest


@pytest.fixture(scope="module")
def operator(start_operator: Callable[..., RunningOperator]) -> RunningOperator:
    """An operator that hardly believes a secret."""
    return start_operator(CURRANT_OPERATOR_SECRET_INTERVAL="1").wait_leading()


pytestmark = pytest.mark.usefixtures("operator")


def apply_pool(cluster: Cluster, **changes) -> None:
    cluster.apply(manifest(SMALLEST_POOL, **{"spec__scaling": {"mode": "Fixed", "replicas": 1}, **changes}))


def shown(cluster: Cluster, reason: str, *phrases: str) -> None:
    """The reason is Ready's; it and the message are in the table, in the description, and in one event."""
    message = cluster.wait_reason("wp", "orders", "Ready", reason)["message"]
    for phrase in phrases:
        assert phrase in message
    assert reason in cluster("get", "wp", "orders")
    assert message in cluster("get", "wp", "orders", "-o", "wide")

    def described() -> bool:
        text = cluster.described("wp", "orders")
        return f"Warning {reason}" in text and text.count(" ".join(message.split())) > 1

    eventually(described)
    shown = [event for event in cluster.events("orders") if event[1] == reason]
    assert shown == [("Warning", reason, message)]


def test_a_missing_secret_is_shown_and_found_when_it_is_made(cluster: Cluster, database: str) -> None:
    apply_pool(cluster)
    shown(cluster, "SecretNotFound", "there is no Secret currant-db", "kubectl -n")
    assert cluster.get("deployment", "orders")["spec"]["replicas"] == 0
    cluster.secret(database)
    cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected")
    eventually(lambda: cluster.get("deployment", "orders")["spec"]["replicas"] == 1)


def test_a_missing_key_is_shown_with_those_that_are_there(cluster: Cluster, database: str) -> None:
    cluster.secret(database, key="uri")
    apply_pool(cluster)
    shown(cluster, "SecretKeyNotFound", "no value under the key url", "it has uri")


@pytest.fixture
def older_schema(cluster: Cluster) -> Iterator[None]:
    """The cluster's schema of WorkerPools does not check `drain.timeout`, as an older one may not."""
    name = "workerpools.currant.dev"
    crd = cluster.get("crd", name)
    field = [
        "spec",
        "versions",
        0,
        "schema",
        "openAPIV3Schema",
        "properties",
        "spec",
        "properties",
        "drain",
        "properties",
        "timeout",
    ]
    path = "/" + "/".join(str(part) for part in [*field, "x-kubernetes-validations"])
    rules = reduce(lambda value, part: value[part], field, crd)["x-kubernetes-validations"]

    def patch(**operation: Any) -> None:
        cluster("patch", "crd", name, "--type", "json", "-p", json.dumps([{"path": path, **operation}]))

    patch(op="remove")
    yield
    patch(op="add", value=rules)


@pytest.mark.usefixtures("older_schema")
def test_an_object_that_the_operator_cannot_read_is_shown_with_the_field(cluster: Cluster, database: str) -> None:
    cluster.secret(database)

    def invalid() -> bool:  # until the API server goes by the other schema
        with suppress(KubectlError):
            apply_pool(cluster, spec__drain={"timeout": "soon"})
            return True
        return False

    eventually(invalid)
    message = cluster.wait_reason("wp", "orders", "Ready", "SpecInvalid")["message"]
    assert "$.spec.drain.timeout" in message
    apply_pool(cluster, spec__drain={"timeout": "1m"})
    cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected")


def test_a_value_that_is_no_url_is_shown_without_being_repeated(cluster: Cluster) -> None:
    cluster.secret("mysql://root:sesame@db/orders")
    apply_pool(cluster)
    shown(cluster, "DatabaseUrlInvalid", "it must start with postgresql://")
    assert "sesame" not in cluster.described("wp", "orders")


def test_a_password_that_is_wrong_is_shown_and_one_that_was_changed_is_picked_up(
    cluster: Cluster, database: str
) -> None:
    parts = urlsplit(database)
    wrong = parts._replace(netloc=f"{parts.username}:sesame@{parts.hostname}:{parts.port}").geturl()
    cluster.secret(wrong)
    apply_pool(cluster)
    shown(cluster, "DatabaseUnreachable", "the database does not answer", "password authentication failed")
    assert "sesame" not in cluster.described("wp", "orders")
    cluster.secret(database)
    cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected", 60)


def test_a_database_that_is_not_there_is_shown(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    cluster.secret(f"postgresql://u:sesame@127.0.0.1:{port}/orders")
    apply_pool(cluster)
    shown(cluster, "DatabaseUnreachable", "Connection refused", f"127.0.0.1:{port}/orders")
    schema = cluster.condition("wp", "orders", "SchemaReady")
    assert schema["status"] == "Unknown"


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres that the test may stop."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="currant-test-") as directory:
        Path(directory).chmod(0o711)
        server = EmbeddedPostgres(directory, {"fsync": "off"})
        server.start()
        yield server
        server.stop()


def test_a_database_that_goes_and_comes_back_is_shown_and_its_pods_stay(
    cluster: Cluster, own_server: EmbeddedPostgres
) -> None:
    cluster.secret(own_server.url)
    apply_pool(cluster)
    cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected")
    eventually(lambda: cluster.get("deployment", "orders")["spec"]["replicas"] == 1)
    own_server.stop()
    shown(cluster, "DatabaseUnreachable", "it is tried again by itself")
    assert cluster.get("deployment", "orders")["spec"]["replicas"] == 1
    own_server.start()
    cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected", 60)
    cluster.wait_reason("wp", "orders", "Ready", "Progressing")


def test_a_schema_that_is_too_new_is_shown_and_no_pod_is_started(cluster: Cluster, make_database) -> None:
    url = make_database()
    cluster.secret(url)
    apply_pool(cluster, spec__scaling={"mode": "Fixed", "replicas": 0})
    cluster.wait_reason("wp", "orders", "SchemaReady", "UpToDate")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update currant.schema_info set min_client = 999")
        connection.execute("insert into currant.migrations (version, name, checksum) values (999, 'newer', '')")
    shown(cluster, "SchemaTooNew", "newer")
    assert cluster.condition("wp", "orders", "SchemaReady")["status"] == "False"
    assert cluster.condition("wp", "orders", "DatabaseReachable")["status"] == "True"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update currant.schema_info set min_client = 1")
        connection.execute("delete from currant.migrations where version = 999")
    cluster.wait_reason("wp", "orders", "SchemaReady", "UpToDate")


def test_a_role_that_may_not_make_the_schema_is_shown(cluster: Cluster, make_database, server_url: str) -> None:
    url = make_database()
    role = f"reader_{urlsplit(url).path[-8:]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'sesame'")
    parts = urlsplit(url)
    cluster.secret(parts._replace(netloc=f"{role}:sesame@{parts.hostname}:{parts.port}").geturl())
    apply_pool(cluster)
    shown(cluster, "DatabaseUnreachable", f"the role {role} may not create the schema currant")


def test_the_queue_of_a_pool_is_shown(ready_cluster: Cluster, database: str, operator: RunningOperator) -> None:
    from currant.rust_bridge import Call, RustBridge

    apply_pool(ready_cluster, spec__queues=["shown"])
    ready_cluster.wait_reason("wp", "orders", "DatabaseReachable", "Connected")
    bridge = RustBridge(database)
    for _ in range(3):
        bridge.create_execution(Call("task", "shop.f", "shown", 5, b"[[],{}]", '{"retry": {"max_attempts": 1}}'))
    bridge.close()
    eventually(lambda: ready_cluster.get("wp", "orders")["status"].get("queue", {}).get("ready") == 3)
    labels = {"namespace": ready_cluster.namespace, "pool": "orders"}
    eventually(lambda: operator.metric("currant_pool_ready", **labels) == 3)
    ready_cluster("delete", "wp", "orders", "--wait=false")
    eventually(lambda: not [series for series in operator.metrics("currant_pool_ready") if series[0] == labels])


def test_the_operator_works_with_its_own_secret_while_the_pods_have_a_lesser_role(
    cluster: Cluster, kubectl: Kubectl, make_database, server_url: str
) -> None:
    owner = make_database()
    parts, name = urlsplit(owner), f"lesser_{cluster.namespace.replace('-', '_')}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create role {name} login password 'x'")
    cluster.secret(parts._replace(netloc=f"{name}:x@{parts.hostname}:{parts.port}").geturl())
    secret = name.replace("_", "-")
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"url": owner}},
        namespace="default",
    )
    try:
        cluster.apply(manifest(SMALLEST_POOL, spec__database__adminSecretRef={"name": secret}))
        shown(cluster, "AdminSecretNotAllowed", f"currant.dev/pools-of={cluster.namespace}")
        kubectl("annotate", "secret", secret, "-n", "default", f"currant.dev/pools-of={cluster.namespace}")
        cluster.wait_reason("wp", "orders", "SchemaReady", "UpToDate", 60)
        # Taken away again, the URL of the pods is no way round it: that role may not make a schema, nor read one.
        cluster.apply(manifest(SMALLEST_POOL))
        eventually(lambda: cluster.condition("wp", "orders", "Ready").get("status") == "False", 60)
    finally:
        kubectl("delete", "secret", secret, "-n", "default")
