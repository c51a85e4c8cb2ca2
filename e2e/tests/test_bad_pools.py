"""Pools that are accepted but cannot work: a condition and an event say why, and they become ready once it is fixed.

All are made at once and all are fixed at once, so that they wait for their pods together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from e2e.tests import manifests
from e2e.tests.conftest import SYSTEM, Release, leave, make_namespace
from e2e.tests.kube import Database, Namespace, Object, say


def database_of(secret: str) -> Object:
    """Give a pool its own Secret with the database's URL."""
    return {"secretRef": {"name": secret, "key": "url"}}


@dataclass(frozen=True)
class World:
    """The objects that a fix may change."""

    namespace: Namespace
    database: Database
    release: Release

    def patch(self, pool: str, spec: Object) -> None:
        """Patch a pool's spec."""
        self.namespace.patch("wp", pool, {"spec": spec})

    def container(self, pool: str, **fields: object) -> None:
        """Replace fields of the template's container."""
        template = self.namespace.get("wp", pool)["spec"]["template"]
        template["spec"]["containers"][0].update(fields)
        self.patch(pool, {"template": template})

    def good_secret(self, name: str) -> None:
        """The URL that works, in a Secret."""
        self.namespace.apply(manifests.secret(self.release.url(self.database.name), name))


@dataclass(frozen=True)
class Bad:
    """A pool, what its condition says (patterns), and what fixes it."""

    pool: Object
    condition: str
    reason: str
    message: str
    fix: Callable[[World], object]
    status: str = "False"


BAD = {
    "image-that-cannot-be-pulled": Bad(
        manifests.pool("image-missing", image="currant.invalid/nothing:1"),
        "Ready",
        "ImagePullFailed",
        r"currant\.invalid/nothing:1",
        lambda world: world.patch("image-missing", {"image": manifests.Images.from_environment().worker}),
    ),
    "module-that-fails-to-import": Bad(
        manifests.pool("module-broken", modules=("e2e_broken",)),
        "Ready",
        "ImportFailed",
        "no_such_package",
        lambda world: world.patch("module-broken", {"modules": ["e2e_app"]}),
    ),
    "secret-that-is-missing": Bad(
        manifests.pool("secret-missing", database=database_of("later")),
        "Ready",
        "SecretNotFound",
        "later",
        lambda world: world.good_secret("later"),
    ),
    "key-that-is-missing": Bad(
        manifests.pool("key-missing", database=database_of("other-key")),
        "Ready",
        "SecretKeyNotFound",
        "url",
        lambda world: world.good_secret("other-key"),
    ),
    "url-that-is-none": Bad(
        manifests.pool("url-invalid", database=database_of("no-url")),
        "Ready",
        "DatabaseUrlInvalid",
        "postgresql://",
        lambda world: world.good_secret("no-url"),
    ),
    "url-of-another-place": Bad(
        manifests.pool("url-wrong", database=database_of("wrong-url")),
        "DatabaseReachable",
        "DatabaseUnreachable",
        "nowhere.invalid",
        lambda world: world.good_secret("wrong-url"),
    ),
    "database-that-refuses": Bad(
        manifests.pool("database-closed", database=database_of("closed")),
        "DatabaseReachable",
        "DatabaseUnreachable",
        "e2e_closed",
        lambda world: world.release.database("currant").sql("alter database e2e_closed allow_connections true"),
    ),
    "schema-too-new": Bad(
        manifests.pool("schema-new", database=database_of("newer")),
        "SchemaReady",
        "SchemaTooNew",
        "upgrade|newer",
        lambda world: world.release.database("e2e_newer").sql("update currant.schema_info set min_client = 1"),
    ),
    "memory-that-is-not-enough": Bad(
        manifests.pool(
            "out-of-memory", modules=("e2e_hungry",), container={"resources": {"limits": {"memory": "128Mi"}}}
        ),
        "Ready",
        "OOMKilled",
        "OOMKilled|memory",
        lambda world: world.container("out-of-memory", resources={"limits": {"memory": "1Gi"}}),
    ),
    "node-that-is-not-there": Bad(
        manifests.pool("unschedulable", pod={"nodeSelector": {"no/such": "node"}}),
        "Ready",
        "Unschedulable",
        "node",
        lambda world: world.patch("unschedulable", {"template": {"spec": {"nodeSelector": None}}}),
    ),
    "pod-that-is-not-restricted": Bad(
        manifests.pool("escalating", container={"securityContext": {"allowPrivilegeEscalation": True}}),
        "Ready",
        "PodsRefused",
        "allowPrivilegeEscalation",
        lambda world: world.container("escalating", securityContext={}),
    ),
}


