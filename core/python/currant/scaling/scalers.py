"""Scalers for a simulation: the operator's own function, and KEDA with an HPA as they are documented."""

from __future__ import annotations

import math
import random

from currant.scaling.model import INTERVAL, Memory, Pod, Settings, Snapshot, Work
from currant.scaling.rules import decide
from currant.scaling.simulation import Actions, View


class Native:
    """`decide`, as the operator calls it."""

    interval = INTERVAL
    wakes = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memory = Memory()

    def actions(self, view: View) -> Actions:
        """See `Scaler`."""
        there = view.pods
        decision, self._memory = decide(self._settings, self._snapshot(view), self._memory)
        add = decision.replicas - (len(there) - len(decision.remove))
        grace = self._settings.drain_timeout
        return Actions(max(0, add), decision.drain, decision.undrain, decision.remove, grace)

    def _snapshot(self, view: View) -> Snapshot:
        pods = tuple(Pod(pod.name, pod.phase, len(pod.jobs), not pod.jobs, pod.since) for pod in view.pods)
        if not view.seen:
            return Snapshot(view.now, None, pods, len(pods))
        ready, running = view.ready, view.running
        work = tuple(
            Work(
                name,
                ready.get(name, 0),
                0,
                number := running.get(name, 0),
                view.service(name),
                view.seconds_running(name) / max(1, number),
            )
            for name in sorted(ready.keys() | running.keys())
        )
        return Snapshot(view.now, work, pods, len(pods), view.oldest_ready, view.take_startups())


class Keda:
    """KEDA's scaler of a query, and the HPA that it makes.

    KEDA asks every 30 s, and takes a workload without work to zero after 300 s; from one pod on the HPA decides every
    15 s with a tolerance of 0.1: up by 100 % or 4 pods, whichever is more, down to the largest number that it wanted in
    the last 300 s. Pods that are not ready go first, else random ones; each has 30 s to end.
    """

    interval = 15.0
    wakes = False
    POLL, COOL_DOWN, WINDOW, TOLERANCE, GRACE = 30.0, 300.0, 300.0, 0.1, 30.0

    def __init__(self, settings: Settings, with_running: bool, seed: int) -> None:
        """`with_running`: the query counts what runs too, not just what is ready."""
        self._settings, self._with_running = settings, with_running
        self._chance = random.Random(seed)  # noqa: S311
        self._recommended: list[tuple[float, int]] = []
        self._active = -math.inf
        self._looks = 0

    def actions(self, view: View) -> Actions:
        """See `Scaler`."""
        self._looks += 1
        if not view.metrics:  # the HPA does nothing without its metric
            return Actions()
        metric = sum(view.ready.values()) + (sum(view.running.values()) if self._with_running else 0)
        there = len(view.pods)
        if metric > 0:
            self._active = view.now
        polls = self._looks % round(self.POLL / self.interval) == 1
        if there == 0:
            wanted = 1 if polls and metric > 0 else 0
            self._recommended = []
        elif metric == 0 and polls and view.now - self._active >= self.COOL_DOWN:
            wanted = self._settings.min_pods
        else:
            wanted = self._hpa(view.now, there, metric)
        if wanted >= there:
            return Actions(add=wanted - there)
        return Actions(delete=self._victims(view, there - wanted), grace=self.GRACE)

    def _hpa(self, now: float, there: int, metric: int) -> int:
        slots = self._settings.concurrency
        close = abs(metric / (there * slots) - 1) <= self.TOLERANCE
        wanted = there if close else math.ceil(metric / slots)
        wanted = min(max(1, self._settings.min_pods, wanted), self._settings.max_pods)
        self._recommended = [each for each in self._recommended if each[0] > now - self.WINDOW] + [(now, wanted)]
        if wanted >= there:
            return min(wanted, max(2 * there, there + 4))
        return min(there, max(number for _, number in self._recommended))

    def _victims(self, view: View, number: int) -> tuple[str, ...]:
        pods = [(pod.phase != "starting", self._chance.random(), pod.name) for pod in view.pods]
        return tuple(name for _, _, name in sorted(pods)[:number])
