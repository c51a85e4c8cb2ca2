"""The status of a pool: which conditions it has and when each is true, and the counts and numbers beside them."""

from __future__ import annotations

from typing import Any

from currant_operator.plan import conditions, manifests, pods, pool_problems
from currant_operator.plan.conditions import Condition, Problem
from currant_operator.plan.observations import (
    DatabaseReachable,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    ObservedPool,
    SchemaTooNew,
    SecretUnknown,
)
from currant_operator.plan.plans import DEFINITIONS
from currant_operator.plan.pool_view import PoolView, rolled_out


def pool_conditions(view: PoolView) -> list[Condition]:
    """The conditions, `Ready` first; the others say what the cause is."""
    schema, reachable = _database_conditions(view)
    problem = pool_problems.of_pods(view.observed, view.pods)
    compatible = pool_problems.compatible(view.observed.incompatible, view.observed.pool, view.old)
    return [_ready(view, problem), schema, reachable, _scaling_active(view), _degraded(view, problem), compatible]


def _ready(view: PoolView, of_pods: Problem | None) -> Condition:
    observed = view.observed
    problem = (
        pool_problems.of_secrets(observed.pool, observed.secret, observed.admin_secret)
        or pool_problems.of_objects(observed)
        or pool_problems.of_database(observed.database)
    )
    if problem is None and _blind(observed):
        kept = _kept(view, "Ready")
        return kept or Condition("Ready", "Unknown", "NotYetKnown", "the database has not been asked yet")
    ready, desired = view.pods.ready, view.decision.desired
    if problem is None and desired > 0 and not (ready >= desired and rolled_out(view)):
        problem = of_pods or _progress(view)
    if problem is not None:
        return Condition("Ready", "False", problem.reason, problem.message)
    if desired == 0:
        return Condition("Ready", "True", "ScaledToZero", f"there are to be no pods: {view.decision.reason}")
    return Condition("Ready", "True", "AllReplicasReady", f"{desired} of {desired} pods are ready")


def _blind(observed: ObservedPool) -> bool:
    unread = isinstance(observed.secret, SecretUnknown) or isinstance(observed.admin_secret, SecretUnknown)
    return unread or isinstance(observed.database, DatabaseUnknown)


def _kept(view: PoolView, kind: str) -> Condition | None:
    """The last condition: an operator that has just started does not withdraw what it has not checked."""
    if view.old.get("observedGeneration") != view.observed.pool.metadata.generation:
        return None
    return conditions.found(view.old, kind)


def _progress(view: PoolView) -> Problem:
    desired = view.decision.desired
    if view.pods.ready < desired:
        return Problem("Progressing", f"{view.pods.ready} of {desired} pods are ready")
    live = view.ours or {}
    there, updated = (manifests.get(live, "status", which) or 0 for which in ("replicas", "updatedReplicas"))
    if there > updated or updated < desired:
        kept = f", and {there - updated} of an older one are kept until these are ready" if there > updated else ""
        return Problem("Progressing", f"{min(updated, desired)} of {desired} pods are of the newest template{kept}")
    return Problem("Progressing", f"the Deployment does not report yet that {desired} pods are available")


