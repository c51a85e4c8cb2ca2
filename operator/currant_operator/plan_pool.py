"""From what was seen of a pool to what is to be done for it. Pure: no I/O, no clock."""

from __future__ import annotations

from currant_operator.observed import ObservedPool
from currant_operator.plans import PoolPlan

__all__ = ["PoolPlan", "plan_pool"]


def plan_pool(observed: ObservedPool) -> PoolPlan:
    """Everything that is to be done for a pool now. The same observation gives the same plan."""
    raise NotImplementedError
