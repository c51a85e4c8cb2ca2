"""A discrete-event simulation of pods that serve a queue, under any scaler.

A pod takes a while to start, then claims what is ready, oldest first, as long as it has slots. A pod that must
drain finishes what it has. So does a pod that is deleted, for its grace period; then its attempts are cut: they
wait again, at the front of the queue.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from currant.scaling.loads import Job, Load
from currant.scaling.model import Phase

REMEMBERED = 200
"""Attempts that a mean service time is made of."""

LONGEST = 2.0
"""A load that is not done after this number of times its length never will be: attempts are cut again and again."""

ACKNOWLEDGED = 1.0
"""Seconds after which the scaler decides again once a pod has begun to drain."""


@dataclass(eq=False)
class SimulatedPod:
    """A pod that is not being deleted, or still ends."""

    name: str
    made: float
    phase: Phase = "starting"
    since: float = 0.0
    started: float | None = None
    jobs: dict[int, float] = field(default_factory=dict)  # number of the job -> when its attempt began
    gone: bool = False  # deleted: it takes nothing more


@dataclass(frozen=True)
class Actions:
    """Changes that a scaler wants: pods to add, drain, undrain, delete. `grace`: seconds until a deleted pod ends."""

    add: int = 0
    drain: tuple[str, ...] = ()
    undrain: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    grace: float = 30.0


class View:
    """The state that a scaler may know: nothing of the future."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.now = simulation.now
        self.seen = not simulation.blind
        self.metrics = self.seen and not simulation.lost(simulation.load.no_metrics)

    @property
    def pods(self) -> list[SimulatedPod]:
        """The pods that are not deleted, oldest first."""
        return [pod for pod in self._simulation.pods.values() if not pod.gone]

    @property
    def ready(self) -> dict[str, int]:
        """By function, what waits."""
        return self._simulation.ready_by_function

    @property
    def running(self) -> dict[str, int]:
        """By function, attempts that run, including those in pods that are ending."""
        counts: dict[str, int] = {}
        for pod in self._simulation.pods.values():
            for number in pod.jobs:
                function = self._simulation.jobs[number].function
                counts[function] = counts.get(function, 0) + 1
        return counts

    @property
    def oldest_ready(self) -> float:
        """Seconds that the first in the queue has waited."""
        queue = self._simulation.queue
        return self.now - self._simulation.jobs[queue[0]].at if queue else 0.0

    def service(self, function: str) -> float | None:
        """Seconds of an attempt, from those that ended lately and those that run, or None if no attempt has ended."""
        ended = self._simulation.ended.get(function)
        return (sum(ended) + self.seconds_running(function)) / len(ended) if ended else None

    def seconds_running(self, function: str) -> float:
        """Seconds that the attempts of a function which run have run for, taken together."""
        jobs = self._simulation.jobs
        return sum(
            self.now - began
            for pod in self._simulation.pods.values()
            for number, began in pod.jobs.items()
            if jobs[number].function == function
        )

    def take_startups(self) -> tuple[float, ...]:
        """For each pod that started since the last call, the seconds that it took to start."""
        taken, self._simulation.startups = tuple(self._simulation.startups), []
        return taken


class Scaler(Protocol):
    """Decides on the pods of a simulation."""

    interval: float
    wakes: bool
    """Whether work that comes while there are no pods wakes it."""

    def actions(self, view: View) -> Actions:
        """Called every `interval` seconds."""


@dataclass(frozen=True)
class Sample:
    """The state at one moment, for a curve."""

    time: float
    ready: int
    running: int
    pods: int
    draining: int


