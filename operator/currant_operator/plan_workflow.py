"""From what was seen of a workflow to what is to be done for it. Pure: no I/O, no clock."""

from __future__ import annotations

from currant_operator.observed import ObservedWorkflow
from currant_operator.plans import WorkflowPlan

__all__ = ["WorkflowPlan", "plan_workflow"]


def plan_workflow(observed: ObservedWorkflow) -> WorkflowPlan:
    """Everything that is to be done for a workflow now. The same observation gives the same plan."""
    raise NotImplementedError
