"""The objects that a pool owns, as they are to be applied, and the owner of an object that exists.

The same pool gives the same manifests, byte for byte. A manifest carries the digest of itself in an annotation, so that
`drift` sees when what we want has changed, fields that we no longer want among it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from currant_operator.plan.merging import merge
from currant_operator.plan.observations import Object
from currant_operator.plan.resources import API_VERSION, WorkerPool

POOL_LABEL = "currant.dev/pool"
NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APPLIED_ANNOTATION = "currant.dev/applied"
DATABASE_ANNOTATION = "currant.dev/database"
OPERATOR_MANAGER = "currant-operator"
SCALER_MANAGER = "currant-scaler"
CONTAINER = "worker"
PORT = 8080
PORT_NAME = "http"
OWN_PORT = {"containerPort": PORT, "name": PORT_NAME, "protocol": "TCP"}
USER_ID = 10001
GRACE_FOR_HANDING_BACK = 5  # seconds that the worker keeps of its pod's grace period


def selector(pool: WorkerPool) -> dict[str, str]:
    """The labels that only the pool's pods have."""
    return {NAME_LABEL: "currant-worker", POOL_LABEL: pool.name}


def labels(pool: WorkerPool) -> dict[str, str]:
    """The labels of everything that belongs to the pool."""
    return {**selector(pool), MANAGED_BY_LABEL: "currant"}


def service_account(pool: WorkerPool) -> dict[str, Any] | None:
    """The pool's ServiceAccount, which has no rights, or None when the template names another."""
    if own_account(pool):
        return None
    return _signed({**_head(pool, "v1", "ServiceAccount"), "automountServiceAccountToken": False})


def pod_disruption_budget(pool: WorkerPool) -> dict[str, Any]:
    """A quarter of the pods, at least one, may be evicted at once; pods that are not ready may always be."""
    spec = {
        "maxUnavailable": "25%",
        "selector": {"matchLabels": selector(pool)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _signed({**_head(pool, "policy/v1", "PodDisruptionBudget"), "spec": spec})


def deployment(pool: WorkerPool, database: str | None) -> dict[str, Any]:
    """The pool's Deployment, without replicas. `database` is the fingerprint of its URL: a new one makes new pods."""
    spec = {
        "selector": {"matchLabels": selector(pool)},
        "revisionHistoryLimit": 3,
        # A new pod is ready before an old one begins to drain, unless the pool says otherwise.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": pool.spec.rollout.max_unavailable},
        },
        "template": pod_template(pool, database),
    }
    return _signed({**_head(pool, "apps/v1", "Deployment"), "spec": spec})


def with_replicas(manifest: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """The Deployment's manifest with replicas; its digest stays as it is."""
    return {**manifest, "spec": {"replicas": replicas, **manifest["spec"]}}


def own_account(pool: WorkerPool) -> bool:
    """Whether the template names a ServiceAccount of the user's."""
    return bool((pool.spec.template.get("spec") or {}).get("serviceAccountName"))


def pod_template(pool: WorkerPool, database: str | None) -> dict[str, Any]:
    """Our defaults, then the pool's template over them, then what cannot be otherwise."""
    template = merge(_defaults(pool), pool.spec.template)
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels(pool)}
    if database is not None:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), DATABASE_ANNOTATION: database}
    spec = dict(template["spec"])
    spec.pop("restartPolicy", None)
    spec["terminationGracePeriodSeconds"] = grace_period(pool)
    spec["containers"] = [
        {**container, "env": _environment(pool, container.get("env") or []), "ports": _ports(container)}
        if container.get("name") == CONTAINER
        else container
        for container in spec["containers"]
    ]
    return {"metadata": metadata, "spec": spec}


def grace_period(pool: WorkerPool) -> int:
    """Whole seconds that a pod has from SIGTERM to SIGKILL."""
    return math.ceil(pool.spec.drain.timeout)


