"""The kinds of objects that the operator reads or writes: how the API addresses them, and which of them it watches."""

from __future__ import annotations

from typing import NamedTuple

GROUP = "currant.dev"
VERSION = "v1alpha1"
POOL_LABEL = "currant.dev/pool"


class Kind(NamedTuple):
    """A kind. `selector` narrows what is listed and watched; `owned`: it is labelled with the pool it belongs to."""

    name: str
    group: str
    version: str
    plural: str
    selector: str = ""
    owned: bool = False

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


WORKER_POOL = Kind("WorkerPool", GROUP, VERSION, "workerpools")
WORKFLOW = Kind("Workflow", GROUP, VERSION, "workflows")
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments", POOL_LABEL, owned=True)
SERVICE_ACCOUNT = Kind("ServiceAccount", "", "v1", "serviceaccounts", POOL_LABEL, owned=True)
DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", POOL_LABEL, owned=True)
POD = Kind("Pod", "", "v1", "pods", POOL_LABEL, owned=True)
SECRET = Kind("Secret", "", "v1", "secrets")
EVENT = Kind("Event", "events.k8s.io", "v1", "events")
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")

WATCHED = (WORKER_POOL, WORKFLOW, DEPLOYMENT, SERVICE_ACCOUNT, DISRUPTION_BUDGET, POD)
BY_NAME = {kind.name: kind for kind in (*WATCHED, SECRET, EVENT, LEASE)}


class Key(NamedTuple):
    """The key of a reconcile: a WorkerPool or a Workflow."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