@dataclass(frozen=True)
class Result:
    """The result of a simulation. `waits`: seconds from ready to the first start, in the order of the jobs."""

    waits: tuple[float, ...]
    pod_hours: float
    cut: int
    turns: int
    unfinished: int
    most_pods: int
    samples: tuple[Sample, ...]

    def wait(self, part: float) -> float:
        """The wait that so large a part of the executions does not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


class Simulation:
    """One run of a load under a scaler."""

    def __init__(self, load: Load, scaler: Scaler, seed: int) -> None:
        self.load, self.scaler, self.jobs = load, scaler, load.jobs
        self.chance = random.Random(f"{load.name}/{seed}/pods")  # noqa: S311
        self.now = 0.0
        self.pods: dict[str, SimulatedPod] = {}
        self.queue: deque[int] = deque()
        self.ready_by_function: dict[str, int] = {}
        self.ended: dict[str, deque[float]] = {}
        self.startups: list[float] = []
        self._events: list[tuple[float, int, str, object]] = []
        self._count = 0
        self._waits: dict[int, float] = {}
        self._left = len(self.jobs)
        self._pod_seconds, self._cut, self._turns, self._most = 0.0, 0, 0, 0
        self._direction = 0
        self._samples: list[Sample] = []

    @property
    def blind(self) -> bool:
        """Whether nobody can see the queue now."""
        return self.lost(self.load.unseen)

    def lost(self, period: tuple[float, float] | None) -> bool:
        """Whether the present time is in that period."""
        return period is not None and period[0] <= self.now < period[1]

    def run(self) -> Result:
        """Run until the load has come and is done, and its time is over."""
        for number, job in enumerate(self.jobs):
            self._at(job.at, "arrive", number)
        self._at(0.0, "tick", None)
        while self._events:
            self.now, _, what, about = heapq.heappop(self._events)
            if self.now > self.load.length and (not self._left or self.now > LONGEST * self.load.length):
                break
            getattr(self, f"_{what}")(about)
        for pod in self.pods.values():
            self._pod_seconds += max(0.0, self.now - pod.made)
        waits = tuple(self._waits[number] for number in sorted(self._waits))
        hours = self._pod_seconds / 3600
        return Result(waits, hours, self._cut, self._turns, self._left, self._most, tuple(self._samples))

    def _at(self, time: float, what: str, about: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, what, about))

    # Executions

    def _arrive(self, number: int) -> None:
        self._enqueue(number, first=False)
        if self.scaler.wakes and not self.blind and not any(not pod.gone for pod in self.pods.values()):
            self._decide()
        self._claim()

    def _enqueue(self, number: int, first: bool) -> None:
        self.queue.appendleft(number) if first else self.queue.append(number)
        function = self.jobs[number].function
        self.ready_by_function[function] = self.ready_by_function.get(function, 0) + 1

    def _claim(self) -> None:
        """Let free slots take what waits; the pod that takes the next is random."""
        if not self.queue:
            return
        slots = self.load.settings.concurrency
        able = [pod for pod in self.pods.values() if pod.phase == "working" and not pod.gone and len(pod.jobs) < slots]
        while self.queue and able:
            pod = self.chance.choice(able)
            self._start(pod, self.queue.popleft())
            if len(pod.jobs) >= slots:
                able.remove(pod)

    def _start(self, pod: SimulatedPod, number: int) -> None:
        job = self.jobs[number]
        self.ready_by_function[job.function] -= 1
        self._waits.setdefault(number, self.now - job.at)
        pod.jobs[number] = self.now
        self._at(self.now + job.service, "finish", (pod, number, self.now))

    def _finish(self, about: tuple[SimulatedPod, int, float]) -> None:
        pod, number, began = about
        if pod.jobs.get(number) != began:  # the attempt was cut
            return
        del pod.jobs[number]
        self._left -= 1
        job = self.jobs[number]
        self.ended.setdefault(job.function, deque(maxlen=REMEMBERED)).append(job.service)
        if pod.gone and not pod.jobs:
            self._end(pod)
        self._claim()

    # Pods

    def _begin(self, pod: SimulatedPod) -> None:
        if pod.gone:
            return
        pod.phase, pod.started = "working", self.now
        self.startups.append(self.now - pod.made)
        self._claim()

    def _delete(self, pod: SimulatedPod, grace: float) -> None:
        pod.gone = True
        if pod.jobs:
            self._at(self.now + grace, "cut_off", pod)
        else:
            self._end(pod)

    def _cut_off(self, pod: SimulatedPod) -> None:
        if pod.name not in self.pods:
            return
        for number in sorted(pod.jobs, reverse=True):
            self._cut += 1
            self._enqueue(number, first=True)
        pod.jobs.clear()
        self._end(pod)
        self._claim()

    def _end(self, pod: SimulatedPod) -> None:
        self._pod_seconds += self.now - pod.made
        del self.pods[pod.name]

    # The scaler

    def _tick(self, _: object) -> None:
        self._decide()
        self._at(self.now + self.scaler.interval, "tick", None)

    def _acknowledge(self, _: object) -> None:
        self._decide()

    def _decide(self) -> None:
        self._carry_out(self.scaler.actions(View(self)))
        alive = [pod for pod in self.pods.values() if not pod.gone]
        draining = sum(pod.phase == "draining" for pod in alive)
        running = sum(len(pod.jobs) for pod in self.pods.values())
        self._most = max(self._most, len(alive))
        self._samples.append(Sample(self.now, len(self.queue), running, len(self.pods), draining))

    def _carry_out(self, actions: Actions) -> None:
        self._count_turns(actions)
        for name in actions.drain:
            pod = self.pods[name]
            pod.phase, pod.since = "draining", self.now
        if actions.drain:
            self._at(self.now + ACKNOWLEDGED, "acknowledge", None)
        for name in actions.undrain:
            pod = self.pods[name]
            pod.phase, pod.since = "working", pod.made
        for name in actions.delete:
            self._delete(self.pods[name], actions.grace)
        for _ in range(actions.add):
            self._count += 1
            pod = SimulatedPod(f"pod-{self._count:05}", self.now, since=self.now)
            self.pods[pod.name] = pod
            self._at(self.now + self.load.startup * self.chance.uniform(0.8, 1.2), "begin", pod)
        self._claim()

    def _count_turns(self, actions: Actions) -> None:
        """Count how often the number of pods changes its direction."""
        fewer = len(actions.drain) + sum(self.pods[name].phase != "draining" for name in actions.delete)
        direction = (actions.add + len(actions.undrain) > fewer) - (actions.add + len(actions.undrain) < fewer)
        if direction:
            self._turns += direction == -self._direction
            self._direction = direction


def simulate(load: Load, scaler: Scaler, seed: int) -> Result:
    """Run a load under a scaler; the same seed gives the same result."""
    return Simulation(load, scaler, seed).run()


__all__ = ["Actions", "Job", "Result", "Sample", "Scaler", "SimulatedPod", "View", "simulate"]
