"""From what was seen of a pool to what is to be done for it. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from currant_operator.plan import conditions, manifests, pods, pool_problems, scaling
from currant_operator.plan.conditions import Condition, Problem
from currant_operator.plan.drift import needs_apply
from currant_operator.plan.observed import (
    DatabaseReachable,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    Object,
    ObservedPool,
    SchemaTooNew,
    SecretFound,
    SecretUnknown,
)
from currant_operator.plan.plans import DEFINITIONS, UNCHANGED, Event, ObjectRef, PoolPlan
from currant_operator.plan.pods import Pods
from currant_operator.plan.scaling import Decision

__all__ = ["PoolPlan", "plan_pool"]


@dataclass(frozen=True)
class _Look:
    """What has been made of an observation, for all parts of the plan."""

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
        """Replicas that the Deployment asks for; None: there is no Deployment of the pool's."""
        return None if self.ours is None else int(manifests.get(self.ours, "spec", "replicas") or 0)


def plan_pool(observed: ObservedPool) -> PoolPlan:
    """Everything that is to be done for a pool now. The same observation gives the same plan."""
    look = _look(observed)
    return _drain(look) if observed.pool.deleting else _run(look)


def _look(observed: ObservedPool) -> _Look:
    pool, live = observed.pool, observed.deployment
    ours = live if live is not None and manifests.belongs(pool, live) else None
    current = None if ours is None else int(manifests.get(ours, "spec", "replicas") or 0)
    can_work = isinstance(observed.secret, SecretFound) and isinstance(observed.database, DatabaseReachable)
    decision = scaling.decide(pool.spec.scaling, current, can_work, observed.wish)
    return _Look(observed, pods.look(observed.pods, observed.now), decision, ours)


def _run(look: _Look) -> PoolPlan:
    """The plan of a pool that is wanted."""
    observed = look.observed
    may_have_deployment = observed.deployment is None or look.ours is not None
    wished = _conditions(look)
    status = _status(look, wished)
    return PoolPlan(
        spec_replicas=_spec_replicas(look),
        apply=_apply(look),
        deletion_costs=_deletion_costs(look),
        drain=_asked_to_drain(look),
        replicas=_replicas(look) if may_have_deployment else None,
        delete=_delete(look),
        status=status,
        status_write=conditions.status_write(look.old, status, "queue"),
        events=[*_scaled(look), *conditions.events(look.old, wished)],
        requeue_after=look.pods.look_again_after,
        rolled_out=_rolled_out(look),
    )


def _spec_replicas(look: _Look) -> int | None:
    """An autoscaler that reads /scale must find a number; the mode Native has none, whatever mode was before."""
    spec = look.observed.pool.spec.scaling
    if spec.mode == "External" and spec.replicas is None:
        return scaling.begin_with(look.current)
    return None if spec.mode == "Native" and spec.replicas is not None else UNCHANGED


def _apply(look: _Look) -> list[dict[str, Any]]:
    """The manifests that differ from what is there; nobody else's object is touched."""
    observed = look.observed
    pool = observed.pool
    wanted = (
        (manifests.service_account(pool), observed.service_account),
        (manifests.pod_disruption_budget(pool), observed.pod_disruption_budget),
        (_deployment(look), observed.deployment),
    )
    return [
        manifest
        for manifest, live in wanted
        if manifest is not None
        and (live is None or manifests.belongs(pool, live))
        and needs_apply(manifest, live, observed.accepted)
    ]


def _deployment(look: _Look) -> dict[str, Any]:
    secret = look.observed.secret
    known = secret.fingerprint if isinstance(secret, SecretFound) else manifests.database_of(look.ours)
    manifest = manifests.deployment(look.observed.pool, known)
    if look.ours is None:
        return manifests.with_replicas(manifest, look.decision.asked)
    if _replicas_are_not_handed_over(look.ours):
        # Left out now, they would be set to the default, which is 1.
        return manifests.with_replicas(manifest, look.current or 0)
    return manifest


def _replicas_are_not_handed_over(live: Object) -> bool:
    """Whether the manifest's manager still is the only one of ours that has the replicas."""
    return manifests.manages_replicas(live, manifests.OPERATOR_MANAGER) and not manifests.manages_replicas(
        live, manifests.SCALER_MANAGER
    )


