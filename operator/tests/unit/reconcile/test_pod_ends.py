"""A pod that ended is notified to its database; one that is only out of sight is not."""

from __future__ import annotations

from typing import Any

from currant_operator.cluster.errors import ApiError
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key
from currant_operator.reconcile.pod_ends import PodEnds, reason


class Told:
    """A database that notes."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.containers: list[tuple[str, str, int]] = []

    def end_pod(self, uid: str, reason: str) -> None:
        self.ended.append(uid)

    def end_container(self, uid: str, reason: str, ended_at: int) -> None:
        self.containers.append((uid, reason, ended_at))


class Known:
    """Databases with one pool."""

    def __init__(self, database: Told) -> None:
        self.database = database

    def of(self, pool: Key) -> Told | None:
        return self.database if pool == Key("WorkerPool", "shop", "orders") else None


class Cluster:
    """An API server with one pod, or none, or none to be had."""

    def __init__(self, pod: dict[str, Any] | None = None, away: bool = False) -> None:
        self.pod, self.away, self.asked = pod, away, 0

    async def get(self, kind: Any, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked += 1
        if self.away:
            raise ApiError(0, "Unavailable", "away")
        return self.pod


def pod(uid: str = "u1", phase: str = "Running", pool: str = "orders", **metadata: Any) -> dict[str, Any]:
    labels = {kinds.POOL_LABEL: pool}
    return {
        "metadata": {"namespace": "shop", "name": "pod", "uid": uid, "labels": labels, **metadata},
        "status": {"phase": phase},
    }


async def notified(seen: dict[str, Any], cluster: Cluster) -> list[str]:
    database = Told()
    await PodEnds(cluster, Known(database)).report_pod(seen)  # type: ignore[arg-type]
    return database.ended


async def test_a_pod_that_was_being_deleted_or_has_failed_needs_no_second_read():
    cluster = Cluster(pod())
    assert await notified(pod(deletionTimestamp="2026-01-01T00:00:00Z"), cluster) == ["u1"]
    assert await notified(pod(phase="Failed"), cluster) == ["u1"]
    assert cluster.asked == 0


async def test_a_pod_that_vanished_has_ended():
    assert await notified(pod(), Cluster(None)) == ["u1"]
    assert await notified(pod(), Cluster(pod("u2"))) == ["u1"]


async def test_a_pod_whose_label_was_taken_away_lives():
    assert await notified(pod(), Cluster(pod())) == []


async def test_a_pod_that_cannot_be_read_is_left_to_its_heartbeat():
    assert await notified(pod(), Cluster(away=True)) == []


async def test_a_pod_of_a_pool_without_a_known_database_is_nobodys():
    assert await notified(pod(pool="mail"), Cluster(None)) == []


def ended_as(phase: str = "Running", deleted: bool = False, **status: Any) -> str:
    body = pod(phase=phase, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}))
    body["status"] |= status
    return reason(body)


def disrupted(why: str) -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": why}]}


def test_why_a_pod_ended_is_one_word():
    oom = {"containerStatuses": [{"name": "worker", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}
    assert ended_as("Failed", **oom) == "OOMKilled"
    assert ended_as("Failed", reason="Evicted") == "Evicted"
    assert ended_as(deleted=True, **disrupted("EvictionByEvictionAPI")) == "Evicted"
    assert ended_as(deleted=True, **disrupted("PreemptionByScheduler")) == "Preempted"
    assert ended_as(deleted=True, **disrupted("DeletionByTaintManager")) == "NodeLost"
    assert ended_as("Failed", reason="NodeLost") == "NodeLost"
    assert ended_as("Failed") == "Error"
    assert ended_as("Succeeded") == "Deleted"
    assert ended_as(deleted=True) == ended_as() == "Deleted"


def container_ends(**terminated: Any) -> list[tuple[str, str, int]]:
    database, body = Told(), pod()
    body["status"]["containerStatuses"] = [{"name": "worker", "lastState": {"terminated": terminated}}]
    PodEnds(Cluster(), Known(database)).report_container(body)  # type: ignore[arg-type]
    return database.containers


def test_a_container_that_ended_in_a_pod_that_goes_on_is_reported_with_its_reason_and_when():
    at = "2026-01-01T00:00:07Z"
    when = 1_767_225_607_000_000
    assert container_ends(reason="OOMKilled", exitCode=137, finishedAt=at) == [("u1", "OOMKilled", when)]
    assert container_ends(reason="Error", exitCode=1, finishedAt=at) == [("u1", "Error", when)]


def test_a_container_that_left_in_peace_has_said_so_itself():
    assert container_ends(reason="Completed", exitCode=0, finishedAt="2026-01-01T00:00:07Z") == []
