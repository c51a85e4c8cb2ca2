"""Pools, workflows and their surroundings, made up; and a small world that carries a plan out as an API server would."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from currant_operator.plan.merging import merge
from currant_operator.plan.observations import (
    Applied,
    DatabaseReachable,
    DatabaseState,
    ObservedPool,
    ObservedWorkflow,
    QueueStats,
    SecretFound,
    SecretState,
    Wish,
    Worker,
    WorkflowStats,
)
from currant_operator.plan.plans import UNCHANGED, PoolPlan, WorkflowPlan
from currant_operator.plan.pool import plan_pool
from currant_operator.plan.resources import (
    WorkerPool,
    Workflow,
    parse_pool,
    parse_workflow,
)
from currant_operator.plan.workflow import plan_workflow
from samples import SMALLEST_POOL, SMALLEST_WORKFLOW, manifest, set_field

Body = dict[str, Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMESPACE = "shop"
POOL_UID = "11111111-aaaa"
FOUND = SecretFound("beef")
REACHABLE = DatabaseReachable(6)
METADATA: Body = {"namespace": NAMESPACE, "generation": 1}


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def pool_body(**changes: Any) -> Body:
    """A WorkerPool as the API server has it, mode Fixed with two pods; changes as in `samples.manifest`."""
    body = manifest(SMALLEST_POOL)
    body["metadata"] |= {**METADATA, "uid": POOL_UID, "creationTimestamp": at(NOW)}
    body["spec"]["scaling"] = {"mode": "Fixed", "replicas": 2}
    return changed(body, changes)


def workflow_body(**changes: Any) -> Body:
    """A Workflow as the API server has it."""
    body = manifest(SMALLEST_WORKFLOW)
    body["metadata"] |= {**METADATA, "uid": "22222222-bbbb", "creationTimestamp": at(NOW)}
    return changed(body, changes)


def changed(body: Body, changes: Body) -> Body:

    for path, value in changes.items():
        set_field(body, path.split("__"), value)
    return body


def pool(**changes: Any) -> WorkerPool:
    return parse_pool(pool_body(**changes))


def workflow(**changes: Any) -> Workflow:
    return parse_workflow(workflow_body(**changes))


def pod(name: str = "orders-a", ready: bool = True, **changes: Any) -> Body:
    """A pod of the pool that runs; `status__...` changes what the kubelet says of it."""
    status = "True" if ready else "False"
    body: Body = {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"currant.dev/pool": "orders"}},
        "spec": {"terminationGracePeriodSeconds": 300},
        "status": {
            "phase": "Running" if ready else "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": status}],
            "containerStatuses": [{"name": "worker", "restartCount": 0, "state": {"running": {}}, "lastState": {}}],
        },
    }
    return changed(body, changes)


def waiting(reason: str, message: str = "", name: str = "orders-a") -> Body:
    """A pod whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(name, ready=False, status__containerStatuses__0__state=state)


def crashed(message: str, reason: str = "Error", exit_code: int = 1, name: str = "orders-a") -> Body:
    """A pod whose container has ended and waits to be started again."""
    ended = {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": at(NOW)}
    back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}}
    return pod(
        name,
        ready=False,
        status__containerStatuses__0__state=back_off,
        status__containerStatuses__0__lastState={"terminated": ended},
        status__containerStatuses__0__restartCount=3,
    )


