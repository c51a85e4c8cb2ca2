"""Messages to one database about pods: that they, or their containers, have ended, and whose workers are to drain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from currant_operator.database.bridge import Bridge
from currant_operator.database.connection import Connection


class PodMessages:
    """The messages, kept until the database has taken them. Pods are named by UID."""

    def __init__(self) -> None:
        self._ended_pods: dict[str, str] = {}  # why each ended
        self._ended_containers: dict[str, tuple[str, int]] = {}  # why, and when (microseconds since 1970)
        self._drains: dict[str, bool] = {}  # True: its worker is to drain; False: it is to go on

    def end_pod(self, uid: str, reason: str) -> None:
        """Say that a pod has ended, and why."""
        self._ended_pods[uid] = reason

    def end_container(self, uid: str, reason: str, ended_at: int) -> None:
        """Say that the container of a pod has ended, why, and when (microseconds); the pod stays."""
        self._ended_containers[uid] = reason, ended_at

    def ask_to_drain(self, asked: Mapping[str, bool]) -> None:
        """Ask the workers of pods to claim nothing more (True), or to go on (False)."""
        self._drains.update(asked)

    async def send_ends(self, connection: Connection) -> None:
        """Declare the workers of pods and containers that have ended dead."""
        if self._ended_pods:
            ended = sorted(self._ended_pods.items())
            await connection.call("end_pods", lambda bridge: bridge.end_pods(ended))
            for uid, _ in ended:
                self._ended_pods.pop(uid, None)
        if self._ended_containers:
            containers = [(uid, *end) for uid, end in sorted(self._ended_containers.items())]
            await connection.call("end_containers", lambda bridge: bridge.end_containers(containers))
            for uid, reason, ended_at in containers:
                if self._ended_containers.get(uid) == (reason, ended_at):
                    del self._ended_containers[uid]

    async def send_drains(self, connection: Connection) -> bool:
        """Ask workers to drain or to go on; returns whether any was asked."""
        sent = False
        for drain in (False, True):
            uids = sorted(uid for uid, asked in self._drains.items() if asked is drain)
            if uids:
                await connection.call("ask_to_drain", partial(_ask_to_drain, uids, drain))
                sent = True
                for uid in uids:
                    if self._drains.get(uid) is drain:
                        del self._drains[uid]
        return sent


def _ask_to_drain(uids: list[str], drain: bool, bridge: Bridge) -> None:
    bridge.ask_to_drain(uids, drain)
