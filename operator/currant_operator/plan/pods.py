"""The pods of a pool: counted, with the problems of those that are not ready."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from currant_operator.plan.conditions import Problem, duration, next_step, one_line, parse_timestamp, stepped
from currant_operator.plan.manifests import CONTAINER, get
from currant_operator.plan.observations import Object, Worker

COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
DRAINING_COST, REMOVED_COST = -1000, -2000

SLOW_IMPORT = 60.0
"""Seconds after which a worker that still imports its modules is a problem. It answers its startup probe after that."""

OOM_REMEMBERED = timedelta(minutes=10)
"""How long a pod that was killed for its memory, and runs again, is shown as degraded."""

# The first of these that some pod has is shown: it explains the others, or is the most certain.
_ORDER = (
    "ImagePullFailed",
    "ImportFailed",
    "OOMKilled",
    "ContainerNotStarted",
    "ImportSlow",
    "CrashLooping",
    "Unschedulable",
)
_IMAGE_REASONS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_START_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "StartError"}
)
_IMPORT_FAILED = re.compile(
    r"module \S+ cannot be imported|^(error: )?(ModuleNotFoundError: )?no module \S+|is a file; -m takes"
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*": (ErrImagePull: )?')


@dataclass(frozen=True)
class PodProblem:
    """The problem of one pod."""

    pod: str
    reason: str
    text: str


@dataclass(frozen=True)
class Pods:
    """The pods of a pool, counted. `live` are those that neither drain nor have ended."""

    live: int
    ready: int
    draining: tuple[str, ...]
    problems: tuple[PodProblem, ...]
    recent_ooms: tuple[str, ...]
    recount_after: float | None
    """Seconds until time alone changes the count: a recent kill expires, a slow import reaches its next step."""

    @property
    def any(self) -> bool:
        return self.live > 0 or bool(self.draining)


def count(pods: Iterable[Object], now: datetime) -> Pods:
    """Count the pods, whatever order they come in."""
    there = sorted((pod for pod in pods if not ended(pod)), key=name)
    live = living(there)
    ooms = {name(pod): moment for pod in live if _ready(pod) and (moment := _recent_oom(pod, now))}
    problems = (problem for pod in live if not _ready(pod) for problem in _problems(pod, now))
    again = [max(1.0, (moment + OOM_REMEMBERED - now).total_seconds()) for moment in ooms.values()]
    again += [_next_step(seconds) for pod in live if (seconds := _importing_for(pod, now)) is not None]
    return Pods(
        live=len(live),
        ready=sum(map(_ready, live)),
        draining=tuple(name(pod) for pod in there if get(pod, "metadata", "deletionTimestamp")),
        problems=tuple(sorted(problems, key=lambda problem: (_ORDER.index(problem.reason), problem.pod))),
        recent_ooms=tuple(ooms),
        recount_after=min(again, default=None),
    )


def uid(pod: Object) -> str:
    """The UID, by which the database knows a pod."""
    return str(get(pod, "metadata", "uid"))


def deletion_cost(pod: Object) -> int | None:
    """The pod's deletion cost, or None for the default, which most pods have."""
    text = (get(pod, "metadata", "annotations") or {}).get(COST_ANNOTATION)
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None


def asked_to_drain(pods: Iterable[Object], workers: Iterable[Worker] | None) -> tuple[str, ...]:
    """The UIDs of the living pods whose workers claim nothing more."""
    draining = {worker.pod_uid for worker in workers or () if worker.draining}
    return tuple(sorted(uid(pod) for pod in living(pods) if uid(pod) in draining))


def worst(pods: Pods, namespace: str, modules: Sequence[str]) -> Problem | None:
    """The problem that explains most, with the number of pods that have it and the command that shows more."""
    if not pods.problems:
        return None
    first = pods.problems[0]
    affected = {problem.pod for problem in pods.problems if problem.reason == first.reason}
    how_many = f"{len(affected)} of {pods.live} pods"
    text = first.text
    if first.reason == "ImportSlow":
        text = f"the worker has not finished importing {_one_of(modules)} for {first.text}"
    return Problem(first.reason, f"{how_many}: {text}{_advice(first, namespace)}")


def _one_of(modules: Sequence[str]) -> str:
    return modules[0] if len(modules) == 1 else f"one of {', '.join(modules)}"


