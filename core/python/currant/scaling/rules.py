"""How many pods a pool should have. Pure: a snapshot and the memory of the looks before give a decision and a memory.

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
"""Seconds that a backlog is given to go in at least, however near the latency target is to a pod's start."""

KEPT_FOR_STARTS = 1.0
"""A surplus is kept for as many times the start of a pod.

Who keeps a pod until that has cost as much as another start never pays more than twice the best that could be done
knowing the future (the ski rental problem).
"""

DEVIATIONS = 4.0
"""Standard deviations of a random load that the slots are to be good for."""

STALE = 30.0
"""Seconds after which counts are not decided by any more."""

ORDER_LIFE = 30.0
"""Seconds for which an order to a pod counts though it is not seen to be followed; then it is given anew."""

BOOST = 1.25
"""By how much the pods grow when executions wait beyond the latency target and no pod is starting."""


@dataclass(frozen=True, slots=True)
class _Need:
    """Pods that the work asks for, and how that came about."""

    pods: int
    reason: str
    limited_by: str | None = None


def horizon(settings: Settings, memory: Memory) -> float:
    """Seconds ahead of its time in which work that is known to come due counts: a pod asked for now is there for it."""
    return 1.25 * memory.startup + 2 * INTERVAL


def decide(settings: Settings, seen: Snapshot, memory: Memory) -> tuple[Decision, Memory]:
    """The number of pods for now, with the reason in words. Never shrinks what it cannot see; never cuts an attempt."""
    unseen = _unseen(seen)
    if unseen is not None:
        return _blind(seen, unseen), memory
    orders = _open_orders(seen, memory)
    seen = replace(seen, pods=tuple(_as_told(pod, orders, seen.now) for pod in seen.pods or ()))
    work = tuple(_known(each, memory) for each in seen.work or ())
    memory = replace(_remember(settings, seen, work, memory), orders=orders)
    need = _limited(settings, seen, _need(settings, seen, work, memory))
    memory = replace(memory, wanted=(*memory.wanted, (seen.now, need.pods)))
    held = _held(settings, seen, need, memory)
    if held.pods < _have(seen):
        memory = replace(memory, stepped=seen.now)
    decision = _act(settings, seen, held)
    given: dict[str, tuple[Phase, float]] = {
        **dict.fromkeys(decision.drain, ("draining", seen.now)),
        **dict.fromkeys(decision.undrain, ("working", seen.now)),
    }
    return decision, replace(memory, orders={**orders, **given})


def _unseen(seen: Snapshot) -> str | None:
    """What of the snapshot cannot be decided by; None: nothing."""
    if seen.work is None:
        return "the database has not told yet what waits in the queues"
    if seen.pods is None:
        return "the database has not told yet which workers run"
    if not seen.now - (seen.now if seen.measured is None else seen.measured) <= STALE:
        return f"the database last told more than {STALE:g} s ago what waits in the queues"
    counts = [number for each in seen.work for number in (each.ready, each.due, each.running)]
    if all(math.isfinite(number) and number >= 0 for number in counts):
        return None
    return "what the database told of the queues are no numbers that can be counted with"


def _blind(seen: Snapshot, why: str) -> Decision:
    """What is there stays."""
    desired = _have(seen)
    return Decision(desired, seen.replicas, f"kept at {_pods(desired)}: {why}", "blind")


# What was ordered before, and is not seen yet


def _open_orders(seen: Snapshot, memory: Memory) -> dict[str, tuple[Phase, float]]:
    """The orders to pods that are not what they were told to be; one that nobody followed for long is given up."""
    phases = {pod.name: pod.phase for pod in seen.pods or ()}
    return {
        name: (phase, time)
        for name, (phase, time) in memory.orders.items()
        if name in phases and phases[name] != phase and seen.now - time <= ORDER_LIFE
    }


def _as_told(pod: Pod, orders: Mapping[str, tuple[Phase, float]], now: float) -> Pod:
    """The pod as it will be. One that is not seen to drain yet is not done with it, whatever it runs."""
    if pod.name not in orders:
        return pod
    return replace(pod, phase=orders[pod.name][0], idle=False, since=now)


# What was seen


def _known(work: Work, memory: Memory) -> Work:
    """The work with numbers that can be counted with: what is not one is 0, or not known."""
    service = work.service if _positive(work.service) else memory.services.get(work.function)
    age = work.age if _positive(work.age) else 0.0
    return replace(work, service=service, age=age)


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _remember(settings: Settings, seen: Snapshot, work: tuple[Work, ...], memory: Memory) -> Memory:
    now = seen.now
    startup, measured = memory.startup, [min(each, 600.0) for each in seen.startups if _positive(each)]
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
    """Attempts that ran on average in the last minute, each look counted until the next."""
    samples = memory.running
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return float(samples[-1][1]) if samples else 0.0
    # A look tells of the time since the one before it.
    area = sum(number * (time - before) for (before, _), (time, number) in itertools.pairwise(samples))
    return area / (samples[-1][0] - samples[0][0])


