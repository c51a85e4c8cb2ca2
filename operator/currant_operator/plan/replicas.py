"""The number of pods that a pool should have, in every mode; in the mode Native the scaler decides it (`Wish`)."""

from __future__ import annotations

from dataclasses import dataclass

from currant_operator.plan.observations import Wish
from currant_operator.plan.resources import Scaling


@dataclass(frozen=True)
class Decision:
    """The scaling result: `desired` pods, `reason` in words, and the name of the limit that applied, if any.

    `replicas`: pods to ask for, including those that drain, or None for as many as are desired.

    `inactive_reason`: the reason of the condition `ScalingActive` when nothing decides on the number, else None.
    """

    desired: int
    reason: str
    limited_by: str | None = None
    inactive_reason: str | None = None
    replicas: int | None = None

    @property
    def asked(self) -> int:
        """Pods to ask for."""
        return self.desired if self.replicas is None else self.replicas

    @property
    def active(self) -> bool:
        return self.inactive_reason is None


def decide(scaling: Scaling, current: int | None, can_work: bool, wish: Wish | None = None) -> Decision:
    """The number of pods for a pool.

    `current`: the replicas of its Deployment, or None if it has no Deployment yet. `can_work`: the database is
    known to be there with the schema that workers need. Without that no pod is started for a new pool, and only the
    pool's owner can make a pool smaller: unknown work is not the same as no work.
    """
    wanted = _wanted(scaling, current, wish)
    if not can_work and not current and wanted.desired > 0:
        return Decision(
            0, f"no pod is started until the database can be used; then {_pods(wanted.desired)}", "database"
        )
    if not can_work and current and scaling.mode == "Native" and wanted.asked != current:
        return Decision(
            current, f"kept at {_pods(current)} until the database can be used", "database", wanted.inactive_reason
        )
    return wanted


def _wanted(scaling: Scaling, current: int | None, wish: Wish | None) -> Decision:
    if scaling.paused and current is not None:
        return Decision(current, f"kept at {_pods(current)}: scaling.paused is true", "paused", "Paused")
    if scaling.mode == "Native":
        return _native(scaling, current, wish)
    number = begin_with(current) if scaling.replicas is None else scaling.replicas
    who = "mode Fixed" if scaling.mode == "Fixed" else "mode External: an autoscaler writes it through /scale"
    return Decision(number, f"scaling.replicas is {number} ({who})")


def begin_with(current: int | None) -> int:
    """The replicas of a pool in the mode External whose manifest leaves them to an autoscaler that has not written any.

    The number is at least 1, because an HPA leaves a pool without replicas alone. If a manifest had replicas and no
    longer does, the present number stays.
    """
    return max(1, current or 0)


def _native(scaling: Scaling, current: int | None, wish: Wish | None) -> Decision:
    """The scaler's decision; until there is one, the pods that exist."""
    if wish is not None:
        return Decision(wish.desired, wish.reason, wish.limited_by, replicas=wish.replicas)
    if current is None:
        return Decision(scaling.min_replicas, "minReplicas, until the database has reported what waits in the queues")
    why = "the database has not reported yet what waits in the queues"
    return Decision(current, f"kept at {_pods(current)}: {why}", "blind")


def _pods(number: int) -> str:
    return f"{number} pod{'' if number == 1 else 's'}"
