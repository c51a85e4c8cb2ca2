"""How many pods a pool of workers should have, and a simulation that shows the effect. No I/O."""

from __future__ import annotations

from currant.scaling.model import INTERVAL, Decision, Memory, Pod, Settings, Snapshot, Work
from currant.scaling.rules import decide, horizon

__all__ = ["INTERVAL", "Decision", "Memory", "Pod", "Settings", "Snapshot", "Work", "decide", "horizon"]
