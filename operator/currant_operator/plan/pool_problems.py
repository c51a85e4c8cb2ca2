"""The problems of a pool, found in an observation; each has a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from currant_operator.plan import pods
from currant_operator.plan.conditions import Condition, Problem, found, one_line
from currant_operator.plan.manifests import belongs, controller, get, own_account
from currant_operator.plan.observations import (
    DatabaseMigrating,
    DatabaseState,
    DatabaseUnreachable,
    DatabaseUrlInvalid,
    MigrationFailed,
    Object,
    ObservedPool,
    SchemaTooNew,
    SecretKeyMissing,
    SecretMissing,
    SecretNotAllowed,
    SecretState,
    SecretUnknown,
)
from currant_operator.plan.pods import Pods
from currant_operator.plan.resources import SecretRef, WorkerPool

_FUNCTIONS_SHOWN = 5
_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,\s]+)")


def of_secrets(pool: WorkerPool, state: SecretState, admin: SecretState | None) -> Problem | None:
    """Why a URL of the pool's database, for the pods or for the operator, cannot be read, or None if both can."""
    problem = _of_secret(pool.spec.database.secret_ref, state, f"namespace {pool.namespace}", f"-n {pool.namespace}")
    admin_ref = pool.spec.database.admin_secret_ref
    if problem is not None or admin_ref is None or admin is None:
        return problem
    if isinstance(admin, SecretNotAllowed):
        what = f"the Secret {admin_ref.name} beside the operator does not allow pools of namespace {pool.namespace}"
        how = f"annotate it there: kubectl annotate secret {admin_ref.name} currant.dev/pools-of={pool.namespace}"
        return Problem("AdminSecretNotAllowed", f"{what}; {how} (more namespaces with commas between them)")
    return _of_secret(admin_ref, admin, "the operator's namespace", "-n THE_OPERATORS_NAMESPACE")


def _of_secret(ref: SecretRef, state: SecretState, where: str, flag: str) -> Problem | None:
    value = f"--from-literal={ref.key}=postgresql://user:password@host:5432/name"
    if isinstance(state, SecretMissing):
        how = f"kubectl {flag} create secret generic {ref.name} {value}"
        return Problem("SecretNotFound", f"there is no Secret {ref.name} in {where}: {how}")
    if isinstance(state, SecretKeyMissing):
        keys = f"it has {', '.join(sorted(state.keys))}" if state.keys else "it has no keys"
        what = f"the Secret {ref.name} has no value under the key {ref.key} ({keys})"
        return Problem("SecretKeyNotFound", f"{what}: add the key to it, or make a pool with another secretRef.key")
    if isinstance(state, DatabaseUrlInvalid):
        what = f"key {ref.key} of Secret {ref.name} is no URL of a database: {state.message}"
        return Problem("DatabaseUrlInvalid", f"{what}; write one such as postgresql://user:password@host:5432/name")
    if isinstance(state, SecretUnknown) and state.message:
        return Problem("SecretUnreadable", f"the Secret {ref.name} cannot be read: {state.message}")
    return None


def of_database(state: DatabaseState) -> Problem | None:
    """Why the database cannot be used, or None if it can. The state's messages hold no secrets."""
    if isinstance(state, DatabaseUnreachable):
        what = f"the database does not answer: {state.message}"
        return Problem("DatabaseUnreachable", f"{what}; pods stay as they are, and it is tried again by itself")
    if isinstance(state, SchemaTooNew):
        return Problem("SchemaTooNew", state.message)
    if isinstance(state, MigrationFailed):
        return Problem("MigrationFailed", f"{state.message}; it is tried again by itself")
    if isinstance(state, DatabaseMigrating):
        return Problem("Migrating", "the schema is being brought up to this version; pods start after it")
    return None


def of_objects(observed: ObservedPool) -> Problem | None:
    """Why the pool's objects could not be made as they are wanted, or None if they could."""
    for live in (observed.deployment, observed.service_account, observed.pod_disruption_budget):
        if live is not None and not _usable(observed.pool, live):
            return _taken(observed.pool, live)
    if observed.rejection is None:
        return None
    refused = observed.rejection
    return Problem(
        "ApplyRejected", f"the API server refuses the {refused.kind} {refused.name}: {refused.message}; fix template"
    )


