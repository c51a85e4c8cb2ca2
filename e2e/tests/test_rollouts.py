"""Pods end because of a new image, fewer replicas, or a deleted pool. No attempt is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.clusters import KubectlError
from e2e.tests import manifests
from e2e.tests.kube import Database, Namespace, eventually, say
from e2e.tests.manifests import Images


@pytest.fixture(scope="module")
def pools(namespace: Namespace) -> Iterator[Namespace]:
    """The pools of this module, made at once so that their pods start together."""
    namespace.apply(
        manifests.pool("rolled", replicas=2, concurrency=4),
        manifests.pool("scaled", replicas=3, concurrency=4),
        manifests.pool("stalled", replicas=2),
        manifests.pool("external", scaling={"mode": "External"}),
        manifests.pool("deleted", replicas=2, concurrency=4),
    )
    yield namespace


def no_attempt_was_lost(database: Database, queue: str) -> None:
    """Every task ran once, in the pod that first had it."""
    table = database.sql(
        f"select kind, state, attempt, worker_losses, count(*) from currant.executions where queue = '{queue}' group by 1, 2, 3, 4"
    )
    say(f"kind|state|attempt|worker_losses|executions\n{table}")
    lost = "worker_losses > 0 or state <> 'completed' or (kind = 'task' and attempt <> 1)"
    assert database.number(f"select count(*) from currant.executions where queue = '{queue}' and ({lost})") == 0


def test_rolling_the_image_under_load_loses_no_attempt(pools: Namespace, database: Database, images: Images) -> None:
    pools.ready("workerpool", "rolled")
    database.enqueue("e2e_app.order", 120, queue="rolled", seconds=0.4)
    eventually("the load runs", lambda: database.states("e2e_app.order").get("completed", 0) > 8)
    before = {pod["metadata"]["name"] for pod in pools.pods("rolled")}
    pools.patch("workerpool", "rolled", {"spec": {"image": images.shop}})
    eventually("all pods have the new image", lambda: _images(pools, "rolled") == [images.shop] * 2)
    pools.ready("workerpool", "rolled")
    pools.show("get", "wp", "rolled")
    assert not before & {pod["metadata"]["name"] for pod in pools.pods("rolled")}
    database.completed("e2e_app.order", 120)

    no_attempt_was_lost(database, "rolled")
    workers = database.number(
        "select count(distinct worker_id) from currant.executions where queue = 'rolled' and kind = 'task'"
    )
    assert workers > 2, "the load was over before the roll"


def _images(namespace: Namespace, pool: str) -> list[str]:
    """The images of all pods, including those that end."""
    return [pod["spec"]["containers"][0]["image"] for pod in namespace.items("pods", "-l", f"currant.dev/pool={pool}")]


def test_a_pool_is_not_ready_while_its_new_version_does_not_start_and_its_old_pods_go_on(
    pools: Namespace, database: Database
) -> None:
    pools.ready("workerpool", "stalled")
    before = {pod["metadata"]["name"] for pod in pools.pods("stalled")}
    pools.patch("workerpool", "stalled", {"spec": {"modules": ["e2e_broken"]}})
    with pytest.raises(KubectlError, match="timed out"):
        pools("wait", "workerpool/stalled", "--for=condition=Ready", "--timeout=15s")
    pools.wait("workerpool", "stalled", "Ready", "False", "ImportFailed", "no_such_package")
    pools.show("get", "wp", "stalled")
    assert before <= {pod["metadata"]["name"] for pod in pools.pods("stalled")}
    database.enqueue("e2e_app.contested", 4, queue="stalled")
    database.completed("e2e_app.contested", 4)
    pools.patch("workerpool", "stalled", {"spec": {"modules": ["e2e_app"]}})
    pools.ready("workerpool", "stalled")


def test_kubectl_scale_takes_pods_away_without_losing_an_attempt(pools: Namespace, database: Database) -> None:
    pools.ready("workerpool", "scaled")
    database.enqueue("e2e_app.limited", 60, queue="scaled", seconds=1)
    eventually("the load runs", lambda: database.states("e2e_app.limited").get("completed", 0) > 2)
    pools.show("scale", "wp/scaled", "--replicas=1")
    eventually("one pod is left", lambda: len(_images(pools, "scaled")) == 1)
    pools.ready("workerpool", "scaled")
    pools.show("get", "wp", "scaled")
    database.completed("e2e_app.limited", 60)

    no_attempt_was_lost(database, "scaled")


def test_a_pool_scaled_to_nothing_and_back_says_so(pools: Namespace) -> None:
    pools.ready("workerpool", "external")
    assert len(pools.pods("external")) == 1, "a new pool begins with one"
    for replicas in (0, 2):
        pools("scale", "wp/external", f"--replicas={replicas}")
        eventually(
            f"{replicas} pods",
            lambda: pools.get("workerpool", "external")["status"].get("readyReplicas", 0) == replicas,
        )
        pools.show("get", "wp", "external")
        assert len(pools.pods("external")) == replicas
    # The manifest is applied again, as GitOps does, and the autoscaler's number stays.
    pools.apply(manifests.pool("external", scaling={"mode": "External"}))
    pools.ready("workerpool", "external")
    assert len(pools.pods("external")) == 2


def test_a_deleted_pool_drains_and_takes_what_it_owns_along(pools: Namespace, database: Database) -> None:
    pools.ready("workerpool", "deleted")
    database.enqueue("e2e_app.suspendable", 8, queue="deleted")
    database.enqueue("e2e_app.work", 8, queue="deleted", seconds=4)
    running = "select count(*) from currant.executions where queue = 'deleted' and state = 'running' and function = 'e2e_app.work'"
    eventually("all tasks run", lambda: database.number(running) == 8)
    pools("delete", "wp", "deleted", "--cascade=foreground", "--wait=false")
    pools.show("get", "wp", "deleted")
    pools.gone("workerpool", "deleted")

    no_attempt_was_lost(database, "deleted")
    for kind in ("deployment", "serviceaccount", "poddisruptionbudget"):
        pools.gone(kind, "deleted", timeout=30)
    eventually("its pods are gone", lambda: not pools.items("pods", "-l", "currant.dev/pool=deleted"))
    eventually(
        "no worker of it is left",
        lambda: "deleted" not in database.sql("select name from currant.workers where stopped_at is null"),
    )
