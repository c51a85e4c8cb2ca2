"""The verbs of `currant.rust_bridge.RustBridge` that the operator calls, and how often it calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from currant_operator.plan.kinds import Key

Row = dict[str, Any]


class Bridge(Protocol):
    """The verbs of `currant.rust_bridge.RustBridge` that the operator calls; they block."""

    def close(self) -> None:
        """Close the connections."""

    def migrate(self) -> int:
        """Bring the schema up to date; returns its version."""

    def fleet(self, pools: list[Row]) -> Row:
        """Count the executions that wait and run in the queues of each entry; a part of `scaling`."""

    def list_schedules(self) -> list[Row]:
        """Every schedule, with its times."""

    def scaling(self, pools: list[Row]) -> Row:
        """Count queues and live workers, and read all else by which pools are sized, in one statement."""

    def ask_to_drain(self, pod_uids: list[str], drain: bool) -> None:
        """Ask the workers of these pods to claim nothing more, or to go on."""

    def end_pods(self, pods: list[tuple[str, str]]) -> None:
        """Declare the workers of these pods, `(uid, reason)`, dead."""

    def end_containers(self, containers: list[tuple[str, str, int]]) -> None:
        """Declare workers dead whose containers, `(pod's uid, reason, when)`, have ended in pods that stay."""

    def wait_for_work(self, queues: list[str], seconds: float) -> bool:
        """Wait until something becomes ready in queues that no worker serves."""

    def apply_definitions(self, items: list[Row]) -> list[Row]:
        """Write definitions; returns an answer for each, in order."""

    def delete_definitions(self, owners: list[str]) -> int:
        """Remove the definitions of these owners."""

    def list_definitions(self) -> list[Row]:
        """Every definition, as it was applied."""

    def definition_stats(self, functions: list[str]) -> dict[str, Row]:
        """Runs and schedule times of each function."""


@dataclass(frozen=True)
class Times:
    """Seconds between two fetches of queues and workers, two counts of runs, and the longest pause after a failure."""

    fleet: float = 5.0
    stats: float = 30.0
    backoff: float = 60.0


class Notify(Protocol):
    """Called when something about an object has changed; the reconcile may begin `delay` seconds later."""

    def __call__(self, key: Key, delay: float = 0.0) -> None:
        """See the class."""