def _advice(problem: PodProblem, namespace: str) -> str:
    where = f"kubectl -n {namespace}"
    if problem.reason in ("CrashLooping", "ImportFailed"):
        return f" (kubectl logs: {where} logs {problem.pod} -c {CONTAINER} --previous)"
    if problem.reason == "ImportSlow":
        return f" (kubectl logs: {where} logs {problem.pod} -c {CONTAINER}); after 5m it is started again"
    if problem.reason == "OOMKilled":
        return "; raise template.spec.containers[worker].resources.limits.memory or lower concurrency"
    if problem.reason == "ImagePullFailed":
        return "; check image, and imagePullSecrets in template.spec"
    if problem.reason == "ContainerNotStarted":
        return f" (more: {where} describe pod {problem.pod})"
    return "; lower the requests in template.spec.containers[worker].resources, or add nodes"


def name(pod: Object) -> str:
    """The name, by which the cluster knows a pod."""
    return str(get(pod, "metadata", "name"))


def ended(pod: Object) -> bool:
    """Whether none of a pod's containers will run again."""
    return get(pod, "status", "phase") in ("Succeeded", "Failed")


def living(pods: Iterable[Object]) -> list[Object]:
    """The pods that neither end nor have ended."""
    return [pod for pod in pods if not ended(pod) and not get(pod, "metadata", "deletionTimestamp")]


def _ready(pod: Object) -> bool:
    return _condition(pod, "Ready").get("status") == "True"


def _condition(pod: Object, kind: str) -> Mapping[str, Any]:
    for condition in get(pod, "status", "conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def _containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    yield from get(pod, "status", "initContainerStatuses") or ()
    yield from get(pod, "status", "containerStatuses") or ()


def _importing_for(pod: Object, now: datetime) -> float | None:
    """Seconds for which the worker's container runs without having begun to serve: until then it imports modules."""
    for container in get(pod, "status", "containerStatuses") or ():
        began = get(container, "state", "running", "startedAt")
        if container.get("name") == CONTAINER and began and container.get("started") is False:
            return (now - parse_timestamp(began)).total_seconds()
    return None


def _next_step(importing: float) -> float:
    """Seconds until more is to be said of an import that has taken so long."""
    return max(1.0, (SLOW_IMPORT if importing < SLOW_IMPORT else next_step(importing)) - importing)


def _problems(pod: Object, now: datetime) -> Iterator[PodProblem]:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        yield PodProblem(name(pod), "Unschedulable", one_line(scheduled.get("message") or "no node takes it"))
    importing = _importing_for(pod, now)
    if importing is not None and importing >= SLOW_IMPORT:
        yield PodProblem(name(pod), "ImportSlow", duration(stepped(importing)))
    for container in _containers(pod):
        found = _of_container(container)
        if found is not None:
            reason, text = found
            prefix = "" if container.get("name") == CONTAINER else f"container {container.get('name')}: "
            yield PodProblem(name(pod), reason, prefix + text)


def _of_container(container: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why the container does not run, by what the kubelet and its last end say."""
    waiting = get(container, "state", "waiting") or {}
    reason, message = waiting.get("reason") or "", one_line(waiting.get("message") or "")
    if reason in _IMAGE_REASONS:
        return "ImagePullFailed", _BACK_OFF.sub("", message) or reason
    if reason in _START_REASONS:
        return "ContainerNotStarted", message or reason
    end = get(container, "state", "terminated") or get(container, "lastState", "terminated")
    if not end or end.get("exitCode", 0) == 0:
        return ("CrashLooping", "it ends by itself, without an error") if reason == "CrashLoopBackOff" else None
    if end.get("reason") == "OOMKilled":
        return (
            "OOMKilled",
            f"killed as it took more memory than its limit ({container.get('restartCount', 0)} restarts)",
        )
    return _of_end(end)


def _of_end(end: Mapping[str, Any]) -> tuple[str, str]:
    lines = [line.strip() for line in str(end.get("message") or "").splitlines() if line.strip()]
    last = one_line(lines[-1]) if lines else ""
    if _IMPORT_FAILED.search(last):
        return "ImportFailed", last.removeprefix("error: ")
    if end.get("reason") == "StartError":
        return "ContainerNotStarted", last or "its command cannot be started"
    code = end.get("exitCode")
    return (
        "CrashLooping",
        f"exit code {code}: {last.removeprefix('error: ')}" if last else f"exit code {code}, no last words",
    )


def _recent_oom(pod: Object, now: datetime) -> datetime | None:
    moments = []
    for container in _containers(pod):
        end = get(container, "lastState", "terminated") or {}
        if end.get("reason") == "OOMKilled" and end.get("finishedAt"):
            moments.append(parse_timestamp(end["finishedAt"]))
    latest = max(moments, default=None)
    return latest if latest is not None and now - latest < OOM_REMEMBERED else None