def _defaults(pool: WorkerPool) -> dict[str, Any]:
    """The template's defaults, which a pool may change. They fit the Pod Security Standard `restricted`."""
    container: dict[str, Any] = {
        "name": CONTAINER,
        "args": _arguments(pool),
        "ports": [OWN_PORT],
        # Modules may take long to import; until then nobody listens.
        "startupProbe": {
            "httpGet": _page("/healthz"),
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 150,
        },
        "livenessProbe": {
            "httpGet": _page("/healthz"),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "readinessProbe": {"httpGet": _page("/readyz"), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 (the pod's own)
    }
    if pool.spec.image is not None:
        container["image"] = pool.spec.image
    if pool.spec.pod_security != "None":
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
    return {
        "metadata": {"labels": labels(pool)},
        "spec": {
            "serviceAccountName": pool.name,
            "automountServiceAccountToken": False,
            **_pod_security(pool),
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "containers": [container],
        },
    }


def _pod_security(pool: WorkerPool) -> dict[str, Any]:
    """The pod's security context. Ids that the cluster assigns are left out, which null in a template cannot do."""
    if pool.spec.pod_security == "None":
        return {}
    ids = {"runAsUser": USER_ID, "runAsGroup": USER_ID, "fsGroup": USER_ID}
    assigned = pool.spec.pod_security == "AssignedUser"
    context = {"runAsNonRoot": True, **({} if assigned else ids), "seccompProfile": {"type": "RuntimeDefault"}}
    return {"securityContext": context}


def _arguments(pool: WorkerPool) -> list[str]:
    queues = [word for queue in pool.spec.queues for word in ("-q", _literal(queue))]
    modules = [word for module in pool.spec.modules for word in ("-m", _literal(module))]
    return ["worker", *queues, *modules, "--name", "$(WORKFLOWS_POD_NAME)"]


def _literal(text: str) -> str:
    """The text with `$(` escaped: Kubernetes would put a variable's value there."""
    return text.replace("$(", "$$(")


def _page(path: str) -> dict[str, Any]:
    """A page of the worker, by its port's number: a template may give the port another name."""
    return {"path": path, "port": PORT}


def _ports(container: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ports; the worker's gets another name where the template gives its name to another port."""
    ports = list(container.get("ports") or [])
    named = [port for port in ports if port.get("name") == PORT_NAME]
    return [{**port, "name": f"currant-{PORT_NAME}"} if len(named) > 1 and port == OWN_PORT else port for port in ports]


def _environment(pool: WorkerPool, more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The variables: the operator's first, so that the template's may refer to them as $(NAME) and replace none."""
    reference = pool.spec.database.secret_ref
    grace = max(0, grace_period(pool) - GRACE_FOR_HANDING_BACK)
    ours: list[dict[str, Any]] = [
        {
            "name": "WORKFLOWS_DATABASE_URL",
            "valueFrom": {"secretKeyRef": {"name": reference.name, "key": reference.key}},
        },
        {"name": "WORKFLOWS_POOL", "value": pool.key},
        {"name": "WORKFLOWS_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "WORKFLOWS_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "WORKFLOWS_WORKER_MAX_CONCURRENT", "value": str(pool.spec.concurrency)},
        {"name": "WORKFLOWS_WORKER_SHUTDOWN_GRACE", "value": str(grace)},
        {"name": "WORKFLOWS_HTTP_PORT", "value": str(PORT)},
    ]
    names = {variable["name"] for variable in ours}
    return [*ours, *(variable for variable in more if variable.get("name") not in names)]


def _head(pool: WorkerPool, api_version: str, kind: str) -> dict[str, Any]:
    owner = {
        "apiVersion": API_VERSION,
        "kind": "WorkerPool",
        "name": pool.name,
        "uid": pool.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {
        "name": pool.name,
        "namespace": pool.namespace,
        "labels": labels(pool),
        "ownerReferences": [owner],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _signed(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {**manifest["metadata"], "annotations": {APPLIED_ANNOTATION: digest(manifest)}}
    return {**manifest, "metadata": metadata}


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits, the same for equal JSON values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def database_of(live: Object | None) -> str | None:
    """The fingerprint of the database's URL that the pods of a Deployment were made with."""
    template = get(live or {}, "spec", "template", "metadata", "annotations") or {}
    found = template.get(DATABASE_ANNOTATION)
    return found if isinstance(found, str) else None


def controller(live: Object) -> Mapping[str, Any] | None:
    """The owner reference of the object's controller."""
    for reference in get(live, "metadata", "ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def belongs(pool: WorkerPool, live: Object) -> bool:
    """Whether the object is the pool's: it has its owner reference, or none at all but our labels (an orphan)."""
    owner = controller(live)
    if owner is not None:
        return bool(owner.get("uid") == pool.metadata.uid)
    wanted = {MANAGED_BY_LABEL: "currant", POOL_LABEL: pool.name}
    has = get(live, "metadata", "labels") or {}
    return all(has.get(key) == value for key, value in wanted.items())


def manages_replicas(live: Object, manager: str) -> bool:
    """Whether `spec.replicas` of the Deployment is among the fields that the manager has applied."""
    for entry in get(live, "metadata", "managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            fields = get(entry, "fieldsV1", "f:spec") or {}
            if "f:replicas" in fields:
                return True
    return False


def get(value: Any, *keys: str) -> Any:
    """The value below nested keys, or None where a key is missing."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