def _replicas(look: _Look) -> int | None:
    """What the scaler is to apply; None when it is there already, and the scaler's."""
    settled = look.ours is not None and manifests.manages_replicas(look.ours, manifests.SCALER_MANAGER)
    return None if settled and look.current == look.decision.asked else look.decision.asked


def _follows_the_scaler(look: _Look) -> bool:
    """Whether its wish is what is done; else nobody drains but those that are deleted."""
    spec = look.observed.pool.spec.scaling
    return spec.mode == "Native" and not spec.paused and look.decision.limited_by != "database"


def _asked_to_drain(look: _Look) -> dict[str, bool]:
    """By UID, whose worker is to be asked to take nothing more, or to go on."""
    uids = {pods.name(pod): pods.uid(pod) for pod in look.observed.pods}
    wish = look.observed.wish
    if wish is None or not _follows_the_scaler(look):
        back = look.observed.pool.spec.scaling.mode != "Native"
        return dict.fromkeys(pods.asked_to_drain(look.observed.pods, look.observed.workers), False) if back else {}
    asked = {**dict.fromkeys(wish.drain, True), **dict.fromkeys(wish.undrain, False)}
    return {uids[name]: drain for name, drain in asked.items() if name in uids}


def _deletion_costs(look: _Look) -> dict[str, int | None]:
    """By name, what changes: of the pods that are not ready the ReplicaSet takes those that cost least."""
    wish = look.observed.wish
    if wish is None or not _follows_the_scaler(look):
        return {}
    costs: dict[str, int | None] = {
        **dict.fromkeys(wish.undrain, None),
        **dict.fromkeys(wish.drain, pods.DRAINING_COST),
        **dict.fromkeys(wish.remove, pods.REMOVED_COST),
    }
    live = {pods.name(pod): pods.deletion_cost(pod) for pod in look.observed.pods}
    return {name: cost for name, cost in costs.items() if name in live and live[name] != cost}


def _delete(look: _Look) -> list[ObjectRef]:
    """A ServiceAccount of ours that the template has replaced by another."""
    pool, live = look.observed.pool, look.observed.service_account
    if live is None or not manifests.own_account(pool) or not manifests.belongs(pool, live):
        return []
    if pool.spec.template["spec"]["serviceAccountName"] == pool.name:
        return []
    uid = str(manifests.get(live, "metadata", "uid"))
    return [ObjectRef("v1", "ServiceAccount", pool.namespace, pool.name, uid)]


def _drain(look: _Look) -> PoolPlan:
    """The plan of a pool that is being deleted, while others (a finalizer, `--cascade=foreground`) still hold it.

    The operator has no finalizer on it: without an operator it would never go. What it owns goes by the owner
    references, and its pods drain by their own grace period.
    """
    waiting = look.pods.any or not _at_rest(look.ours)
    message = _draining_message(look) if waiting else "all pods have ended"
    wished = [Condition("Ready", "False", "Draining", message), *_conditions(look)[1:]]
    status = _status(look, wished)
    return PoolPlan(
        replicas=0 if look.current else None,
        status=status,
        status_write=conditions.status_write(look.old, status, "queue"),
    )


def _at_rest(deployment: Object | None) -> bool:
    """Whether no pod can come of the Deployment any more."""
    if deployment is None:
        return True
    asked, there = (manifests.get(deployment, part, "replicas") for part in ("spec", "status"))
    return _controller_has_seen(deployment) and not asked and not there


def _draining_message(look: _Look) -> str:
    if not look.pods.any:
        return "the Deployment is being scaled to zero"
    names = [*look.pods.draining[:3], *(["..."] if len(look.pods.draining) > 3 else [])]
    which = f" ({', '.join(names)})" if names else ""
    total = len(look.pods.draining) + look.pods.live
    return f"{total} pods finish what they run{which}, for up to {manifests.grace_period(look.observed.pool)} s"


def _conditions(look: _Look) -> list[Condition]:
    """Ready first; the others say what of."""
    schema, reachable = _database_conditions(look)
    problem = pool_problems.of_pods(look.observed, look.pods)
    compatible = pool_problems.compatible(look.observed.incompatible, look.observed.pool, look.old)
    return [_ready(look, problem), schema, reachable, _scaling_active(look), _degraded(look, problem), compatible]