@pytest.fixture(scope="module")
def world(namespace: Namespace, database: Database, release: Release) -> World:
    """All the bad pools, with what makes them bad."""
    for name in ("e2e_closed", "e2e_newer"):
        SYSTEM("exec", "currant-demo-postgres-0", "--", "createdb", "-U", "currant", name)
    release.database("currant").sql("alter database e2e_closed allow_connections false")
    # The schema version of a future release.
    migrated = manifests.pool("schema-first", replicas=0, database=database_of("newer"))
    namespace.apply(
        manifests.secret("mysql://somewhere/else", "no-url"),
        manifests.secret(release.url("x"), "other-key", key="dsn"),
        manifests.secret("postgresql://currant:secret-word@nowhere.invalid:5432/x", "wrong-url"),
        manifests.secret(release.url("e2e_closed"), "closed"),
        manifests.secret(release.url("e2e_newer"), "newer"),
        migrated,
    )
    namespace.wait("wp", "schema-first", "SchemaReady", "True")
    namespace("delete", "wp", "schema-first")
    release.database("e2e_newer").sql("update currant.schema_info set min_client = 9999")
    namespace.apply(*(bad.pool for bad in BAD.values()))
    return World(namespace, database, release)


@pytest.fixture(scope="module")
def fixed(world: World) -> World:
    """The world after every fix."""
    for bad in BAD.values():
        bad.fix(world)
    return world


@pytest.mark.parametrize("what", BAD)
def test_a_bad_pool_says_what_is_wrong(world: World, what: str) -> None:
    bad = BAD[what]
    name = bad.pool["metadata"]["name"]
    found = world.namespace.wait("wp", name, bad.condition, bad.status, bad.reason, bad.message)
    world.namespace.show("get", "wp", name)
    described = world.namespace("describe", "wp", name)
    events = described.partition("\nEvents:")[2]
    say(f"{bad.condition}={found.status} {found.reason}: {found.message}\nEvents:{events.rstrip()}")
    assert re.search(bad.message, events), "no event says so"
    assert "secret-word" not in described, "a password is shown"
    ready = world.namespace.condition("wp", name, "Ready")
    assert ready is not None
    assert ready.status == "False"


def test_all_bad_pools_are_seen_in_one_table(world: World) -> None:
    world.namespace.show("get", "wp")


@pytest.mark.parametrize("what", BAD)
def test_a_fixed_pool_becomes_ready(fixed: World, what: str) -> None:
    name = BAD[what].pool["metadata"]["name"]
    fixed.namespace.ready("wp", name)
    fixed.namespace.show("get", "wp", name)


def test_a_quota_that_stops_pods_is_reported_and_the_pool_is_ready_without_it(
    release: Release, database: Database
) -> None:
    crowded = make_namespace("e2e-quota")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    crowded.apply(quota, manifests.secret(release.url(database.name)), manifests.code())
    crowded.apply(manifests.pool("crowded", replicas=2))
    found = crowded.wait("wp", "crowded", "Degraded", "True", "QuotaExceeded", "quota")
    crowded.show("get", "wp", "crowded")
    say(f"Degraded={found.status} {found.reason}: {found.message}")
    crowded("delete", "resourcequota", "few")
    # The ReplicaSet waits longer before each further try.
    crowded.ready("wp", "crowded", timeout=150)
    leave(crowded)


def test_no_secret_word_is_in_the_operators_logs(world: World, release: Release) -> None:
    release.keep_logs()
    assert "secret-word" not in "".join(release.logs)
