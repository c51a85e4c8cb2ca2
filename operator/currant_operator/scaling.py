"""How many pods a pool should have. Pure: a snapshot gives a decision."""

from __future__ import annotations

from dataclasses import dataclass

from currant_operator.resources import Scaling


@dataclass(frozen=True)
class Decision:
    """`desired` pods, why in words, and what kept it from being another number (None: nothing did).

    `active`: whether something decides on the number; if not, `inactive_reason` is one word for a condition.
    """

    desired: int
    reason: str
    limited_by: str | None = None
    inactive_reason: str | None = None

    @property
    def active(self) -> bool:
        return self.inactive_reason is None


def decide(scaling: Scaling, current: int | None, can_work: bool) -> Decision:
    """The number of pods for a pool that has `current` (None: no Deployment yet).

    `can_work`: the database is known to be there with the schema that workers need. Without it no pool is begun, and
    none shrinks but by its owner's word: what cannot be seen is not taken for nothing.
    """
    wanted = _wanted(scaling, current)
    if not can_work and not current and wanted.desired > 0:
        return Decision(0, f"no pod is started until the database can be used; then {wanted.desired}", "database")
    if not can_work and current and scaling.mode == "Native" and wanted.desired < current:
        return Decision(
            current, f"held at {current} until the database can be used", "database", wanted.inactive_reason
        )
    return wanted


def _wanted(scaling: Scaling, current: int | None) -> Decision:
    if scaling.paused and current is not None:
        return Decision(current, f"held at {current}: scaling.paused is true", "paused", "Paused")
    if scaling.mode == "Native":
        return _native(scaling)
    number = scaling.replicas or 0
    who = "mode Fixed" if scaling.mode == "Fixed" else "mode External, whoever writes to /scale decides"
    return Decision(number, f"scaling.replicas is {number} ({who})")


def _native(scaling: Scaling) -> Decision:
    """Held at the lower bound, but at one at least: this operator does not follow the queues yet."""
    number = min(max(1, scaling.min_replicas), scaling.max_replicas)
    limited_by = "minReplicas" if scaling.min_replicas > 1 else None
    reason = f"held at {number}: this operator cannot follow the queues yet"
    return Decision(number, reason, limited_by, "NotYetImplemented")
