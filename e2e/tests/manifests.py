"""The objects that the tests apply."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from e2e.tests.kube import Object

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
EXAMPLES = CHECKOUT / "examples" / "kubernetes"
CHART = CHECKOUT / "charts" / "currant"
API = "currant.dev/v1alpha1"
SECRET = "currant-db"


@dataclass(frozen=True)
class Images:
    """The images under test. E2E_REPOSITORY and E2E_TAG say where they are; E2E_POSTGRES_IMAGE is the demo's Postgres."""

    worker: str
    shop: str
    operator: str
    postgres: str

    @classmethod
    @cache
    def from_environment(cls) -> Images:
        """The images that the environment names; by default those that worker-image/build.sh builds."""
        repository, tag = os.environ.get("E2E_REPOSITORY", "currant.local"), os.environ.get("E2E_TAG", "dev")
        worker, shop, operator, postgres = (
            f"{repository}/currant-{name}:{tag}" for name in ("worker", "shop", "operator", "postgres")
        )
        return cls(worker, shop, operator, os.environ.get("E2E_POSTGRES_IMAGE") or postgres)


def code() -> Object:
    """A ConfigMap of the modules in `code/`."""
    files = {path.name: path.read_text() for path in sorted((HERE / "code").glob("*.py"))}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": files}


def secret(url: str, name: str = SECRET, key: str = "url") -> Object:
    """The Secret with a database's URL."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: url}}


def pool(
    name: str,
    *,
    replicas: int = 1,
    modules: tuple[str, ...] = ("e2e_app",),
    queues: tuple[str, ...] = (),
    image: str = "",
    environment: dict[str, str] | None = None,
    container: Object | None = None,
    pod: Object | None = None,
    **spec: Any,
) -> Object:
    """A WorkerPool of the worker image that runs the modules of `code/`, mounted; its queue has the pool's name.

    `environment`, `container` and `pod` go into its template; `spec` replaces fields of the pool's own.
    """
    variables = {"PYTHONPATH": "/code", **(environment or {})}
    worker = {
        "name": "worker",
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        **(container or {}),
    }
    volumes = [{"name": "code", "configMap": {"name": "code"}}]
    return {
        "apiVersion": API,
        "kind": "WorkerPool",
        "metadata": {"name": name},
        "spec": {
            "image": image or Images.from_environment().worker,
            "queues": list(queues or (name,)),
            "modules": list(modules),
            "concurrency": 10,
            "database": {"secretRef": {"name": SECRET, "key": "url"}},
            "scaling": {"mode": "Fixed", "replicas": replicas},
            "drain": {"timeout": "30s"},
            "template": {"spec": {"containers": [worker], "volumes": volumes, **(pod or {})}},
            **spec,
        },
    }


def workflow(name: str, function: str, pool: str, **spec: Any) -> Object:
    """A Workflow of a pool, in the pool's queue."""
    return {
        "apiVersion": API,
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"function": function, "poolRef": {"name": pool}, "queue": pool, **spec},
    }


def example(file: str) -> list[Object]:
    """The objects of a file of examples/kubernetes, with the image under test."""
    text = (EXAMPLES / file).read_text().replace("currant.local/currant-shop:dev", Images.from_environment().shop)
    return [item for item in yaml.safe_load_all(text) if item]
