"""How many pods a pool should have. It is pure: from a snapshot and a memory to a decision and a memory.

Little's law gives the load (attempts that run, on average), the latency target gives how fast a backlog must go, and
the time that a pod takes to start gives what it is worth to keep one: docs/operate/autoscaling.md derives the rules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from currant.scaling.model import INTERVAL, Decision, Memory, Phase, Pod, Settings, Snapshot, Work

LOAD_PERIOD = 60.0
"""Seconds over which the attempts that run are averaged."""

LEAST_DRAIN = 5.0
"""The least time, in seconds, in which a backlog is to be worked off, however short the latency target is."""

KEPT_FOR_STARTS = 1.0
"""A surplus of pods is kept for this many times the start of a pod.

Keeping a pod until that has cost as much as a start never costs more than twice the best decision made with knowledge
of the future (the ski rental problem).
"""

DEVIATIONS = 4.0
"""Standard deviations of a random load for which the slots must be enough."""

STALE = 30.0
"""Seconds after which counts are too old to decide by."""

REQUEST_LIFE = 30.0
"""Seconds for which a request to a pod counts although no snapshot shows it followed; then it is made again."""

BOOST = 1.25
"""Factor by which the pods grow when executions wait longer than the latency target and no pod is starting."""


@dataclass(frozen=True, slots=True)
class _Need:
    """The number of pods that the work needs, and why."""

    pods: int
    reason: str
    limited_by: str | None = None


def horizon(settings: Settings, memory: Memory) -> float:
    """How many seconds before it is due known work counts: a pod that is requested now has started by then."""
    return 1.25 * memory.startup + 2 * INTERVAL


def decide(settings: Settings, snapshot: Snapshot, memory: Memory) -> tuple[Decision, Memory]:
    """Decide the number of pods, with the reason in words.

    A pool whose snapshot is incomplete keeps its pods; no attempt is cut.
    """
    unknown = _unknown(snapshot)
    if unknown is not None:
        return _blind(snapshot, unknown), memory
    requests = _open_requests(snapshot, memory)
    snapshot = replace(snapshot, pods=tuple(_as_requested(pod, requests, snapshot.now) for pod in snapshot.pods or ()))
    work = tuple(_known(each, memory) for each in snapshot.work or ())
    memory = replace(_remember(settings, snapshot, work, memory), requests=requests)
    need = _limited(settings, snapshot, _need(settings, snapshot, work, memory))
    memory = replace(memory, wanted=(*memory.wanted, (snapshot.now, need.pods)))
    kept = _kept(settings, snapshot, need, memory)
    if kept.pods < _have(snapshot):
        memory = replace(memory, stepped=snapshot.now)
    decision = _act(settings, snapshot, kept)
    given: dict[str, tuple[Phase, float]] = {
        **dict.fromkeys(decision.drain, ("draining", snapshot.now)),
        **dict.fromkeys(decision.undrain, ("working", snapshot.now)),
    }
    return decision, replace(memory, requests={**requests, **given})


def _unknown(snapshot: Snapshot) -> str | None:
    """Why the snapshot is no basis for a decision, or None if it is one."""
    if snapshot.work is None:
        return "the work in the queues is not known yet"
    if snapshot.pods is None:
        return "the workers are not known yet"
    if not snapshot.now - (snapshot.now if snapshot.measured is None else snapshot.measured) <= STALE:
        return f"the work in the queues was last counted more than {STALE:g} s ago"
    counts = [number for each in snapshot.work for number in (each.ready, each.due, each.running)]
    if all(math.isfinite(number) and number >= 0 for number in counts):
        return None
    return "the counts of the work in the queues are not valid numbers"


def _blind(snapshot: Snapshot, why: str) -> Decision:
    """The decision that changes nothing."""
    desired = _have(snapshot)
    return Decision(desired, snapshot.replicas, f"kept at {_pods(desired)}: {why}", "blind")


# Requests of earlier decisions that the snapshot does not show yet


def _open_requests(snapshot: Snapshot, memory: Memory) -> dict[str, tuple[Phase, float]]:
    """Requests that their pods have not followed yet. One that is older than `REQUEST_LIFE` no longer counts."""
    phases = {pod.name: pod.phase for pod in snapshot.pods or ()}
    return {
        name: (phase, time)
        for name, (phase, time) in memory.requests.items()
        if name in phases and phases[name] != phase and snapshot.now - time <= REQUEST_LIFE
    }


def _as_requested(pod: Pod, requests: Mapping[str, tuple[Phase, float]], now: float) -> Pod:
    """The pod in the phase that was requested. It counts as busy: a drain that has just been requested is not done."""
    if pod.name not in requests:
        return pod
    return replace(pod, phase=requests[pod.name][0], idle=False, since=now)


# The snapshot and the memory


def _known(work: Work, memory: Memory) -> Work:
    """The work with valid numbers. An invalid service time is taken from the memory, an invalid age is 0."""
    service = work.service if _positive(work.service) else memory.services.get(work.function)
    age = work.age if _positive(work.age) else 0.0
    return replace(work, service=service, age=age)


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _remember(settings: Settings, snapshot: Snapshot, work: tuple[Work, ...], memory: Memory) -> Memory:
    now = snapshot.now
    startup, measured = memory.startup, [min(each, 600.0) for each in snapshot.startups if _positive(each)]
    if measured:
        startup += (sum(measured) / len(measured) - startup) / 3
    began = now if memory.began is None else memory.began
    busy = any(each.ready or each.due or each.running for each in work)
    services = {each.function: each.service for each in work if each.service is not None}
    return Memory(
        began=began,
        running=_recent((*memory.running, (now, sum(each.running for each in work))), now - LOAD_PERIOD),
        wanted=_recent(memory.wanted, now - settings.window),
        startup=startup,
        busy=now if busy or memory.busy is None else memory.busy,
        stepped=memory.stepped,
        services={**memory.services, **services},
    )


def _recent(samples: Iterable[tuple[float, int]], since: float) -> tuple[tuple[float, int], ...]:
    return tuple(sample for sample in samples if sample[0] >= since)


def load(memory: Memory) -> float:
    """Attempts that ran on average in the last minute."""
    samples = memory.running
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return float(samples[-1][1]) if samples else 0.0
    # Each sample stands for the time since the sample before it.
    area = sum(number * (time - before) for (before, _), (time, number) in itertools.pairwise(samples))
    return area / (samples[-1][0] - samples[0][0])


# The pods that the work needs


def _need(settings: Settings, snapshot: Snapshot, work: tuple[Work, ...], memory: Memory) -> _Need:
    """The pods that the work needs, whatever number there is now."""
    ready, due, running = (sum(getattr(each, name) for each in work) for name in ("ready", "due", "running"))
    if not ready and not due and not running:
        if not _have(snapshot):  # the first decision of an operator that has just started is no reason for a pod
            return _Need(0, "there is no work")
        if _idle_for(snapshot, memory) >= settings.zero_after:
            return _Need(0, f"there has been no work for {settings.zero_after:g} s")
    steady, backlog = steady_slots(settings, work, memory), backlog_slots(settings, work, memory)
    # More executions than there are cannot run at once, however short the latency target is.
    slots = min(steady + backlog, ready + due + max(steady, running))
    pods = max(1, _ceil(slots / settings.concurrency))
    have = _have(snapshot)
    boosted = _boosted(settings, snapshot, have)
    if boosted is not None and boosted > pods:
        pods = min(boosted, max(pods, _ceil((ready + due + max(steady, running)) / settings.concurrency)))
    if pods > have and _comes_too_late(settings, snapshot, work, memory):
        why = f"{_pods(have)} will have done what waits before another one could start"
        return _Need(max(1, have), why, "startup")
    return _Need(pods, _words(settings, (ready, due, running), (backlog, steady), load(memory)))


def _idle_for(snapshot: Snapshot, memory: Memory) -> float:
    return snapshot.now - (snapshot.now if memory.busy is None else memory.busy)


def steady_slots(settings: Settings, work: tuple[Work, ...], memory: Memory) -> float:
    """Slots for a load that goes on as in the last minute, with headroom for its random peaks.

    Headroom serves the attempts that begin before a new pod could start. Long attempts are renewed slowly: they need
    little of it.
    """
    average = load(memory)
    running = sum(each.running for each in work)
    headroom = max(average * (1 / settings.target_utilization - 1), DEVIATIONS * math.sqrt(average))
    return max(average + headroom * _part_renewed(work, memory), float(running))


def _part_renewed(work: tuple[Work, ...], memory: Memory) -> float:
    """The part (0 to 1) of the running attempts that new ones replace before a pod could start."""
    # The attempts of a function of which none has ended take at least as long as the running ones have.
    known = [(each.running, max(each.service or each.age, 1e-3)) for each in work if each.running]
    if not known:
        return 1.0
    seconds = sum(number * service for number, service in known) / sum(number for number, _ in known)
    return min(1.0, (memory.startup + INTERVAL) / seconds)


def backlog_slots(settings: Settings, work: tuple[Work, ...], memory: Memory) -> float:
    """Slots that let what waits start within the latency target: a slot that is free again takes the next."""
    soon = max(LEAST_DRAIN, settings.latency_target - memory.startup)
    then = max(LEAST_DRAIN, settings.latency_target)  # the pods for work that comes due are there in time
    return sum(each.ready * _part(each, soon) + each.due * _part(each, then) for each in work)


def _part(work: Work, time: float) -> float:
    """The slots that one execution needs when it may wait for `time` seconds."""
    return 1.0 if work.service is None else min(1.0, work.service / time)


def _boosted(settings: Settings, snapshot: Snapshot, have: int) -> int | None:
    """A larger number of pods, when executions wait too long and no pod is starting: the service times were wrong."""
    late = math.isfinite(snapshot.oldest_ready) and snapshot.oldest_ready > settings.latency_target
    starting = any(pod.phase == "starting" for pod in snapshot.pods or ())
    return _ceil(have * BOOST) if late and not starting and have else None


def _comes_too_late(settings: Settings, snapshot: Snapshot, work: tuple[Work, ...], memory: Memory) -> bool:
    """Whether the present pods will have done the waiting work before one more pod could start."""
    waiting = [(each.ready + each.due, each.service) for each in work if each.ready or each.due]
    if any(service is None for _, service in waiting):
        return False
    seconds = sum(number * (service or 0) for number, service in waiting)
    there = sum(pod.phase == "working" for pod in snapshot.pods or ())
    free = there * settings.concurrency - load(memory)
    return free > 0 and seconds <= free * memory.startup


def _words(settings: Settings, counts: tuple[int, int, int], slots: tuple[float, float], average: float) -> str:
    """The reason in words. `counts`: executions ready, due and running; `slots`: for the backlog and for the load."""
    (ready, due, running), (backlog, steady) = counts, slots
    parts = []
    if ready or due:
        what = [f"{_number(ready, 'execution')} ready to start"] if ready else []
        what += [f"{_number(due, 'execution')} due soon"] if due else []
        within = f"within {settings.latency_target:g} s"
        parts.append(f"{' and '.join(what)} ({_number(_ceil(backlog), 'slot')} to start them {within})")
    if running or steady >= 0.5:
        ran = "" if round(average) == running else f", {average:.0f} on average in the last minute"
        takes = f"{_number(_ceil(steady), 'slot')} with room for more"
        parts.append(f"{_number(running, 'attempt')} running{ran} ({takes})")
    if not parts:
        return f"the last pod is kept until there has been no work for {settings.zero_after:g} s"
    return f"{', and '.join(parts)}; a pod has {_number(settings.concurrency, 'slot')}"


# Limits


def _limited(settings: Settings, snapshot: Snapshot, need: _Need) -> _Need:
    have, wanted = _have(snapshot), need.pods
    if snapshot.connections_left is not None and wanted > have + max(0, snapshot.connections_left):
        most = have + max(0, snapshot.connections_left)
        why = f"the database has connections for no more than {_pods(most)}, and {wanted} would be needed"
        need = _Need(most, f"{why}: {need.reason}", "connections")
    if need.pods < settings.min_pods:
        why = f"minReplicas is {settings.min_pods}, and {need.pods} would be enough"
        return _Need(settings.min_pods, f"{why}: {need.reason}", "minReplicas")
    if need.pods > settings.max_pods:
        why = f"maxReplicas is {settings.max_pods}, and {wanted} would be needed"
        return _Need(settings.max_pods, f"{why}: {need.reason}", "maxReplicas")
    return need


def _have(snapshot: Snapshot) -> int:
    """Pods that claim or will claim, with those that are requested and do not exist yet.

    When fewer replicas are requested than there are pods, draining pods are the ones that leave.
    """
    pods = snapshot.pods or ()
    draining = sum(pod.phase == "draining" for pod in pods)
    return max(0, min(snapshot.replicas, max(len(pods) - draining, snapshot.replicas - draining)))


def keep_time(settings: Settings, memory: Memory) -> float:
    """Seconds for which a surplus is kept."""
    return min(settings.window, max(2 * INTERVAL, KEPT_FOR_STARTS * memory.startup))


def _kept(settings: Settings, snapshot: Snapshot, need: _Need, memory: Memory) -> _Need:
    """The pods needed now; when that is fewer, those needed within the last `keep_time` seconds."""
    have, seconds = _have(snapshot), keep_time(settings, memory)
    if need.pods >= have:
        return need
    lately = max(number for time, number in memory.wanted if time >= snapshot.now - seconds)
    if snapshot.now - (memory.began or 0.0) < seconds:  # the need of before is not known
        lately = have
    if need.pods == 0 and lately <= 1:  # `zero_after` alone decides on the last pod, and is over
        return need
    # Never above the limit, and never above the present number: the past is no reason to grow.
    lately = min(max(lately, need.pods), settings.max_pods, have)
    most = max(1, _ceil(have * settings.max_step_percent / 100))
    step = most if snapshot.now - memory.stepped >= INTERVAL else 0
    if have - lately > step:
        how = f"going down to {_pods(lately)}, by {most} at a time (scaleDown.maxStepPercent)"
        return _Need(have - step, f"{how}: {need.reason}", "scaleDown.maxStepPercent")
    if lately > need.pods:
        how = f"{_pods(lately)} kept for a while (scaleDown.window), though {need.pods} would be enough"
        return _Need(lately, f"{how}: {need.reason}", "scaleDown.window")
    return need


# The decision


def _act(settings: Settings, snapshot: Snapshot, need: _Need) -> Decision:
    pods = snapshot.pods or ()
    draining = [pod for pod in pods if pod.phase == "draining"]
    have, target = _have(snapshot), need.pods
    if target >= have:
        back = sorted(draining, key=lambda pod: (-pod.running, pod.since, pod.name))[: target - have]
        leaving = _leaving(settings, snapshot, [pod for pod in draining if pod not in back])
        replicas = target + len(draining) - len(back) - len(leaving)
        return Decision(target, replicas, need.reason, need.limited_by, undrain=_names(back), remove=_names(leaving))
    surplus = have - target
    # Pods that do not exist yet go first, then those that have not started.
    missing = max(0, have - sum(pod.phase != "draining" for pod in pods))
    young = sorted((pod for pod in pods if pod.phase == "starting"), key=_newest)[: max(0, surplus - missing)]
    workers = sorted((pod for pod in pods if pod.phase == "working"), key=lambda pod: (pod.running, *_newest(pod)))
    drain = workers[: max(0, surplus - missing - len(young))]
    leaving = [*young, *_leaving(settings, snapshot, draining)]
    replicas = target + len(drain) + len(draining) - (len(leaving) - len(young))
    return Decision(target, replicas, need.reason, need.limited_by, drain=_names(drain), remove=_names(leaving))


def _leaving(settings: Settings, snapshot: Snapshot, draining: list[Pod]) -> list[Pod]:
    """The pods that have drained, or whose drain time-out is over."""
    return [pod for pod in draining if pod.idle or snapshot.now - pod.since >= settings.drain_timeout]


def _newest(pod: Pod) -> tuple[float, str]:
    return (-pod.since, pod.name)


def _names(pods: Iterable[Pod]) -> tuple[str, ...]:
    return tuple(pod.name for pod in pods)


def _pods(number: int) -> str:
    return _number(number, "pod")


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _ceil(value: float) -> int:
    """The value rounded up; a rounding error of floats does not count."""
    return math.ceil(value - 1e-9)
