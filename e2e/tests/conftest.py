"""One release of the chart for the session; for each module a namespace of its own, restricted, with a database of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e2e.tests import manifests
from e2e.tests.kube import Database, Namespace, Object, cluster, eventually, helm
from e2e.tests.manifests import CHART, Images

SYSTEM = Namespace("e2e-system")
RELEASE = "currant"
FIRST = "e2e-first-run"
"""The namespace of the example; the chart puts the Secret of its database there."""
PASSWORD = "e2e"
ORDER = (
    "first_run",
    "refused",
    "bad_pools",
    "lost_workers",
    "scaling",
    "rollouts",
    "workflows",
    "operator",
    "without_operator",
    "release",
)


# The chart lets only the namespaces with its Secret reach the demo's Postgres; those of the tests are made later.
OPEN: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "e2e-postgres"},
    "spec": {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "currant-demo-postgres"}},
        "ingress": [{"ports": [{"port": 5432}]}],
    },
}


@dataclass
class Release:
    """The chart, installed as RELEASE in SYSTEM."""

    values: Path
    logs: list[str] = field(default_factory=list)
    """The logs of operator pods that have ended."""
    installed: bool = False

    def install(self, *words: str, chart: Path = CHART) -> str:
        """`helm upgrade --install`, with the tests' values and these words; waits until everything runs."""
        base = ["upgrade", "--install", RELEASE, str(chart), "-n", SYSTEM.name, "-f", str(self.values)]
        output = helm(*base, "--wait", "--timeout", "3m", *words)
        self.installed = True
        return output

    def uninstall(self) -> str:
        """`helm uninstall`; waits until what it deletes is gone."""
        self.keep_logs()
        output = helm("uninstall", RELEASE, "-n", SYSTEM.name, "--wait", "--timeout", "3m")
        self.installed = False
        return output

    @property
    def operators(self) -> list[Object]:
        """The operator's pods that are not being deleted."""
        found = SYSTEM.items("pods", "-l", "app.kubernetes.io/name=currant-operator")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    @property
    def leader(self) -> str:
        """The holder of the Lease: a pod's name, perhaps with a suffix."""
        holder: str = SYSTEM.get("lease", "currant-operator")["spec"].get("holderIdentity") or ""
        return holder

    def scale(self, replicas: int) -> None:
        """Scale the operator to this many pods, and wait for them."""
        if replicas == 0:
            self.keep_logs()
        SYSTEM("scale", "deployment/currant-operator", f"--replicas={replicas}")
        if replicas:
            SYSTEM("rollout", "status", "deployment/currant-operator", "--timeout=90s")
        eventually(f"{replicas} operators", lambda: len(self.operators) == replicas)

    def keep_logs(self) -> None:
        """Keep the operators' logs up to now, before their pods are deleted."""
        for pod in self.operators:
            self.logs.append(SYSTEM("logs", pod["metadata"]["name"]))

    def database(self, name: str) -> Database:
        """A database of the demo's Postgres."""
        return Database(SYSTEM, "currant-demo-postgres-0", name)

    @staticmethod
    def url(name: str) -> str:
        """The URL of such a database, in the cluster."""
        return f"postgresql://currant:{PASSWORD}@currant-demo-postgres.{SYSTEM.name}.svc:5432/{name}"


def values(images: Images) -> Object:
    """The values of the release: everything that can be enabled is, and intervals are short, because tests wait for them."""
    names = {"operator": images.operator, "postgres": images.postgres}
    image = {
        name: dict(zip(("repository", "tag"), full.rsplit(":", 1), strict=True), pullPolicy="IfNotPresent")
        for name, full in names.items()
    }
    quick = {"STATS_INTERVAL": "2", "SECRET_INTERVAL": "5", "DATABASE_BACKOFF": "3", "FLEET_INTERVAL": "2"}
    lease = {"LEASE_DURATION": "6", "LEASE_RENEW_DEADLINE": "4", "LEASE_RETRY_PERIOD": "1"}
    classes = cluster().json("get", "storageclasses")["items"]
    return {
        "image": image["operator"],
        "replicas": 2,
        "env": [{"name": f"CURRANT_OPERATOR_{key}", "value": value} for key, value in (quick | lease).items()],
        "networkPolicy": {"enabled": True},
        "database": {"namespaces": [FIRST]},
        "demoPostgres": {
            "enabled": True,
            "password": PASSWORD,
            "image": image["postgres"],
            "persistence": {"enabled": bool(classes)},
        },
    }


def make_namespace(name: str) -> Namespace:
    """Make a namespace that allows only `restricted` pods. One that an earlier run left behind is deleted first."""
    remove_namespaces(name)
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return Namespace(name)


def leave(namespace: Namespace) -> None:
    """Begin to delete a namespace: its pods take memory and time from the tests that follow. E2E_KEEP keeps it."""
    if not os.environ.get("E2E_KEEP"):
        cluster()("delete", "namespace", namespace.name, "--wait=false")


def leftovers() -> list[str]:
    """The namespaces of these tests that are there."""
    names = [item["metadata"]["name"] for item in cluster().json("get", "namespaces")["items"]]
    return [name for name in names if name.startswith("e2e-")]


def remove_namespaces(*names: str) -> None:
    """Delete namespaces, and wait until they are gone."""
    if not names:
        return
    cluster()("delete", "namespace", *names, "--ignore-not-found", "--wait=false")

    def gone() -> bool:
        return not [name for name in names if cluster()("get", "namespace", name, "--ignore-not-found").strip()]

    eventually(f"{', '.join(names)} gone", gone, timeout=150, interval=1)


@pytest.fixture(scope="session")
def images() -> Images:
    """The images under test; they must be in the cluster."""
    return Images.from_environment()


@pytest.fixture(scope="session")
def release(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart, installed: two operators and a demo Postgres, in a restricted namespace."""
    path = tmp_path_factory.mktemp("release") / "values.json"
    path.write_text(json.dumps(values(images)))
    made = Release(path)
    remove_namespaces(*leftovers())
    make_namespace(SYSTEM.name)
    make_namespace(FIRST)
    # On a shared cluster the definitions may exist without belonging to a release.
    made.install("--take-ownership")
    SYSTEM.apply(OPEN)
    yield made
    if os.environ.get("E2E_KEEP"):
        return
    remove_namespaces(*(name for name in leftovers() if name != SYSTEM.name))
    if made.installed:
        made.uninstall()
    remove_namespaces(SYSTEM.name)


def name_of(request: pytest.FixtureRequest) -> str:
    """The module's name, without `test_`."""
    name: str = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    return name


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest, release: Release) -> Database:
    """An empty database for the module."""
    name = f"e2e_{name_of(request)}"
    SYSTEM("exec", "currant-demo-postgres-0", "--", "createdb", "-U", "currant", name)
    return release.database(name)


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest, database: Database, release: Release) -> Iterator[Namespace]:
    """A namespace for the module, with the Secret of its database and the modules of `code/`."""
    made = make_namespace(f"e2e-{name_of(request).replace('_', '-')}")
    made.apply(manifests.secret(release.url(database.name)), manifests.code())
    yield made
    leave(made)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first run first, the end of the release last."""
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))
