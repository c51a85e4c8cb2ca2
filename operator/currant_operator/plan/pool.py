"""From what was observed of a pool to what is to be done for it. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import Any

from currant_operator.plan import conditions, manifests, pods, replicas
from currant_operator.plan.conditions import Condition
from currant_operator.plan.drift import needs_apply
from currant_operator.plan.observations import Object, ObservedPool
from currant_operator.plan.plans import UNCHANGED, Event, ObjectRef, PoolPlan
from currant_operator.plan.pool_status import pool_conditions, pool_status
from currant_operator.plan.pool_view import PoolView, deployment, rolled_out, status_is_current, view_of

__all__ = ["PoolPlan", "plan_pool"]


def plan_pool(observed: ObservedPool) -> PoolPlan:
    """Everything that is to be done for a pool now. The same observation gives the same plan."""
    view = view_of(observed)
    return _drain(view) if observed.pool.deleting else _run(view)


def _run(view: PoolView) -> PoolPlan:
    """The plan of a pool that is wanted."""
    observed = view.observed
    may_have_deployment = observed.deployment is None or view.ours is not None
    wished = pool_conditions(view)
    status = pool_status(view, wished)
    return PoolPlan(
        spec_replicas=_spec_replicas(view),
        apply=_apply(view),
        deletion_costs=_deletion_costs(view),
        drain=_asked_to_drain(view),
        replicas=_replicas(view) if may_have_deployment else None,
        delete=_delete(view),
        status=status,
        status_write=conditions.status_write(view.old, status, "queue"),
        events=[*_scaled(view), *conditions.events(view.old, wished)],
        requeue_after=view.pods.recount_after,
        rolled_out=rolled_out(view),
    )


def _spec_replicas(view: PoolView) -> int | None:
    """The replicas to write to the pool: an autoscaler that reads /scale needs a number; Native has none."""
    spec = view.observed.pool.spec.scaling
    if spec.mode == "External" and spec.replicas is None:
        return replicas.begin_with(view.current)
    return None if spec.mode == "Native" and spec.replicas is not None else UNCHANGED


def _apply(view: PoolView) -> list[dict[str, Any]]:
    """The manifests that differ from what is there; nobody else's object is touched."""
    observed = view.observed
    pool = observed.pool
    wanted = (
        (manifests.service_account(pool), observed.service_account),
        (manifests.pod_disruption_budget(pool), observed.pod_disruption_budget),
        (deployment(view), observed.deployment),
    )
    return [
        manifest
        for manifest, live in wanted
        if manifest is not None
        and (live is None or manifests.belongs(pool, live))
        and needs_apply(manifest, live, observed.accepted)
    ]


def _replicas(view: PoolView) -> int | None:
    """The replicas that the scaler's manager is to apply, or None if it has applied them already."""
    applied = view.ours is not None and manifests.manages_replicas(view.ours, manifests.SCALER_MANAGER)
    return None if applied and view.current == view.decision.asked else view.decision.asked


def _follows_the_scaler(view: PoolView) -> bool:
    """Whether the scaler's wish is carried out; otherwise only pods that are deleted drain."""
    spec = view.observed.pool.spec.scaling
    return spec.mode == "Native" and not spec.paused and view.decision.limited_by != "database"


def _asked_to_drain(view: PoolView) -> dict[str, bool]:
    """The pods, by UID, whose workers are to be asked to drain (True) or to go on (False)."""
    uids = {pods.name(pod): pods.uid(pod) for pod in view.observed.pods}
    wish = view.observed.wish
    if wish is None or not _follows_the_scaler(view):
        back = view.observed.pool.spec.scaling.mode != "Native"
        return dict.fromkeys(pods.asked_to_drain(view.observed.pods, view.observed.workers), False) if back else {}
    asked = {**dict.fromkeys(wish.drain, True), **dict.fromkeys(wish.undrain, False)}
    return {uids[name]: drain for name, drain in asked.items() if name in uids}


def _deletion_costs(view: PoolView) -> dict[str, int | None]:
    """The deletion costs that change, by pod: the ReplicaSet deletes the cheapest of the pods that are not ready."""
    wish = view.observed.wish
    if wish is None or not _follows_the_scaler(view):
        return {}
    costs: dict[str, int | None] = {
        **dict.fromkeys(wish.undrain, None),
        **dict.fromkeys(wish.drain, pods.DRAINING_COST),
        **dict.fromkeys(wish.remove, pods.REMOVED_COST),
    }
    live = {pods.name(pod): pods.deletion_cost(pod) for pod in view.observed.pods}
    return {name: cost for name, cost in costs.items() if name in live and live[name] != cost}


def _delete(view: PoolView) -> list[ObjectRef]:
    """A ServiceAccount of ours that the template has replaced by another."""
    pool, live = view.observed.pool, view.observed.service_account
    if live is None or not manifests.own_account(pool) or not manifests.belongs(pool, live):
        return []
    if pool.spec.template["spec"]["serviceAccountName"] == pool.name:
        return []
    uid = str(manifests.get(live, "metadata", "uid"))
    return [ObjectRef("v1", "ServiceAccount", pool.namespace, pool.name, uid)]


def _drain(view: PoolView) -> PoolPlan:
    """The plan of a pool that is being deleted, while others (a finalizer, `--cascade=foreground`) still keep it.

    The operator has no finalizer on a pool: without an operator the pool would never go. What it owns goes by the owner
    references, and its pods drain by their own grace period.
    """
    waiting = view.pods.any or not _at_rest(view.ours)
    message = _draining_message(view) if waiting else "all pods have ended"
    wished = [Condition("Ready", "False", "Draining", message), *pool_conditions(view)[1:]]
    status = pool_status(view, wished)
    return PoolPlan(
        replicas=0 if view.current else None,
        status=status,
        status_write=conditions.status_write(view.old, status, "queue"),
    )


def _at_rest(deployment: Object | None) -> bool:
    """Whether the Deployment will make no more pods."""
    if deployment is None:
        return True
    asked, there = (manifests.get(deployment, part, "replicas") for part in ("spec", "status"))
    return status_is_current(deployment) and not asked and not there


def _draining_message(view: PoolView) -> str:
    if not view.pods.any:
        return "the Deployment is being scaled to zero"
    names = [*view.pods.draining[:3], *(["..."] if len(view.pods.draining) > 3 else [])]
    which = f" ({', '.join(names)})" if names else ""
    total = len(view.pods.draining) + view.pods.live
    return f"{total} pods finish what they run{which}, for up to {manifests.grace_period(view.observed.pool)} s"


def _scaled(view: PoolView) -> list[Event]:
    before, now = (view.old.get("scaling") or {}).get("desired"), view.decision.desired
    if before is None or before == now:
        return []
    return [Event("Normal", "Scaled", f"from {before} to {now} pods: {view.decision.reason}")]
