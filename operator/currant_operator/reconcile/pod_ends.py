"""A pod that has ended, or its container, is told to its database: others take over what it ran at once, not after a
time-out.

Only an end that was seen counts: a pod that was missed is left to the workers' heartbeats, as nothing must declare a
worker dead that lives.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from currant_operator.cluster.api import Body
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.store import last_end, pool_of
from currant_operator.database.databases import Databases
from currant_operator.plan import kinds
from currant_operator.plan.conditions import parse_timestamp
from currant_operator.plan.kinds import Key, Kind
from currant_operator.plan.pods import ended

_log = logging.getLogger(__name__)


class Reader(Protocol):
    """The one call that is made; `api.Api` has it."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """The object, or None."""


class Endings:
    """Tells of pods that have ended."""

    def __init__(self, reader: Reader, databases: Databases) -> None:
        self._reader = reader
        self._databases = databases

    async def tell(self, pod: Body) -> None:
        """The pod is no longer seen, or has ended; `pod` is what was seen of it last."""
        metadata = pod["metadata"]
        database = self._databases.of(Key(kinds.WORKER_POOL.name, metadata["namespace"], pool_of(pod)))
        if database is not None and await self._has_ended(pod):
            database.end_pod(str(metadata["uid"]), reason(pod))

    def tell_of_container(self, pod: Body) -> None:
        """The worker's container has ended, and the pod goes on: with another container, after a while or already."""
        metadata, end = pod["metadata"], last_end(pod)
        database = self._databases.of(Key(kinds.WORKER_POOL.name, metadata["namespace"], pool_of(pod)))
        if database is None or not end.get("finishedAt") or end.get("exitCode") == 0:  # a worker that leaves says so
            return
        why = "OOMKilled" if end.get("reason") == "OOMKilled" else "Error"
        ended_at = int(parse_timestamp(end["finishedAt"]).timestamp() * 1e6)
        database.end_container(str(metadata["uid"]), why, ended_at)

    async def _has_ended(self, pod: Body) -> bool:
        """A pod is out of sight, too, when somebody takes its label away to look at it in peace; then it lives."""
        metadata = pod["metadata"]
        if ended(pod) or metadata.get("deletionTimestamp"):
            return True
        try:
            found = await self._reader.get(kinds.POD, metadata["namespace"], metadata["name"])
        except ApiError as error:
            _log.warning("the pod %s/%s: %s", metadata["namespace"], metadata["name"], error)
            return False
        return found is None or _uid(found) != metadata["uid"] or ended(found)


def reason(pod: Body) -> str:
    """Why a pod ended, in one word: OOMKilled, Evicted, NodeLost, Preempted, Deleted, Error."""
    status = pod.get("status") or {}
    targets = (each for each in status.get("conditions") or () if each.get("type") == "DisruptionTarget")
    disruption: Body = next(targets, {})
    if any(_end_of(container).get("reason") == "OOMKilled" for container in status.get("containerStatuses") or ()):
        return "OOMKilled"
    if status.get("reason") == "NodeLost" or disruption.get("reason") == "DeletionByTaintManager":
        return "NodeLost"
    if disruption.get("reason") == "PreemptionByScheduler":
        return "Preempted"
    if status.get("reason") == "Evicted" or disruption:
        return "Evicted"
    if pod["metadata"].get("deletionTimestamp") or not ended(pod):
        return "Deleted"
    return "Error" if status.get("phase") == "Failed" else "Deleted"


def _end_of(container: Body) -> Body:
    """How a container ended; one that was started again after that runs, or waits to."""
    end: Body = (container.get("state") or {}).get("terminated") or {}
    return end


def _uid(body: Body) -> Any:
    return body["metadata"].get("uid")
