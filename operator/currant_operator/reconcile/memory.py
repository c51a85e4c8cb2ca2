"""The memory of a pool from one reconcile to the next; nothing is lost when it is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field

from currant_operator.plan.observations import SecretState, SecretUnknown
from currant_operator.plan.scaler import Scaler


@dataclass
class PoolMemory:
    """`accepted`: see `ObservedPool.accepted`. `noted`: the Workflows whose definitions may be in its database."""

    secret: SecretState = field(default_factory=SecretUnknown)
    admin_secret: SecretState | None = None
    accepted: frozenset[str] = frozenset()
    scaler: Scaler = field(default_factory=Scaler)
    noted: tuple[str, ...] = ()