def _ready(look: _Look, of_pods: Problem | None) -> Condition:
    observed = look.observed
    problem = (
        pool_problems.of_secrets(observed.pool, observed.secret, observed.admin_secret)
        or pool_problems.of_objects(observed)
        or pool_problems.of_database(observed.database)
    )
    if problem is None and _blind(observed):
        kept = _kept(look, "Ready")
        return kept or Condition("Ready", "Unknown", "NotYetKnown", "the database has not been asked yet")
    ready, desired = look.pods.ready, look.decision.desired
    if problem is None and desired > 0 and not (ready >= desired and _rolled_out(look)):
        problem = of_pods or _progress(look)
    if problem is not None:
        return Condition("Ready", "False", problem.reason, problem.message)
    if desired == 0:
        return Condition("Ready", "True", "ScaledToZero", f"there are to be no pods: {look.decision.reason}")
    return Condition("Ready", "True", "AllReplicasReady", f"{desired} of {desired} pods are ready")


def _blind(observed: ObservedPool) -> bool:
    unread = isinstance(observed.secret, SecretUnknown) or isinstance(observed.admin_secret, SecretUnknown)
    return unread or isinstance(observed.database, DatabaseUnknown)


def _kept(look: _Look, kind: str) -> Condition | None:
    """What was said last: an operator that has just started does not unsay what it has not looked at."""
    if look.old.get("observedGeneration") != look.observed.pool.metadata.generation:
        return None
    return conditions.found(look.old, kind)


def _rolled_out(look: _Look) -> bool:
    """What `kubectl rollout status` waits for: this generation, no pod of an older template, the new ones available.

    Pods that were asked to drain are not ready, and need not be.
    """
    live = look.ours
    if live is None or _differs(look) or look.decision.asked != look.current or not _controller_has_seen(live):
        return False
    status = live.get("status") or {}
    there, updated, available = (status.get(f"{which}eplicas") or 0 for which in ("r", "updatedR", "availableR"))
    draining = len(pods.asked_to_drain(look.observed.pods, look.observed.workers))
    return bool(updated >= look.decision.asked and there <= updated and available >= updated - draining)


def _controller_has_seen(deployment: Object) -> bool:
    """Whether the status of the Deployment is about the Deployment as it is."""
    seen = manifests.get(deployment, "status", "observedGeneration") or 0
    return bool(seen >= (manifests.get(deployment, "metadata", "generation") or 0))


def _differs(look: _Look) -> bool:
    return look.ours is not None and needs_apply(_deployment(look), look.ours, look.observed.accepted)


def _progress(look: _Look) -> Problem:
    desired = look.decision.desired
    if look.pods.ready < desired:
        return Problem("Progressing", f"{look.pods.ready} of {desired} pods are ready")
    live = look.ours or {}
    there, updated = (manifests.get(live, "status", which) or 0 for which in ("replicas", "updatedReplicas"))
    if there > updated or updated < desired:
        kept = f", and {there - updated} of an older one are kept until these are ready" if there > updated else ""
        return Problem("Progressing", f"{min(updated, desired)} of {desired} pods are of the newest template{kept}")
    return Problem("Progressing", f"the Deployment has not told yet that {desired} pods are available")


def _database_conditions(look: _Look) -> tuple[Condition, Condition]:
    """SchemaReady and DatabaseReachable."""
    state = look.observed.database
    problem = pool_problems.of_secrets(look.observed.pool, look.observed.secret, look.observed.admin_secret)
    if problem is not None:
        said = problem.reason, problem.message
        return Condition("SchemaReady", "Unknown", *said), Condition("DatabaseReachable", "False", *said)
    if _blind(look.observed):
        said = "NotYetKnown", "the database has not been asked yet"
        return (
            _kept(look, "SchemaReady") or Condition("SchemaReady", "Unknown", *said),
            _kept(look, "DatabaseReachable") or Condition("DatabaseReachable", "Unknown", *said),
        )
    problem = pool_problems.of_database(state)
    reachable = Condition("DatabaseReachable", "True", "Connected", "the database answers")
    if isinstance(state, DatabaseReachable):
        version = f"the schema is at version {state.schema_version}"
        return Condition("SchemaReady", "True", "UpToDate", version), reachable
    said = (problem.reason, problem.message) if problem else ("NotYetKnown", "")
    if isinstance(state, DatabaseUnreachable):
        return Condition("SchemaReady", "Unknown", *said), Condition("DatabaseReachable", "False", *said)
    return Condition("SchemaReady", "False", *said), reachable


