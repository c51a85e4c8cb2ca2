"""The real operator as a process, against a real API server without nodes and a real Postgres."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from currant.embedded import temporary_server
from e2e.clusters import ControlPlane, Kubectl
from operators import Cluster, RunningOperator, starter


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of a Postgres where databases can be created."""
    given = os.environ.get("WORKFLOWS_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with temporary_server() as url:
        yield url


@pytest.fixture(scope="session")
def make_database(server_url: str) -> Iterator[Callable[[], str]]:
    """Make an empty database; gives its URL."""
    made: list[str] = []

    def make() -> str:
        name = f"operator_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        made.append(name)
        return urlsplit(server_url)._replace(path=f"/{name}").geturl()

    yield make
    with psycopg.connect(server_url, autocommit=True) as connection:
        for name in made:
            connection.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> str:
    """The URL of the module's database."""
    return make_database()


@pytest.fixture(scope="module")
def start_operator(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunningOperator]]:
    """Start an operator: see `operators.starter`. They end with the module."""
    with starter(plane.kubeconfig, tmp_path_factory.mktemp("operators")) as start:
        yield start


@pytest.fixture(scope="module")
def operator(start_operator: Callable[..., RunningOperator]) -> RunningOperator:
    """The module's operator, leading."""
    return start_operator().wait_leading()


@pytest.fixture
def cluster(kubectl: Kubectl, namespace: str) -> Cluster:
    """kubectl in a namespace of the test's own."""
    return Cluster(kubectl, namespace)


@pytest.fixture
def ready_cluster(cluster: Cluster, database: str) -> Cluster:
    """The same, with the secret of the module's database."""
    cluster.secret(database)
    return cluster
