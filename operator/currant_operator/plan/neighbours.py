"""Other operators of the cluster.

Two that served one namespace would undo each other's work, so an operator of every namespace leaves alone those that
have an operator of their own, and waits while an older one serves every namespace.

Helm refuses such a second release; this is for those that were installed without asking the cluster (GitOps). The chart
notes on its Deployment what the operator watches. Operators of one namespace share a Lease there instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from currant_operator.plan.kinds import Kind
from currant_operator.plan.manifests import get
from currant_operator.plan.observations import Object

WATCHES = "currant.dev/watches"  # an annotation: a namespace, or * for all of them
OPERATORS = Kind("Deployment", "apps", "v1", "deployments", "app.kubernetes.io/name=currant-operator")


@dataclass(frozen=True)
class Neighbours:
    """`older`: the operator of every namespace that was there first, as `namespace/name`, empty when there is none.

    `namespaces`: those that have an operator of their own.
    """

    older: str = ""
    namespaces: frozenset[str] = frozenset()


def neighbours(deployments: Iterable[Object], pod_namespace: str, pod_name: str) -> Neighbours:
    """The neighbours of the operator whose pod this is, from the Deployments. Those with 0 replicas do not count."""
    running = [each for each in deployments if _watches(each) and get(each, "spec", "replicas") != 0]
    own = _own(running, pod_namespace, pod_name)
    others = [each for each in running if each is not own]
    everywhere = sorted(_age(each) for each in others if _watches(each) == "*")
    first = everywhere[0] if everywhere and (own is None or everywhere[0] < _age(own)) else None
    return Neighbours(first[1] if first else "", frozenset(_watches(each) for each in others) - {"*"})


def _own(deployments: Iterable[Object], namespace: str, pod: str) -> Object | None:
    """The pod's Deployment: its name and two random parts are the pod's."""
    mine = [
        each
        for each in deployments
        if get(each, "metadata", "namespace") == namespace and pod.startswith(f"{get(each, 'metadata', 'name')}-")
    ]
    return max(mine, key=lambda each: len(str(get(each, "metadata", "name"))), default=None)


def _watches(deployment: Object) -> str:
    return str(get(deployment, "metadata", "annotations", WATCHES) or "")


def _age(deployment: Object) -> tuple[str, str]:
    """The order of operators: by creation time, then by namespace and name."""
    metadata = get(deployment, "metadata")
    return str(metadata.get("creationTimestamp")), f"{metadata['namespace']}/{metadata['name']}"
