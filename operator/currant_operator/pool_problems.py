"""What is wrong with a pool, from what was seen of it; each with a sentence that says what to do."""

from __future__ import annotations

from currant_operator import pods
from currant_operator.conditions import Problem, one_line
from currant_operator.manifests import belongs, controller, get, own_account
from currant_operator.observed import (
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
from currant_operator.pods import Pods
from currant_operator.resources import SecretRef, WorkerPool


def of_secrets(pool: WorkerPool, state: SecretState, admin: SecretState | None) -> Problem | None:
    """Whether the URLs of the pool's database can be had: that for the pods, and that for the operator."""
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
    """Whether the database answers, with the schema that workers need. The state's messages come without secrets."""
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
    """Whether the pool's objects could be made as they are wanted."""
    for live in (observed.deployment, observed.service_account, observed.pod_disruption_budget):
        if live is not None and not _usable(observed.pool, live):
            return _taken(observed.pool, live)
    if observed.rejection is None:
        return None
    refused = observed.rejection
    return Problem(
        "ApplyRejected", f"the API server refuses the {refused.kind} {refused.name}: {refused.message}; mend template"
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


def of_pods(observed: ObservedPool, seen: Pods) -> Problem | None:
    """Why there are fewer pods that are ready than wanted: what the pods say, else what the Deployment says."""
    worst = pods.worst(seen, observed.pool.namespace)
    if worst is not None and worst.reason != "Unschedulable":
        return worst
    return _of_deployment(observed.deployment, "ReplicaFailure") or worst or _stuck(observed.deployment)


def _of_deployment(deployment: Object | None, kind: str) -> Problem | None:
    condition = _condition(deployment, kind)
    if condition.get("status") != "True":
        return None
    message = one_line(condition.get("message") or "")
    if "exceeded quota" in message:
        how = "ask for a greater quota, or lower the replicas or the resources in template"
        return Problem("QuotaExceeded", f"a quota stops new pods: {message}; {how}")
    return Problem("PodsRefused", f"the API server refuses the pods: {message}; mend template")


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