@dataclass
class World:
    """One pool and all around it. `settle` plans and carries out until nothing is left to do."""

    body: Body = field(default_factory=pool_body)
    deployment: Body | None = None
    service_account: Body | None = None
    pod_disruption_budget: Body | None = None
    pods: list[Body] = field(default_factory=list)
    secret: SecretState = FOUND
    admin_secret: SecretState | None = None
    database: DatabaseState = REACHABLE
    queue: QueueStats | None = None
    workers: tuple[Worker, ...] | None = None
    incompatible: dict[str, int] | None = None
    wish: Wish | None = None
    now: datetime = NOW
    pods_start: bool = True
    """Whether pods become ready as soon as the Deployment asks for them."""

    def observe(self) -> ObservedPool:
        return ObservedPool(
            pool=parse_pool(copy.deepcopy(self.body)),
            now=self.now,
            deployment=copy.deepcopy(self.deployment),
            service_account=copy.deepcopy(self.service_account),
            pod_disruption_budget=copy.deepcopy(self.pod_disruption_budget),
            pods=tuple(copy.deepcopy(self.pods)),
            secret=self.secret,
            admin_secret=self.admin_secret,
            database=self.database,
            queue=self.queue,
            workers=self.workers,
            incompatible=self.incompatible,
            wish=self.wish,
        )

    def plan(self) -> PoolPlan:
        return plan_pool(self.observe())

    def carry_out(self, plan: PoolPlan) -> None:
        """Carry out a plan as the operator and the cluster would."""
        if plan.spec_replicas != UNCHANGED:
            scaling = self.body["spec"]["scaling"]
            scaling.pop("replicas", None)
            if plan.spec_replicas is not None:
                scaling["replicas"] = plan.spec_replicas
        for wanted in plan.apply:
            attribute = ATTRIBUTES[wanted["kind"]]
            setattr(self, attribute, applied(getattr(self, attribute), wanted, "currant-operator"))
        if plan.replicas is not None:
            assert self.deployment is not None
            self.deployment = applied(self.deployment, {"spec": {"replicas": plan.replicas}}, "currant-scaler")
        for ref in plan.delete:
            setattr(self, ATTRIBUTES[ref.kind], None)
        self.body["status"] = copy.deepcopy(plan.status)
        self._run_controllers()

    def settle(self) -> None:
        """Until a plan has nothing to do; fails when that does not come."""
        for _ in range(6):
            plan = self.plan()
            if is_empty(plan):
                return
            self.carry_out(plan)
        raise AssertionError(f"still something to do: {self.plan()}")

    def _run_controllers(self) -> None:
        """The Deployment's controller, the kubelet and the scheduler, all at once."""
        live = self.deployment
        if live is None or not self.pods_start:
            return
        wanted = live["spec"]["replicas"]
        kept = [each for each in self.pods if not each["metadata"].get("deletionTimestamp")][:wanted]
        self.pods = kept + [pod(f"orders-{number}") for number in range(len(kept), wanted)]
        live["status"] = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": wanted,
        }


ATTRIBUTES = {
    "Deployment": "deployment",
    "ServiceAccount": "service_account",
    "PodDisruptionBudget": "pod_disruption_budget",
}


def applied(live: Body | None, manifest: Body, manager: str) -> Body:
    """The object after a server-side apply of the manifest by the manager, as far as plans look at it."""
    result = merge(live or {}, copy.deepcopy(manifest))
    metadata = result["metadata"]
    metadata.setdefault("uid", f"uid-of-{result['kind']}")
    metadata["generation"] = metadata.get("generation", 0) + 1
    entries = [entry for entry in metadata.get("managedFields", []) if entry["manager"] != manager]
    owned: Body = {"f:spec": {"f:replicas": {}}} if "replicas" in manifest.get("spec", {}) else {}
    metadata["managedFields"] = [*entries, {"manager": manager, "operation": "Apply", "fieldsV1": owned}]
    if result["kind"] == "Deployment":
        result["spec"].setdefault("replicas", 1)
    return result


def is_empty(plan: PoolPlan) -> bool:
    """Whether nothing at all is to be written."""
    writes = (
        plan.spec_replicas != UNCHANGED,
        plan.apply,
        plan.deletion_costs,
        plan.drain,
        plan.replicas is not None,
        plan.delete,
        plan.events,
    )
    return not any(writes) and plan.status_write == "none"


def converged(**changes: Any) -> World:
    """A pool that is as it should be, with its pods."""
    world = World(pool_body(**changes))
    world.settle()
    return world


