"""From what was observed of a workflow to what is to be done for it. Pure: no I/O, no clock."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from currant_operator.plan import conditions, definitions, pool_problems
from currant_operator.plan.conditions import Condition, Problem
from currant_operator.plan.observations import (
    DatabaseReachable,
    DatabaseUnknown,
    ObservedWorkflow,
    SecretUnknown,
    Worker,
)
from currant_operator.plan.plans import WorkflowPlan
from currant_operator.plan.resources import WorkerPool

__all__ = ["WorkflowPlan", "plan_workflow"]

ASK_AGAIN = 60.0
"""Seconds until a Workflow asks again for a function that another Workflow has."""
_NAMES_SHOWN = 5


def plan_workflow(observed: ObservedWorkflow) -> WorkflowPlan:
    """Everything that is to be done for a workflow now. The same observation gives the same plan.

    A workflow that is being deleted, while others still keep it, loses its definition like one that is gone.
    """
    if observed.workflow.deleting:
        return WorkflowPlan(delete_definition=True, status=observed.workflow.status)
    return _have(observed)


def _have(observed: ObservedWorkflow) -> WorkflowPlan:
    """The plan of a workflow that is wanted."""
    wanted = definitions.definition(observed.workflow)
    write = _may_write(observed) and not _stored(observed, wanted) and _other_owner(observed) is None
    wished = _conditions(observed, wanted)
    status = _status(observed, wished)
    old = observed.workflow.status
    return WorkflowPlan(
        definition=wanted if write else None,
        status=status,
        status_write=conditions.status_write(old, status, "runs"),
        events=conditions.events(old, wished),
        requeue_after=ASK_AGAIN if wished[0].reason == "OwnedByAnother" else None,
    )


def _reachable(observed: ObservedWorkflow) -> bool:
    return isinstance(observed.database, DatabaseReachable)


def _may_write(observed: ObservedWorkflow) -> bool:
    """Whether the definition may be written: the pool is wanted and its database is known to be usable."""
    return observed.pool is not None and _database_problem(observed) is None and _reachable(observed)


def _own(observed: ObservedWorkflow) -> Mapping[str, Any] | None:
    """The definition that the database has of this workflow."""
    for item in observed.definitions or ():
        if item.get("owner") == observed.workflow.key:
            return item
    return None


def _stored(observed: ObservedWorkflow, wanted: Mapping[str, Any]) -> bool:
    """Whether the database has the definition as it is wanted."""
    if observed.applied is not None and observed.applied.status in ("applied", "unchanged"):
        return True
    own = _own(observed)
    return own is not None and definitions.same(wanted, own)


def _other_owner(observed: ObservedWorkflow) -> str | None:
    """The other owner that has the function in this database."""
    if observed.applied is not None:
        taken = observed.applied.status == "taken"
        return (observed.applied.owner or "another Workflow") if taken else None
    workflow = observed.workflow
    owners = sorted(
        str(item.get("owner"))
        for item in observed.definitions or ()
        if item.get("function") == workflow.spec.function and item.get("owner") != workflow.key
    )
    return owners[0] if owners else None


def _conditions(observed: ObservedWorkflow, wanted: Mapping[str, Any]) -> list[Condition]:
    registered = _registered(observed)
    return [_ready(observed, wanted, registered), registered, _compatible(observed)]


def _compatible(observed: ObservedWorkflow) -> Condition:
    """Whether every run of the function fits the code that is deployed."""
    if observed.pool is None:
        problem = _pool_problem(observed) or Problem("PoolNotFound", "")
        return Condition("RunsCompatible", "Unknown", problem.reason, problem.message)
    function, old = observed.workflow.spec.function, observed.workflow.status
    return pool_problems.compatible(observed.incompatible, observed.pool, old, function)


def _ready(observed: ObservedWorkflow, wanted: Mapping[str, Any], registered: Condition) -> Condition:
    problem = _pool_problem(observed) or _database_problem(observed)
    if problem is None and _blind(observed):
        kept = _kept(observed, "Ready")
        return kept or Condition("Ready", "Unknown", "NotYetKnown", "the pool's database has not been asked yet")
    problem = problem or _definition_problem(observed, wanted) or _queue_problem(observed)
    if problem is not None:
        return Condition("Ready", "False", problem.reason, problem.message)
    if registered.status == "False":
        return Condition("Ready", "False", registered.reason, registered.message)
    if observed.workflow.spec.suspended:
        what = "the definition is in the database; queued runs wait and schedules pause until suspended is false"
        return Condition("Ready", "True", "Suspended", what)
    return Condition("Ready", "True", "Applied", "the definition is in the database, and every enqueue obeys it")


def _blind(observed: ObservedWorkflow) -> bool:
    unread = isinstance(observed.secret, SecretUnknown) or isinstance(observed.admin_secret, SecretUnknown)
    return unread or isinstance(observed.database, DatabaseUnknown)


def _kept(observed: ObservedWorkflow, kind: str) -> Condition | None:
    """The last condition: an operator that has just started does not withdraw what it has not checked."""
    workflow = observed.workflow
    if workflow.status.get("observedGeneration") != workflow.metadata.generation:
        return None
    return conditions.found(workflow.status, kind)


def _pool_problem(observed: ObservedWorkflow) -> Problem | None:
    if observed.pool is not None:
        return None
    workflow = observed.workflow
    what = f"there is no WorkerPool {workflow.spec.pool_ref.name} in namespace {workflow.namespace}"
    return Problem(
        "PoolNotFound", f"{what}: make it, or make this Workflow again with the poolRef of one that is there"
    )


def _database_problem(observed: ObservedWorkflow) -> Problem | None:
    """The problem of the pool's database; for a pool that is gone, of the one that it had."""
    problem = None
    if observed.pool is not None:
        problem = pool_problems.of_secrets(observed.pool, observed.secret, observed.admin_secret)
    problem = problem or pool_problems.of_database(observed.database)
    if problem is None:
        return None
    return Problem(problem.reason, f"of WorkerPool {observed.workflow.spec.pool_ref.name}: {problem.message}")


