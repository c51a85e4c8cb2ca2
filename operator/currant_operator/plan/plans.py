"""Plans: all that is to be done for one object, in the order in which it is to be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

UNCHANGED = -1
"""The value of `PoolPlan.spec_replicas` that leaves the replicas of the spec as they are."""

DEFINITIONS = "definitions"
"""The field of a pool's status that is written beside the plans (`notes`); a plan leaves it as it is."""

StatusWrite = Literal["none", "now", "later"]


@dataclass(frozen=True)
class ObjectRef:
    """An object to delete, if it still is the one that was observed (`uid` is a precondition)."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Event:
    """An event about the object, for people."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class PoolPlan:
    """To be done in the order of the fields; what fails leaves the rest undone and is tried again.

    `spec_replicas`: the value to write to `spec.scaling.replicas` of the pool itself, or None to remove the field;
    UNCHANGED: it stays. `currant-scaler` writes it, so that a manifest without it conflicts with no other manager.
    `apply`: manifests for server-side apply by `currant-operator`, forced; only those that differ from what is there. A
    Deployment has no `spec.replicas`, except when it is made: it keeps them until `currant-scaler` has them.
    `deletion_costs`: by pod; None: the default cost. `drain`: by the UID of a pod, True: its worker is to be asked to
    drain, False: to go on.
    `replicas`: to be applied (server-side apply, forced, on the Deployment) by `currant-scaler`, or None to leave them.
    `delete`: objects of ours that are no longer wanted.
    `status`: the whole wished status. `status_write`: `none` (it is there already), `now`, or `later` (only counts
    differ: every half minute is soon enough).
    `requeue_after`: seconds until time alone may change the plan, or None if only an event can.
    `rolled_out`: whether all pods are of the newest template and available, as `kubectl rollout status` has it.
    """

    spec_replicas: int | None = UNCHANGED
    apply: list[dict[str, Any]] = field(default_factory=list)
    deletion_costs: dict[str, int | None] = field(default_factory=dict)
    drain: dict[str, bool] = field(default_factory=dict)
    replicas: int | None = None
    delete: list[ObjectRef] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    status_write: StatusWrite = "none"
    events: list[Event] = field(default_factory=list)
    requeue_after: float | None = None
    rolled_out: bool = False


@dataclass(frozen=True)
class WorkflowPlan:
    """To be done in the order of the fields; what fails leaves the rest undone and is tried again.

    `delete_definition`: `delete_definitions([owner])`. `definition`: an item for `apply_definitions`; with its answer
    in `ObservedWorkflow.applied` the plan is made again, and the status and events of that one count.
    `status`, `status_write`, `requeue_after`: as in `PoolPlan`.
    """

    delete_definition: bool = False
    definition: dict[str, Any] | None = None
    status: dict[str, Any] = field(default_factory=dict)
    status_write: StatusWrite = "none"
    events: list[Event] = field(default_factory=list)
    requeue_after: float | None = None