# What it asks for


def _need(settings: Settings, seen: Snapshot, work: tuple[Work, ...], memory: Memory) -> _Need:
    """The pods that the work asks for, whatever is there."""
    ready, due, running = (sum(getattr(each, name) for each in work) for name in ("ready", "due", "running"))
    if not ready and not due and not running:
        if not _have(seen):  # the first look of an operator that has just begun is no reason for a pod
            return _Need(0, "there is no work")
        if _idle_for(seen, memory) >= settings.zero_after:
            return _Need(0, f"there has been no work for {settings.zero_after:g} s")
    steady, backlog = steady_slots(settings, work, memory), backlog_slots(settings, work, memory)
    # However fast it is wanted, no more can run at once than there is.
    slots = min(steady + backlog, ready + due + max(steady, running))
    pods = max(1, _ceil(slots / settings.concurrency))
    have = _have(seen)
    boosted = _boosted(settings, seen, have)
    if boosted is not None and boosted > pods:
        pods = min(boosted, max(pods, _ceil((ready + due + max(steady, running)) / settings.concurrency)))
    if pods > have and _comes_too_late(settings, seen, work, memory):
        why = f"{_pods(have)} will have done what waits before another one could start"
        return _Need(max(1, have), why, "startup")
    return _Need(pods, _words(settings, (ready, due, running), (backlog, steady), load(memory)))


def _idle_for(seen: Snapshot, memory: Memory) -> float:
    return seen.now - (seen.now if memory.busy is None else memory.busy)


def steady_slots(settings: Settings, work: tuple[Work, ...], memory: Memory) -> float:
    """Slots for a load that goes on as in the last minute: with room for its chance ups, as far as a pod is too slow.

    Of attempts that run for long only few new ones come before another pod would be there: they need little room.
    """
    average = load(memory)
    running = sum(each.running for each in work)
    room = max(average * (1 / settings.target_utilization - 1), DEVIATIONS * math.sqrt(average))
    return max(average + room * _part_renewed(work, memory), float(running))


def _part_renewed(work: tuple[Work, ...], memory: Memory) -> float:
    """The part of the attempts that run which ends, and others begin, before a pod could start."""
    # Of a function whose attempts have not ended yet, they take longer than those that run have.
    known = [(each.running, max(each.service or each.age, 1e-3)) for each in work if each.running]
    if not known:
        return 1.0
    seconds = sum(number * service for number, service in known) / sum(number for number, _ in known)
    return min(1.0, (memory.startup + INTERVAL) / seconds)


def backlog_slots(settings: Settings, work: tuple[Work, ...], memory: Memory) -> float:
    """Slots that let what waits start within the latency target: a slot that is free again takes the next."""
    soon = max(LEAST_DRAIN, settings.latency_target - memory.startup)
    then = max(LEAST_DRAIN, settings.latency_target)  # what comes due finds its pods there
    return sum(each.ready * _part(each, soon) + each.due * _part(each, then) for each in work)


def _part(work: Work, time: float) -> float:
    """The slots that one execution asks for if it may wait so long."""
    return 1.0 if work.service is None else min(1.0, work.service / time)


def _boosted(settings: Settings, seen: Snapshot, have: int) -> int | None:
    """More than there is, when executions wait too long and no pod is starting: the service times were wrong."""
    late = math.isfinite(seen.oldest_ready) and seen.oldest_ready > settings.latency_target
    starting = any(pod.phase == "starting" for pod in seen.pods or ())
    return _ceil(have * BOOST) if late and not starting and have else None


def _comes_too_late(settings: Settings, seen: Snapshot, work: tuple[Work, ...], memory: Memory) -> bool:
    """Whether the pods that are there will have done what waits before one more could begin."""
    waiting = [(each.ready + each.due, each.service) for each in work if each.ready or each.due]
    if any(service is None for _, service in waiting):
        return False
    seconds = sum(number * (service or 0) for number, service in waiting)
    there = sum(pod.phase == "working" for pod in seen.pods or ())
    free = there * settings.concurrency - load(memory)
    return free > 0 and seconds <= free * memory.startup


def _words(settings: Settings, counts: tuple[int, int, int], slots: tuple[float, float], average: float) -> str:
    """Why so many slots: `counts` are ready, due and running, `slots` those for the backlog and for the load."""
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


# What it may have