def _database_conditions(view: PoolView) -> tuple[Condition, Condition]:
    """SchemaReady and DatabaseReachable."""
    state = view.observed.database
    problem = pool_problems.of_secrets(view.observed.pool, view.observed.secret, view.observed.admin_secret)
    if problem is not None:
        said = problem.reason, problem.message
        return Condition("SchemaReady", "Unknown", *said), Condition("DatabaseReachable", "False", *said)
    if _blind(view.observed):
        said = "NotYetKnown", "the database has not been asked yet"
        return (
            _kept(view, "SchemaReady") or Condition("SchemaReady", "Unknown", *said),
            _kept(view, "DatabaseReachable") or Condition("DatabaseReachable", "Unknown", *said),
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


def _scaling_active(view: PoolView) -> Condition:
    decision, mode = view.decision, view.observed.pool.spec.scaling.mode
    if decision.inactive_reason is not None:
        return Condition("ScalingActive", "False", decision.inactive_reason, decision.reason)
    if decision.limited_by in ("blind", "database"):
        return Condition("ScalingActive", "False", "QueuesNotSeen", decision.reason)
    # The numbers of Native change with every decision: the reason for the last change is in status.scaling.
    reason = "the number of pods follows the queues" if mode == "Native" else decision.reason
    return Condition("ScalingActive", "True", f"{mode}Replicas", reason)


def _degraded(view: PoolView, of_pods: Problem | None) -> Condition:
    problem = pool_problems.of_objects(view.observed) or (of_pods if view.decision.desired or view.pods.live else None)
    if problem is not None:
        return Condition("Degraded", "True", problem.reason, problem.message)
    if view.pods.recent_ooms:
        who = view.pods.recent_ooms[0]
        what = f"pod {who} took more memory than its limit and was started again within the last ten minutes"
        how = "raise template.spec.containers[worker].resources.limits.memory or lower concurrency"
        return Condition("Degraded", "True", "OOMKilled", f"{what}; {how}")
    return Condition("Degraded", "False", "AsExpected", "no pod has a problem")


def pool_status(view: PoolView, wished: list[Condition]) -> dict[str, Any]:
    """The whole status; what has not changed is written as it was, times too."""
    pool = view.observed.pool
    selector = ",".join(f"{key}={value}" for key, value in sorted(manifests.selector(pool).items()))
    queue = _queue(view)
    return {
        "observedGeneration": pool.metadata.generation,
        "replicas": view.pods.live,
        "readyReplicas": view.pods.ready,
        "drainingReplicas": len(view.pods.draining)
        + len(pods.asked_to_drain(view.observed.pods, view.observed.workers)),
        "selector": selector,
        **_incompatible(view),
        **({DEFINITIONS: view.old[DEFINITIONS]} if DEFINITIONS in view.old else {}),
        **({"queue": queue} if queue else {}),
        "scaling": _scaling(view),
        "conditions": conditions.written(view.old, wished, pool.metadata.generation, view.observed.now),
    }


def _incompatible(view: PoolView) -> dict[str, int]:
    """The number of incompatible runs; the last known one while the database does not answer."""
    known = view.observed.incompatible
    if known is None:
        return {key: view.old[key] for key in ("incompatibleRuns",) if key in view.old}
    return {"incompatibleRuns": sum(known.values())}


def _queue(view: PoolView) -> dict[str, int] | None:
    """The counts, rounded: the last ones before the first answer, none while the database does not answer."""
    stats, state = view.observed.queue, view.observed.database
    if stats is None:
        lost = isinstance(state, DatabaseUnreachable | SchemaTooNew | MigrationFailed)
        return None if lost else view.old.get("queue")
    return {
        "ready": conditions.rounded(stats.ready, 2),
        "due": conditions.rounded(stats.due, 2),
        "running": conditions.rounded(stats.running, 2),
        "oldestReadySeconds": conditions.stepped(stats.oldest_ready_seconds),
    }


def _scaling(view: PoolView) -> dict[str, Any]:
    old, decision = view.old.get("scaling") or {}, view.decision
    desired = 0 if view.observed.pool.deleting else decision.desired
    time = old.get("lastScaleTime")
    if "desired" in old and old["desired"] != desired:
        time = conditions.timestamp(view.observed.now)
    reason = "the pool is being deleted" if view.observed.pool.deleting else decision.reason
    same = old.get("desired") == desired and old.get("limitedBy") == decision.limited_by
    if same and view.observed.wish is not None and "reason" in old:
        reason = old["reason"]  # the reason for the last change: its counts differ in every observation
    return {
        "desired": desired,
        "reason": conditions.one_line(reason),
        **({"limitedBy": decision.limited_by} if decision.limited_by and not view.observed.pool.deleting else {}),
        **({"lastScaleTime": time} if time else {}),
    }