def with_pods(*pods: Body, **changes: Any) -> World:
    """A pool that has all it needs, with these pods."""
    world = converged(**changes)
    world.pods = list(pods)
    return world


def rolling(world: World, updated: int) -> World:
    """In the middle of a roll-out: the old pods are ready, and so many of the new ones have been made."""
    live = world.deployment
    assert live is not None
    wanted = live["spec"]["replicas"]
    world.pods = [pod(f"orders-{number}") for number in range(wanted)]
    live["status"] |= {
        "replicas": wanted + updated,
        "updatedReplicas": updated,
        "availableReplicas": wanted,
    }
    return world


def importing(seconds: float, name: str = "orders-a") -> Body:
    """A pod whose container runs, and whose worker has not begun to serve."""
    running = {"running": {"startedAt": at(later(-seconds))}}
    changes = {"status__containerStatuses__0__state": running, "status__containerStatuses__0__started": False}
    return pod(name, ready=False, **changes)


def observed_workflow(**given: Any) -> ObservedWorkflow:
    """A workflow whose pool serves it, with nothing in the database yet; `given` are fields."""
    defaults: Body = {
        "workflow": workflow(),
        "now": NOW,
        "pool": pool(),
        "secret": FOUND,
        "database": REACHABLE,
        "definitions": (),
        "stats": WorkflowStats(),
        "workers": (Worker(id="w1", name="w1", pool="shop/orders", workflows=("shop.orders.process_order",)),),
    }
    return ObservedWorkflow(**{**defaults, **given})


@dataclass
class WorkflowWorld:
    """One workflow and the database of its pool."""

    body: Body = field(default_factory=workflow_body)
    stored: list[Body] = field(default_factory=list)
    given: Body = field(default_factory=dict)

    def observe(self) -> ObservedWorkflow:
        return observed_workflow(
            **{
                "workflow": parse_workflow(copy.deepcopy(self.body)),
                "definitions": tuple(copy.deepcopy(self.stored)),
                **self.given,
            }
        )

    @property
    def defined(self) -> bool:
        """Whether the database has its definition."""
        return any(item["owner"] == f"{NAMESPACE}/{self.body['metadata']['name']}" for item in self.stored)

    def plan(self) -> WorkflowPlan:
        return plan_workflow(self.observe())

    def carry_out(self, plan: WorkflowPlan) -> None:
        """Carry out a plan as the operator and the database would."""
        owner = f"{NAMESPACE}/{self.body['metadata']['name']}"
        if plan.delete_definition:
            self.stored = [item for item in self.stored if item["owner"] != owner]
        if plan.definition is not None:
            answer = self._apply(plan.definition, owner)
            plan = plan_workflow(replace(self.observe(), applied=answer))
        self.body["status"] = copy.deepcopy(plan.status)

    def _apply(self, item: Body, owner: str) -> Applied:
        others = [each for each in self.stored if each["function"] == item["function"] and each["owner"] != owner]
        if others:
            return Applied("taken", others[0]["owner"])
        self.stored = [each for each in self.stored if each["owner"] != owner] + [copy.deepcopy(item)]
        return Applied("applied", owner)

    def settle(self) -> None:
        for _ in range(6):
            plan = self.plan()
            if is_nothing(plan) or (plan.delete_definition and not self.defined):
                return
            self.carry_out(plan)
        raise AssertionError(f"still something to do: {self.plan()}")


def is_nothing(plan: WorkflowPlan) -> bool:
    writes = (plan.delete_definition, plan.definition, plan.events)
    return not any(writes) and plan.status_write == "none"


def condition(status: Body, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    found = next(item for item in status["conditions"] if item["type"] == kind)
    return found["status"], found["reason"], found["message"]


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def assert_in_order(message: str, parts: list[str]) -> None:
    """Fail unless the message has all these parts, in this order."""
    place = 0
    for part in parts:
        place = message.find(part, place)
        assert place >= 0, f"{part!r} is not in: {message}"
