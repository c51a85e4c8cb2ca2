"""Ends of pods and containers, reported to their database: other workers take over at once, not after a time-out.

Only an observed end counts: a pod that was missed is left to the workers' heartbeats, because nothing may declare a
worker dead that is alive.
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


class PodEnds:
    """Reports pods that have ended to their databases."""

    def __init__(self, reader: Reader, databases: Databases) -> None:
        self._reader = reader
        self._databases = databases

    async def report_pod(self, pod: Body) -> None:
        """Report a pod that is gone or has ended to its database; `pod` is its last known state."""
        metadata = pod["metadata"]
        database = self._databases.of(Key(kinds.WORKER_POOL.name, metadata["namespace"], pool_of(pod)))
        if database is not None and await self._has_ended(pod):
            database.end_pod(str(metadata["uid"]), reason(pod))

    def report_container(self, pod: Body) -> None:
        """Report that the worker's container has ended while the pod stays, with another container."""
        metadata, end = pod["metadata"], last_end(pod)
        database = self._databases.of(Key(kinds.WORKER_POOL.name, metadata["namespace"], pool_of(pod)))
        if database is None or not end.get("finishedAt") or end.get("exitCode") == 0:  # a leaving worker says so
            return
        why = "OOMKilled" if end.get("reason") == "OOMKilled" else "Error"
        ended_at = int(parse_timestamp(end["finishedAt"]).timestamp() * 1e6)
        database.end_container(str(metadata["uid"]), why, ended_at)

    async def _has_ended(self, pod: Body) -> bool:
        """Whether the pod has really ended.

        A watch also loses a pod whose label somebody removed in order to debug it, and that pod lives.
        """
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
    """The end of a container; empty for a container that runs again or waits to run."""
    end: Body = (container.get("state") or {}).get("terminated") or {}
    return end


def _uid(body: Body) -> Any:
    return body["metadata"].get("uid")