def _scaling_active(look: _Look) -> Condition:
    decision, mode = look.decision, look.observed.pool.spec.scaling.mode
    if decision.inactive_reason is not None:
        return Condition("ScalingActive", "False", decision.inactive_reason, decision.reason)
    if decision.limited_by in ("blind", "database"):
        return Condition("ScalingActive", "False", "QueuesNotSeen", decision.reason)
    # Of Native the numbers change with every look: the reason for the last change is in status.scaling.
    reason = "the number of pods follows the queues" if mode == "Native" else decision.reason
    return Condition("ScalingActive", "True", f"{mode}Replicas", reason)


def _degraded(look: _Look, of_pods: Problem | None) -> Condition:
    problem = pool_problems.of_objects(look.observed) or (of_pods if look.decision.desired or look.pods.live else None)
    if problem is not None:
        return Condition("Degraded", "True", problem.reason, problem.message)
    if look.pods.recent_ooms:
        who = look.pods.recent_ooms[0]
        what = f"pod {who} took more memory than its limit and was started again within the last ten minutes"
        how = "raise template.spec.containers[worker].resources.limits.memory or lower concurrency"
        return Condition("Degraded", "True", "OOMKilled", f"{what}; {how}")
    return Condition("Degraded", "False", "AsExpected", "no pod has a problem")


def _status(look: _Look, wished: list[Condition]) -> dict[str, Any]:
    """The whole status; what has not changed is written as it was, times too."""
    pool = look.observed.pool
    selector = ",".join(f"{key}={value}" for key, value in sorted(manifests.selector(pool).items()))
    queue = _queue(look)
    return {
        "observedGeneration": pool.metadata.generation,
        "replicas": look.pods.live,
        "readyReplicas": look.pods.ready,
        "drainingReplicas": len(look.pods.draining)
        + len(pods.asked_to_drain(look.observed.pods, look.observed.workers)),
        "selector": selector,
        **_incompatible(look),
        **({DEFINITIONS: look.old[DEFINITIONS]} if DEFINITIONS in look.old else {}),
        **({"queue": queue} if queue else {}),
        "scaling": _scaling(look),
        "conditions": conditions.written(look.old, wished, pool.metadata.generation, look.observed.now),
    }


def _incompatible(look: _Look) -> dict[str, int]:
    """How many runs do not fit the code; what was said last while the database does not tell."""
    known = look.observed.incompatible
    if known is None:
        return {key: look.old[key] for key in ("incompatibleRuns",) if key in look.old}
    return {"incompatibleRuns": sum(known.values())}


def _queue(look: _Look) -> dict[str, int] | None:
    """The counts, rounded; those of before while nobody has asked, none when the database does not tell."""
    stats, state = look.observed.queue, look.observed.database
    if stats is None:
        lost = isinstance(state, DatabaseUnreachable | SchemaTooNew | MigrationFailed)
        return None if lost else look.old.get("queue")
    return {
        "ready": conditions.rounded(stats.ready, 2),
        "due": conditions.rounded(stats.due, 2),
        "running": conditions.rounded(stats.running, 2),
        "oldestReadySeconds": conditions.stepped(stats.oldest_ready_seconds),
    }


def _scaling(look: _Look) -> dict[str, Any]:
    old, decision = look.old.get("scaling") or {}, look.decision
    desired = 0 if look.observed.pool.deleting else decision.desired
    time = old.get("lastScaleTime")
    if "desired" in old and old["desired"] != desired:
        time = conditions.timestamp(look.observed.now)
    reason = "the pool is being deleted" if look.observed.pool.deleting else decision.reason
    same = old.get("desired") == desired and old.get("limitedBy") == decision.limited_by
    if same and look.observed.wish is not None and "reason" in old:
        reason = old["reason"]  # why it became so: the counts in it change with every look
    return {
        "desired": desired,
        "reason": conditions.one_line(reason),
        **({"limitedBy": decision.limited_by} if decision.limited_by and not look.observed.pool.deleting else {}),
        **({"lastScaleTime": time} if time else {}),
    }


def _scaled(look: _Look) -> list[Event]:
    before, now = (look.old.get("scaling") or {}).get("desired"), look.decision.desired
    if before is None or before == now:
        return []
    return [Event("Normal", "Scaled", f"from {before} to {now} pods: {look.decision.reason}")]
