"""Whether a queue exists."""

from __future__ import annotations

from currant.errors import NotFound
from currant.rust_bridge import RustBridge


def check_queue(bridge: RustBridge, queue: str) -> None:
    """Raise `NotFound` for a queue that never had an execution and that no worker serves."""
    known = sorted(row["queue"] for row in bridge.queues())
    if queue not in known and not bridge.list_executions(queue=queue, limit=1):
        there = f"; there are {', '.join(known)}" if known else ""
        raise NotFound(f"no queue {queue}: nothing was ever put there and no worker serves it{there}")
