"""No operator: work goes on, schedules fire. And an operator that watches one namespace only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.clusters import KubectlError
from e2e.tests import manifests
from e2e.tests.conftest import Release, make_namespace, remove_namespaces
from e2e.tests.kube import Database, Namespace, eventually, helm, say
from e2e.tests.manifests import CHART

OWN = "e2e-own"


@pytest.fixture(scope="module")
def alone(release: Release, namespace: Namespace) -> Iterator[Namespace]:
    """A pool with a schedule, and then no operator."""
    schedule = {"name": "often", "cron": "* * * * *", "args": {"number": 7}}
    namespace.apply(
        manifests.pool("alone"), manifests.workflow("ticking", "e2e_app.ticking", "alone", schedules=[schedule])
    )
    namespace.ready("wp", "alone")
    namespace.wait("cwf", "ticking", "Ready", "True")
    release.scale(0)
    yield namespace
    release.scale(2)


@pytest.fixture(scope="module")
def own(release: Release, alone: Namespace, database: Database) -> Iterator[Namespace]:
    """A second release that watches its own namespace, while the first has no operator."""
    namespace = make_namespace(OWN)
    namespace.apply(manifests.secret(release.url(database.name)), manifests.code())
    words = ["--set", f"watchNamespace={OWN},crds.install=false,demoPostgres.enabled=false,replicas=1"]
    words += ["--set", f"database.existingSecret={manifests.SECRET}", "--wait", "--timeout", "2m"]
    helm("install", "own", str(CHART), "-n", OWN, "-f", str(release.values), *words)
    yield namespace
    remove_namespaces(OWN)


def test_work_goes_on_without_an_operator(alone: Namespace, database: Database, release: Release) -> None:
    assert release.operators == []
    database.enqueue("e2e_app.order", 5, queue="alone")
    database.completed("e2e_app.order", 5)


def test_an_operator_of_one_namespace_serves_that_one_only(own: Namespace, alone: Namespace) -> None:
    alone.apply(manifests.pool("elsewhere"))
    own.apply(manifests.pool("here"))
    own.ready("wp", "here")
    own.show("get", "wp", "-A")
    assert alone.get("wp", "elsewhere").get("status", {}).get("conditions") is None
    assert alone.find("deployment", "elsewhere") is None
    account = f"system:serviceaccount:{OWN}:own-currant-operator"
    for namespace, expected in ((own, "yes"), (alone, "no")):
        try:
            answer = namespace("auth", "can-i", "create", "deployments.apps", f"--as={account}")
        except KubectlError as error:
            answer = str(error)
        assert answer.strip().splitlines()[-1] == expected
    log = own("logs", "deployment/own-currant-operator")
    assert "forbidden" not in log.lower()


def test_a_schedule_fires_without_an_operator(alone: Namespace, database: Database, release: Release) -> None:
    before = database.number("select count(*) from currant.runs where function = 'e2e_app.ticking'")
    fired = "select count(*) from currant.runs where function = 'e2e_app.ticking' and state = 'completed'"
    eventually("the schedule fires", lambda: database.number(fired) > before, timeout=100)
    assert release.operators == []
    say(database.sql("select function, args, state, created_at from currant.runs where function = 'e2e_app.ticking'"))
    alone.show("exec", "deploy/alone", "--", "currant", "schedules")
    twice = "select count(*) - count(distinct fire_time) from currant.executions where function = 'e2e_app.ticking'"
    assert database.number(f"{twice} and schedule_id is not null") == 0


def test_the_operator_that_comes_back_does_what_was_left(alone: Namespace, own: Namespace, release: Release) -> None:
    release.scale(2)
    alone.ready("wp", "elsewhere")
    alone.show("get", "wp,cwf")


def test_a_namespace_that_is_deleted_with_its_operator_and_its_pools_goes(own: Namespace, release: Release) -> None:
    release.scale(0)  # no other operator could remove the finalizers of its objects
    assert own.pods("here")
    remove_namespaces(OWN)
    say(f"{OWN} is gone: nothing waits for an operator")