def _usable(pool: WorkerPool, live: Object) -> bool:
    return belongs(pool, live) or (live.get("kind") == "ServiceAccount" and own_account(pool))


def _taken(pool: WorkerPool, live: Object) -> Problem:
    kind, owner = live.get("kind"), controller(live)
    whose = f"belongs to {owner.get('kind')} {owner.get('name')}" if owner else "is not of this operator's making"
    if owner and owner.get("kind") == "WorkerPool" and owner.get("name") == pool.name:
        whose = "belongs to an earlier pool of this name that is still being deleted"
    how = "delete it, or make the pool under another name"
    if kind == "ServiceAccount":
        how += f", or write template.spec.serviceAccountName: {pool.name} to have the pods use it"
    return Problem("NameTaken", f"{kind} {pool.name} {whose}: {how}")


def compatible(
    runs: Mapping[str, int] | None, pool: WorkerPool, old: Mapping[str, Any], function: str | None = None
) -> Condition:
    """The condition RunsCompatible of a pool, or of the Workflow of one function; `old` is the status written last."""
    if runs is None:
        kept = found(old, "RunsCompatible")
        return kept or Condition("RunsCompatible", "Unknown", "NotYetKnown", "the database has not been asked yet")
    wrong = {name: number for name, number in sorted(runs.items()) if number and function in (None, name)}
    if not wrong:
        return Condition("RunsCompatible", "True", "AllFit", "every run fits the code that is deployed")
    shown = ", ".join(f"{number} of {name}" for name, number in list(wrong.items())[:_FUNCTIONS_SHOWN])
    more = ", ..." if len(wrong) > _FUNCTIONS_SHOWN else ""
    what = f"{sum(wrong.values())} runs do not fit the code that is deployed ({shown}{more})"
    how = (
        f"kubectl -n {pool.namespace} exec deploy/{pool.name} -- currant list --incompatible; while the pool has no"
        " pods, exec deploy/currant-cli in the operator's namespace"
    )
    return Condition(
        "RunsCompatible",
        "False",
        "IncompatibleRuns",
        f"{what}; they wait, and go on when code that fits is deployed; the step that differs: {how}",
    )


def of_pods(observed: ObservedPool, counted: Pods) -> Problem | None:
    """Why there are fewer pods that are ready than wanted: what the pods say, else what the Deployment says."""
    worst = pods.worst(counted, observed.pool.namespace, observed.pool.spec.modules)
    if worst is not None and worst.reason != "Unschedulable":
        return worst
    return _of_failure(observed.deployment) or worst or _stuck(observed.deployment)


def _of_failure(deployment: Object | None) -> Problem | None:
    """Why the API server does not let the pods be made."""
    condition = _condition(deployment, "ReplicaFailure")
    if condition.get("status") != "True":
        return None
    message = one_line(condition.get("message") or "")
    if quota := _QUOTA.search(message):
        return _of_quota(quota["name"], message, deployment)
    return Problem("PodsRefused", f"the API server refuses the pods: {message}; fix template")


def _of_quota(quota: str, message: str, deployment: Object | None) -> Problem:
    there, updated = (get(deployment, "status", which) or 0 for which in ("replicas", "updatedReplicas"))
    if there > updated:  # pods of the old template are kept until new ones are ready
        what = f"the ResourceQuota {quota} has no room for the one pod more that a roll-out needs"
        how = (
            "raise the quota by one pod, or write rollout: {maxUnavailable: 1}, "
            "so that an old pod goes before its successor comes"
        )
    else:
        what = f"the ResourceQuota {quota} has no room for more pods"
        how = "raise it, or lower the replicas or the resources in template"
    return Problem("QuotaExceeded", f"{what}: {how} ({message})")


def _stuck(deployment: Object | None) -> Problem | None:
    condition = _condition(deployment, "Progressing")
    if condition.get("status") != "False" or condition.get("reason") != "ProgressDeadlineExceeded":
        return None
    return Problem("RolloutStuck", f"new pods do not get ready: {one_line(condition.get('message') or '')}")


def _condition(deployment: Object | None, kind: str) -> dict[str, str]:
    for condition in get(deployment, "status", "conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}
