"""From an observation of a pool to what the scaler is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from currant.scaling.observations import FunctionLoad
from currant_operator.plan.observations import PoolLoad, QueueStats, Wish, Worker, WorkerLoad
from currant_operator.plan.resources import parse_duration
from currant_operator.plan.scaler import Scaler, settings
from worlds import NOW, Body, at, later, pod, pool

SPEC = pool(
    spec__concurrency=4,
    spec__scaling={"mode": "Native", "minReplicas": 0, "maxReplicas": 9, "scaleToZeroAfter": "10s"},
).spec


class ScaledPool:
    """A pool at one moment; `decide` asks the scaler, five seconds later each time."""

    def __init__(self) -> None:
        self.scaler, self.now = Scaler(), 1000.0
        self.pods: list[Body] = []
        self.workers: list[Worker] = []
        self.load: PoolLoad | None = PoolLoad(age=0.1)
        self.ready = 0

    def add(self, name: str, asked_ago: float | None = None, **worker: Any) -> None:
        """A pod with a worker."""
        assert self.load is not None
        self.pods.append(pod(name, metadata__uid=f"uid-{name}", metadata__creationTimestamp=at(later(-300))))
        known = {"tasks": ("f",), "draining": False, "running": 0, **worker}
        self.workers.append(Worker(f"w-{name}", name, pod_uid=f"uid-{name}", **known))
        of_worker = WorkerLoad(290.0, asked_ago, known["running"])
        self.load = replace(self.load, workers={**self.load.workers, f"w-{name}": of_worker})

    def work(self, *functions: FunctionLoad, ready: int | None = None, **given: Any) -> None:
        assert self.load is not None
        self.load = replace(self.load, functions=functions, **given)
        self.ready = sum(each.ready for each in functions) if ready is None else ready

    def decide(self) -> Wish:
        self.now += 5.0
        queue = QueueStats(self.ready, 0, 0, 0.0)
        return self.scaler.decide(SPEC, self.now, NOW, self.pods, len(self.pods), queue, self.load, self.workers)


def test_the_owners_settings_are_those_of_the_spec() -> None:
    found = settings(SPEC)
    assert (found.min_pods, found.max_pods, found.concurrency, found.zero_after) == (0, 9, 4, 10.0)
    assert found.drain_timeout == parse_duration("5m")


def test_a_queue_that_fills_asks_for_pods_by_how_long_its_function_takes() -> None:
    scaled = ScaledPool()
    scaled.work(FunctionLoad("f", ready=24))
    assert scaled.decide().desired == 6, "nothing is known of f: a slot for each"
    # 30 s less 20 s for the start are 10: two of 5 s one after the other in a slot.
    scaled.work(FunctionLoad("f", ready=24), service={"f": (10, 50.0)})
    assert scaled.decide().desired == 3


def test_of_a_backlog_that_was_not_counted_to_its_end_the_first_give_the_shares() -> None:
    scaled = ScaledPool()
    scaled.work(FunctionLoad("f", ready=2000), ready=20_000, service={"f": (1000, 5.0)})
    assert scaled.decide().reason == (
        "20000 executions ready to start (10 slots to start them within 30 s); a pod has 4 slots"
    )


def test_workflows_ask_for_little_and_none_of_those_that_wait_for_anything() -> None:
    scaled = ScaledPool()
    scaled.add("a", running=500)
    scaled.work(FunctionLoad("f", kind="workflow", ready=40, running=0))
    assert scaled.decide().desired == 1


def test_what_no_worker_knows_asks_for_no_more_of_them() -> None:
    scaled = ScaledPool()
    scaled.add("a", tasks=("f",))
    scaled.work(FunctionLoad("unknown", ready=500))
    assert scaled.decide().desired == 1


def test_a_draining_pod_goes_only_when_it_says_itself_that_it_has_stopped_and_holds_nothing() -> None:
    for draining, running, leaves in [(False, 0, False), (True, 1, False), (True, 0, True)]:
        scaled = ScaledPool()
        scaled.add("a")
        scaled.add("b", asked_ago=3.0, draining=draining, running=running)
        scaled.work(FunctionLoad("f", running=1, seconds=10.0))
        wish = scaled.decide()
        assert wish.remove == (("b",) if leaves else ()), (draining, running)
        assert wish.replicas == (1 if leaves else 2)


def test_a_draining_pod_past_its_time_goes_whatever_it_runs() -> None:
    scaled = ScaledPool()
    scaled.add("a")
    scaled.add("b", asked_ago=301.0, draining=True, running=1)
    scaled.work(FunctionLoad("f", running=2, seconds=700.0))
    assert scaled.decide().remove == ("b",)


def test_an_idle_pool_drains_its_last_pod_and_then_has_none() -> None:
    scaled = ScaledPool()
    scaled.add("a")
    drained = next(wish for _ in range(20) if (wish := scaled.decide()).drain)
    assert (drained.drain, drained.replicas, drained.desired) == (("a",), 1, 0)
    scaled.pods, scaled.workers = [], []
    scaled.add("a", asked_ago=1.0, draining=True)
    assert (scaled.decide().remove, scaled.decide().replicas) == (("a",), 0)


def test_nothing_is_done_while_nothing_is_known() -> None:
    scaled = ScaledPool()
    scaled.add("a")
    scaled.load = None
    for _ in range(50):
        wish = scaled.decide()
    assert (wish.replicas, wish.drain, wish.remove, wish.limited_by) == (1, (), (), "blind")


@pytest.mark.parametrize(("connections", "desired"), [(None, 9), (60, 9), (19, 3), (-4, 0)])
def test_the_server_has_connections_for_so_many(connections: int | None, desired: int) -> None:
    scaled = ScaledPool()
    scaled.work(FunctionLoad("f", ready=500), connections=connections)
    assert scaled.decide().desired == desired


def test_how_long_pods_take_to_start_is_measured_and_decides_how_far_ahead_it_counts() -> None:
    scaled = ScaledPool()
    before = scaled.scaler.horizon(SPEC)
    scaled.pods = [pod("a", metadata__uid="uid-a", metadata__creationTimestamp=at(later(-90)))]
    scaled.workers = [Worker("w", "a", pod_uid="uid-a")]
    scaled.load = PoolLoad(age=0.1, workers={"w": WorkerLoad(started_ago=10.0)})  # 80 s after the pod
    scaled.decide()
    after = scaled.scaler.horizon(SPEC)
    assert after == before + 1.25 * (80 - 20) / 3
    scaled.decide()
    assert scaled.scaler.horizon(SPEC) == after, "each pod tells once"
