"""The view of a pool that all parts of its plan share: the observation, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from currant_operator.plan import manifests, pods, replicas
from currant_operator.plan.drift import needs_apply
from currant_operator.plan.observations import DatabaseReachable, Object, ObservedPool, SecretFound
from currant_operator.plan.pods import Pods
from currant_operator.plan.replicas import Decision


@dataclass(frozen=True)
class PoolView:
    """An observation with what follows from it, for all parts of the plan."""

    observed: ObservedPool
    pods: Pods
    decision: Decision
    ours: Object | None
    """The Deployment, if it is the pool's."""

    @property
    def old(self) -> dict[str, Any]:
        return self.observed.pool.status

    @property
    def current(self) -> int | None:
        """Replicas that the Deployment asks for, or None if the pool has no Deployment."""
        return None if self.ours is None else int(manifests.get(self.ours, "spec", "replicas") or 0)


def view_of(observed: ObservedPool) -> PoolView:
    """The view of an observation."""
    pool, live = observed.pool, observed.deployment
    ours = live if live is not None and manifests.belongs(pool, live) else None
    current = None if ours is None else int(manifests.get(ours, "spec", "replicas") or 0)
    can_work = isinstance(observed.secret, SecretFound) and isinstance(observed.database, DatabaseReachable)
    decision = replicas.decide(pool.spec.scaling, current, can_work, observed.wish)
    return PoolView(observed, pods.count(observed.pods, observed.now), decision, ours)


def deployment(view: PoolView) -> dict[str, Any]:
    """The Deployment as it is to be applied, with replicas while no other manager has them."""
    secret = view.observed.secret
    known = secret.fingerprint if isinstance(secret, SecretFound) else manifests.database_of(view.ours)
    manifest = manifests.deployment(view.observed.pool, known)
    if view.ours is None:
        return manifests.with_replicas(manifest, view.decision.asked)
    if _replicas_are_not_handed_over(view.ours):
        # Left out now, they would be set to the default, which is 1.
        return manifests.with_replicas(manifest, view.current or 0)
    return manifest


def _replicas_are_not_handed_over(live: Object) -> bool:
    """Whether the manifest's manager still is the only one of ours that has the replicas."""
    return manifests.manages_replicas(live, manifests.OPERATOR_MANAGER) and not manifests.manages_replicas(
        live, manifests.SCALER_MANAGER
    )


def differs(view: PoolView) -> bool:
    """Whether the pool's Deployment must be applied again."""
    return view.ours is not None and needs_apply(deployment(view), view.ours, view.observed.accepted)


def rolled_out(view: PoolView) -> bool:
    """Whether `kubectl rollout status` would end: this generation, no pod of an older template, the new ones available.

    Pods that were asked to drain are not ready, and need not be.
    """
    live = view.ours
    if live is None or differs(view) or view.decision.asked != view.current or not status_is_current(live):
        return False
    status = live.get("status") or {}
    there, updated, available = (status.get(f"{which}eplicas") or 0 for which in ("r", "updatedR", "availableR"))
    draining = len(pods.asked_to_drain(view.observed.pods, view.observed.workers))
    return bool(updated >= view.decision.asked and there <= updated and available >= updated - draining)


def status_is_current(deployment: Object) -> bool:
    """Whether the status of the Deployment is about the Deployment as it is."""
    observed = manifests.get(deployment, "status", "observedGeneration") or 0
    return bool(observed >= (manifests.get(deployment, "metadata", "generation") or 0))