def _definition_problem(observed: ObservedWorkflow, wanted: Mapping[str, Any]) -> Problem | None:
    """Why the definition is not in the database."""
    function, winner = observed.workflow.spec.function, _other_owner(observed)
    if winner is not None:
        what = f"{function} is defined by the Workflow {winner} already, and that one counts"
        return Problem("OwnedByAnother", f"{what}: delete one of the two")
    if observed.applied is not None and observed.applied.status == "invalid":
        message = observed.applied.message or "the database refuses the definition"
        return Problem("InvalidSchedule" if _about_schedules(message) else "InvalidDefinition", message)
    if not _stored(observed, wanted):
        return Problem("Progressing", "the definition is being written to the database")
    return None


def _about_schedules(message: str) -> bool:
    return any(word in message.lower() for word in ("schedule", "cron", "time zone", "time_zone", "timezone"))


def _queue_problem(observed: ObservedWorkflow) -> Problem | None:
    pool, queue = observed.pool, observed.workflow.spec.queue
    if pool is None or queue is None or queue in pool.spec.queues:
        return None
    what = f"WorkerPool {pool.name} claims from {', '.join(pool.spec.queues)} and not from {queue}"
    return Problem("QueueNotServed", f"{what}: add {queue} to its queues, or write another queue here")


def _registered(observed: ObservedWorkflow) -> Condition:
    """Whether a live worker of the pool has the function."""
    pool, workers = observed.pool, observed.workers
    if pool is None:
        problem = _pool_problem(observed) or Problem("PoolNotFound", "")
        return Condition("Registered", "False", problem.reason, problem.message)
    if workers is None:
        kept = _kept(observed, "Registered")
        return kept or Condition("Registered", "Unknown", "NotYetKnown", "the workers of the pool are not known yet")
    if not workers:
        what = f"WorkerPool {pool.name} has no live worker just now: kubectl -n {pool.namespace} get wp {pool.name}"
        return Condition("Registered", "Unknown", "NoWorkers", what)
    names = {name for worker in workers for name in _functions(worker)}
    if observed.workflow.spec.function in names:
        return Condition("Registered", "True", "Served", f"a live worker of WorkerPool {pool.name} has the function")
    message = _not_served(observed.workflow.spec.function, pool, names)
    return Condition("Registered", "False", "FunctionNotServed", message)


def _functions(worker: Worker) -> tuple[str, ...]:
    return (*worker.workflows, *worker.tasks)


def _not_served(function: str, pool: WorkerPool, names: set[str]) -> str:
    """The message that no worker has the function, with the functions that they have, the likeliest first."""
    close = difflib.get_close_matches(function, sorted(names), n=1, cutoff=0.6)
    rest = [name for name in sorted(names) if name not in close]
    shown = [*close, *rest][:_NAMES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    has = f"they have {', '.join(shown)}{more}" if names else "they have none"
    question = f"did you mean {close[0]}?" if close else f"add its module to those of WorkerPool {pool.name}"
    return f"no live worker of WorkerPool {pool.name} has {function}; {has}; {question}"


def _status(observed: ObservedWorkflow, wished: list[Condition]) -> dict[str, Any]:
    """The whole status; what has not changed is written as it was, times too."""
    workflow = observed.workflow
    generation = workflow.metadata.generation
    return {
        "observedGeneration": generation,
        **_runs(observed),
        "conditions": conditions.written(workflow.status, wished, generation, observed.now),
    }


def _runs(observed: ObservedWorkflow) -> dict[str, Any]:
    """Counts and times; the last ones until they are counted again."""
    stats, old = observed.stats, observed.workflow.status
    if stats is None:
        return {key: old[key] for key in ("runs", "lastScheduleTime", "nextScheduleTime") if key in old}
    counts = ("pending", "running", "suspended", "completed", "failed", "cancelled")
    shown: dict[str, Any] = {"runs": {name: conditions.rounded(getattr(stats, name), 3) for name in counts}}
    if observed.incompatible is not None:
        shown["runs"]["incompatible"] = observed.incompatible.get(observed.workflow.spec.function, 0)
    if stats.last_schedule is not None:
        shown["lastScheduleTime"] = conditions.timestamp(stats.last_schedule)
    if stats.next_schedule is not None and not observed.workflow.spec.suspended:
        shown["nextScheduleTime"] = conditions.timestamp(stats.next_schedule)
    return shown
