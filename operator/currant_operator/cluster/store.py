"""The newest known state of each object of the cluster, by kind, namespace and name.

Fed by watches (`accept`, `remove`), by listings (`accept`, then `prune`), and by the answers to the operator's own
writes (`accept` again), so that no reconcile plans from before its own last one. `changed` is called for every change
with the key to reconcile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from currant_operator import metrics
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key, Kind
from currant_operator.plan.manifests import CONTAINER, OPERATOR_MANAGER, SCALER_MANAGER
from currant_operator.plan.pods import ended

Body = dict[str, Any]
Name = tuple[str, str]

_POD_META = (
    "name",
    "namespace",
    "uid",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionTimestamp",
    "resourceVersion",
)
_POD_SPEC = ("nodeName", "terminationGracePeriodSeconds")
_POD_STATUS = ("phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "startTime")
_OURS = (OPERATOR_MANAGER, SCALER_MANAGER)
_CONTAINER_STATUS = ("name", "ready", "started", "restartCount", "state", "lastState", "image")


class Store:
    """Objects by kind. Bodies are shared: nobody changes them."""

    def __init__(
        self,
        changed: Callable[[Key], None],
        pod_ended: Callable[[Body], None] = lambda _: None,
        container_ended: Callable[[Body], None] = lambda _: None,
    ) -> None:
        """`pod_ended` is called with the last state of each pod that has ended or is gone.

        `container_ended` is called with each pod that stays although a container of it has ended.
        """
        self._changed, self._pod_ended, self._container_ended = changed, pod_ended, container_ended
        self._objects: dict[str, dict[Name, Body]] = {kind.name: {} for kind in kinds.WATCHED}
        self._pods: dict[Name, set[Name]] = {}  # pool -> its pods
        self._workflows: dict[Name, set[Name]] = {}  # pool -> the workflows that refer to it

    def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """An object, or None."""
        return self._objects[kind.name].get((namespace, name))

    def all(self, kind: Kind) -> Iterable[Body]:
        """Every object of a kind."""
        return list(self._objects[kind.name].values())

    def count(self, kind: Kind) -> int:
        """The number of objects of a kind."""
        return len(self._objects[kind.name])

    def pods(self, namespace: str, pool: str) -> list[Body]:
        """The pods that carry the pool's label."""
        pods = self._objects[kinds.POD.name]
        return [pods[name] for name in sorted(self._pods.get((namespace, pool), ()))]

    def workflows(self, namespace: str, pool: str) -> list[Key]:
        """The keys of the Workflows that refer to a pool."""
        return [Key(kinds.WORKFLOW.name, *name) for name in self._workflows.get((namespace, pool), ())]

    def accept(self, kind: Kind, body: Body, notify: bool = True) -> None:
        """Take an object as it is now, unless something newer is known. `notify=False`: no reconcile is needed."""
        name = _name(body)
        old = self._objects[kind.name].get(name)
        if old is not None and not _newer(body, old):
            return
        body = slim(kind, body)
        self._objects[kind.name][name] = body
        if kind is kinds.POD:
            self._notify_of_ends(old, body)
        if old is None:
            metrics.OBJECTS.labels(kind.name).set(self.count(kind))
        self._index(kind, name, old, body)
        if notify:
            self._notify(kind, name, old, body)

    def _notify_of_ends(self, old: Body | None, pod: Body) -> None:
        if ended(pod):
            if old is None or not ended(old):
                self._pod_ended(pod)
        elif (end := last_end(pod)) and (old is None or end != last_end(old)):
            self._container_ended(pod)

    def remove(self, kind: Kind, body: Body) -> None:
        """Forget an object, unless another of its name has come since."""
        name = _name(body)
        old = self._objects[kind.name].get(name)
        if old is None or old["metadata"].get("uid") != body["metadata"].get("uid"):
            return
        del self._objects[kind.name][name]
        if kind is kinds.POD and not ended(old):
            self._pod_ended(old)
        metrics.OBJECTS.labels(kind.name).set(self.count(kind))
        self._index(kind, name, old, None)
        self._notify(kind, name, old, None)

    def prune(self, kind: Kind, known_before: set[tuple[Name, str]], listed: set[tuple[Name, str]]) -> None:
        """Forget what was known (`names`) before a listing began and is not in it: its deletion was missed."""
        for name, uid in known_before - listed:
            self.remove(kind, {"metadata": {"namespace": name[0], "name": name[1], "uid": uid}})

    def names(self, kind: Kind) -> set[tuple[Name, str]]:
        """Name and uid of every object of a kind."""
        return {identity(body) for body in self._objects[kind.name].values()}

    def to_reconcile(self) -> Iterator[Key]:
        """Everything that is reconciled."""
        for kind in (kinds.WORKER_POOL, kinds.WORKFLOW):
            for name in list(self._objects[kind.name]):
                yield Key(kind.name, *name)

    def _index(self, kind: Kind, name: Name, old: Body | None, new: Body | None) -> None:
        if kind is kinds.POD:
            index, find = self._pods, pool_of
        elif kind is kinds.WORKFLOW:
            index, find = self._workflows, _pool_ref
        else:
            return
        before, after = (None if body is None else (name[0], find(body)) for body in (old, new))
        if before == after:
            return
        if before is not None:
            index[before].discard(name)
            if not index[before]:
                del index[before]
        if after is not None:
            index.setdefault(after, set()).add(name)

    def _notify(self, kind: Kind, name: Name, old: Body | None, new: Body | None) -> None:
        if not kind.owned:
            self._changed(Key(kind.name, *name))
            if kind is kinds.WORKER_POOL and _matters_to_workflows(old, new):
                for key in self.workflows(*name):
                    self._changed(key)
            return
        for pool in {pool_of(body) for body in (old, new) if body is not None}:
            self._changed(Key(kinds.WORKER_POOL.name, name[0], pool))