def _limited(settings: Settings, seen: Snapshot, need: _Need) -> _Need:
    have, wanted = _have(seen), need.pods
    if seen.connections_left is not None and wanted > have + max(0, seen.connections_left):
        most = have + max(0, seen.connections_left)
        why = f"the database has connections for no more than {_pods(most)}, and {wanted} would be needed"
        need = _Need(most, f"{why}: {need.reason}", "connections")
    if need.pods < settings.min_pods:
        why = f"minReplicas is {settings.min_pods}, and {need.pods} would be enough"
        return _Need(settings.min_pods, f"{why}: {need.reason}", "minReplicas")
    if need.pods > settings.max_pods:
        why = f"maxReplicas is {settings.max_pods}, and {wanted} would be needed"
        return _Need(settings.max_pods, f"{why}: {need.reason}", "maxReplicas")
    return need


def _have(seen: Snapshot) -> int:
    """Pods that claim, or will: also those that are asked for and not there yet.

    Where fewer are asked for than there are, those go first that drain: they may still be seen.
    """
    pods = seen.pods or ()
    draining = sum(pod.phase == "draining" for pod in pods)
    return max(0, min(seen.replicas, max(len(pods) - draining, seen.replicas - draining)))


def keep_time(settings: Settings, memory: Memory) -> float:
    """Seconds for which a surplus is kept."""
    return min(settings.window, max(2 * INTERVAL, KEPT_FOR_STARTS * memory.startup))


def _held(settings: Settings, seen: Snapshot, need: _Need, memory: Memory) -> _Need:
    """What is needed, but on the way down what was needed lately."""
    have, kept = _have(seen), keep_time(settings, memory)
    if need.pods >= have:
        return need
    lately = max(number for time, number in memory.wanted if time >= seen.now - kept)
    if seen.now - (memory.began or 0.0) < kept:  # what was needed before is not known
        lately = have
    if need.pods == 0 and lately <= 1:  # the last pod has a time of its own, which is over
        return need
    # More than may be is no reason to stay, and nothing of the past is one to grow.
    lately = min(max(lately, need.pods), settings.max_pods, have)
    most = max(1, _ceil(have * settings.max_step_percent / 100))
    step = most if seen.now - memory.stepped >= INTERVAL else 0
    if have - lately > step:
        how = f"going down to {_pods(lately)}, by {most} at a time (scaleDown.maxStepPercent)"
        return _Need(have - step, f"{how}: {need.reason}", "scaleDown.maxStepPercent")
    if lately > need.pods:
        how = f"{_pods(lately)} kept for a while (scaleDown.window), though {need.pods} would be enough"
        return _Need(lately, f"{how}: {need.reason}", "scaleDown.window")
    return need


# What is to be done


def _act(settings: Settings, seen: Snapshot, need: _Need) -> Decision:
    pods = seen.pods or ()
    draining = [pod for pod in pods if pod.phase == "draining"]
    have, target = _have(seen), need.pods
    if target >= have:
        back = sorted(draining, key=lambda pod: (-pod.running, pod.since, pod.name))[: target - have]
        leaving = _leaving(settings, seen, [pod for pod in draining if pod not in back])
        replicas = target + len(draining) - len(back) - len(leaving)
        return Decision(target, replicas, need.reason, need.limited_by, undrain=_names(back), remove=_names(leaving))
    surplus = have - target
    # What has not begun goes first, and what is asked for and not there at all before that.
    missing = max(0, have - sum(pod.phase != "draining" for pod in pods))
    young = sorted((pod for pod in pods if pod.phase == "starting"), key=_newest)[: max(0, surplus - missing)]
    workers = sorted((pod for pod in pods if pod.phase == "working"), key=lambda pod: (pod.running, *_newest(pod)))
    drain = workers[: max(0, surplus - missing - len(young))]
    leaving = [*young, *_leaving(settings, seen, draining)]
    replicas = target + len(drain) + len(draining) - (len(leaving) - len(young))
    return Decision(target, replicas, need.reason, need.limited_by, drain=_names(drain), remove=_names(leaving))


def _leaving(settings: Settings, seen: Snapshot, draining: list[Pod]) -> list[Pod]:
    """The pods that have drained, or have had the time for it."""
    return [pod for pod in draining if pod.idle or seen.now - pod.since >= settings.drain_timeout]


def _newest(pod: Pod) -> tuple[float, str]:
    return (-pod.since, pod.name)


def _names(pods: Iterable[Pod]) -> tuple[str, ...]:
    return tuple(pod.name for pod in pods)


def _pods(number: int) -> str:
    return _number(number, "pod")


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _ceil(value: float) -> int:
    """Rounded up, but not for a rounding error."""
    return math.ceil(value - 1e-9)