def slim(kind: Kind, body: Body) -> Body:
    """The part of an object that is ever read: very little of a pod, because there may be thousands."""
    if kind is not kinds.POD:
        metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
        if kind is kinds.DEPLOYMENT:
            metadata["managedFields"] = [entry for entry in _managed(body) if entry.get("manager") in _OURS]
        return {**body, "metadata": metadata}
    status = {key: value for key, value in (body.get("status") or {}).items() if key in _POD_STATUS}
    for field in ("containerStatuses", "initContainerStatuses"):
        if field in status:
            status[field] = [
                {key: value for key, value in one.items() if key in _CONTAINER_STATUS} for one in status[field]
            ]
    return {
        "metadata": {key: value for key, value in body["metadata"].items() if key in _POD_META},
        "spec": {key: value for key, value in (body.get("spec") or {}).items() if key in _POD_SPEC},
        "status": status,
    }


def _managed(body: Body) -> list[Body]:
    return body["metadata"].get("managedFields") or []


def identity(body: Body) -> tuple[Name, str]:
    """Namespace, name and uid."""
    return _name(body), str(body["metadata"].get("uid"))


def last_end(pod: Body) -> Body:
    """The last end of the worker's container: `reason`, `exitCode`, `finishedAt`; empty if it has never ended."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if one.get("name") == CONTAINER:
            for state in (one.get("state"), one.get("lastState")):
                if end := (state or {}).get("terminated"):
                    return dict(end)
    return {}


def pool_of(body: Body) -> str:
    """The name of the pool that an owned object is labelled with."""
    return str((body["metadata"].get("labels") or {}).get(kinds.POOL_LABEL, ""))


def _pool_ref(body: Body) -> str:
    return str(((body.get("spec") or {}).get("poolRef") or {}).get("name", ""))


def _matters_to_workflows(old: Body | None, new: Body | None) -> bool:
    """Whether a pool came, went, or changed its spec or conditions: its numbers alone do not matter to workflows."""
    if old is None or new is None:
        return True
    before, after = (
        (body.get("spec"), body["metadata"].get("deletionTimestamp"), (body.get("status") or {}).get("conditions"))
        for body in (old, new)
    )
    return before != after


def _name(body: Body) -> Name:
    metadata = body["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _newer(body: Body, old: Body) -> bool:
    """Whether `body` is another state than `old`, and not an earlier one."""
    version, known = body["metadata"].get("resourceVersion"), old["metadata"].get("resourceVersion")
    if body["metadata"].get("uid") != old["metadata"].get("uid"):
        return str(body["metadata"].get("creationTimestamp")) >= str(old["metadata"].get("creationTimestamp"))
    if str(version).isdecimal() and str(known).isdecimal():
        return int(version) > int(known)
    return bool(version != known)
