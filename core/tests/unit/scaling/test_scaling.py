"""The scaler's promises, for whatever it sees."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from currant.scaling import INTERVAL, Decision, Memory, Pod, Settings, Snapshot, Work, decide
from currant.scaling.rules import keep_time

some = settings(max_examples=60, deadline=None)
few = settings(max_examples=25, deadline=None)

counts = st.integers(0, 5000)
services = st.none() | st.floats(0.001, 5000)
works = st.builds(
    Work, st.sampled_from("abc"), counts, st.integers(0, 50), st.integers(0, 500), services, st.floats(0, 1000)
)
pools = st.builds(
    Settings,
    min_pods=st.integers(0, 5),
    max_pods=st.integers(5, 60),
    concurrency=st.integers(1, 100),
    latency_target=st.floats(1, 600),
    target_utilization=st.floats(0.1, 1),
    window=st.floats(0, 600),
    max_step_percent=st.integers(1, 100),
    zero_after=st.floats(0, 600),
    drain_timeout=st.floats(1, 3600),
)
memories = st.builds(
    Memory,
    began=st.just(-1000.0),
    running=st.lists(st.tuples(st.floats(-60, -1), st.integers(0, 500)), max_size=5).map(
        lambda each: tuple(sorted(each))
    ),
    wanted=st.lists(st.tuples(st.floats(-120, -1), st.integers(0, 60)), max_size=5).map(
        lambda each: tuple(sorted(each))
    ),
    startup=st.floats(1, 300),
    busy=st.floats(-1000, -1),
)


@st.composite
def pods(draw: st.DrawFn) -> tuple[Pod, ...]:
    made = []
    for number in range(draw(st.integers(0, 40))):
        phase = draw(st.sampled_from(["starting", "working", "draining"]))
        running = 0 if phase == "starting" else draw(st.integers(0, 5))
        made.append(Pod(f"p{number}", phase, running, running == 0, draw(st.floats(-2000, 0))))
    return tuple(made)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    there = draw(pods())
    work = tuple({each.function: each for each in draw(st.lists(works, max_size=3))}.values())
    return Snapshot(0.0, work, there, len(there) + draw(st.integers(0, 3)), draw(st.floats(0, 500)))


def have(seen: Snapshot) -> int:
    return seen.replicas - sum(pod.phase == "draining" for pod in seen.pods or ())


@given(pools, snapshots(), memories)
@some
def test_no_pod_with_a_running_attempt_is_removed_before_its_time_to_drain_is_over(
    pool: Settings, seen: Snapshot, memory: Memory
) -> None:
    decision, _ = decide(pool, seen, memory)
    there = {pod.name: pod for pod in seen.pods or ()}
    for name in decision.remove:
        pod = there[name]
        assert pod.phase != "working"
        assert pod.running == 0 or (pod.phase == "draining" and seen.now - pod.since >= pool.drain_timeout)


@given(pools, snapshots(), memories)
@some
def test_what_is_asked_for_is_what_is_desired_and_what_still_drains(
    pool: Settings, seen: Snapshot, memory: Memory
) -> None:
    decision, _ = decide(pool, seen, memory)
    draining = {pod.name for pod in seen.pods or () if pod.phase == "draining"}
    left = (draining | set(decision.drain)) - set(decision.undrain) - set(decision.remove)
    assert decision.replicas == decision.desired + len(left)
    assert set(decision.undrain) <= draining - set(decision.remove)
    assert not set(decision.drain) & draining


@given(pools, snapshots(), memories)
@some
def test_it_asks_for_no_more_than_the_most_and_moves_no_further_down_than_the_least(
    pool: Settings, seen: Snapshot, memory: Memory
) -> None:
    decision, _ = decide(pool, seen, memory)
    assert decision.desired <= max(pool.max_pods, have(seen)), "those above the most go step by step"
    assert decision.desired >= min(pool.min_pods, pool.max_pods)
    assert decision.reason


@given(pools, snapshots(), memories, st.sampled_from("abc"), st.integers(1, 2000))
@some
def test_more_that_is_ready_never_means_fewer_pods(
    pool: Settings, seen: Snapshot, memory: Memory, function: str, more: int
) -> None:
    before, _ = decide(pool, seen, memory)
    known = {each.function: each for each in seen.work or ()}
    each = known.get(function, Work(function))
    work = {**known, function: dataclasses.replace(each, ready=each.ready + more)}
    after, _ = decide(pool, dataclasses.replace(seen, work=tuple(work.values())), memory)
    assert after.desired >= before.desired


@given(pools, snapshots(), memories, st.sampled_from(["work", "pods", "stale", "now", "nan", "infinite", "negative"]))
@some
def test_what_cannot_be_seen_never_shrinks_a_pool(pool: Settings, seen: Snapshot, memory: Memory, lost: str) -> None:
    strange = {"nan": math.nan, "infinite": math.inf, "negative": -1}
    changes = {
        "work": {"work": None},
        "pods": {"pods": None},
        "stale": {"measured": seen.now - 60},
        "now": {"now": math.nan, "measured": 0.0},
    }
    change = changes.get(lost) or {"work": (*(seen.work or ()), Work("z", ready=strange[lost]))}  # type: ignore[arg-type]
    blind = dataclasses.replace(seen, **change)
    decision, after = decide(pool, blind, memory)
    assert (decision.replicas, decision.drain, decision.undrain, decision.remove) == (seen.replicas, (), (), ())
    assert after == memory
    assert decision.limited_by == "blind"


@given(snapshots(), memories, st.floats(allow_nan=True))
@some
def test_odd_service_times_ages_and_starts_are_not_known_rather_than_believed(
    seen: Snapshot, memory: Memory, odd: float
) -> None:
    work = tuple(
        dataclasses.replace(each, service=odd if not odd > 0 else math.nan, age=-1.0) for each in seen.work or ()
    )
    unknown = tuple(dataclasses.replace(each, service=None, age=0.0) for each in seen.work or ())
    odd_seen = dataclasses.replace(seen, work=work, startups=(math.nan, -math.inf), oldest_ready=math.nan)
    plain = dataclasses.replace(seen, work=unknown, startups=(), oldest_ready=0.0)
    assert decide(Settings(), odd_seen, memory)[0] == decide(Settings(), plain, memory)[0]


class World:
    """A pool whose orders are carried out at once, looked at every five seconds."""

    def __init__(self, pool: Settings) -> None:
        self.pool, self.memory, self.now = pool, Memory(), 0.0
        self.pods: dict[str, Pod] = {}
        self.desired: list[int] = []
        self.made = 0

    def observe(self, *work: Work) -> Decision:
        seen = Snapshot(self.now, work, tuple(self.pods.values()), len(self.pods))
        decision, self.memory = decide(self.pool, seen, self.memory)
        for name in decision.drain:
            self.pods[name] = dataclasses.replace(self.pods[name], phase="draining", since=self.now)
        for name in decision.undrain:
            self.pods[name] = dataclasses.replace(self.pods[name], phase="working")
        for name in decision.remove:
            del self.pods[name]
        while len(self.pods) < decision.replicas:
            self.made += 1
            self.pods[f"p{self.made}"] = Pod(f"p{self.made}", "working", 0, True, self.now)
        assert len(self.pods) == decision.replicas
        self.desired.append(decision.desired)
        self.now += INTERVAL
        return decision


@given(pools, st.lists(st.tuples(counts, st.integers(0, 500)), max_size=10))
@few
def test_whatever_was_it_reaches_the_least_in_the_end(pool: Settings, past: list[tuple[int, int]]) -> None:
    world = World(pool)
    for ready, running in past:
        world.observe(Work("a", ready, 0, running, 10.0))
    for _ in range(600):
        world.observe()
    assert world.desired[-1] == len(world.pods) == pool.min_pods


@given(st.lists(st.integers(0, 30), min_size=40, max_size=120))
@few
def test_it_turns_no_more_often_than_a_surplus_is_kept_for(noise: list[int]) -> None:
    """Between two steps down there may be ups; between an up and the next down lies the time that a surplus is kept."""
    world = World(Settings(max_pods=50, concurrency=1))
    ups, downs = [], []
    for number in noise:
        before = world.desired[-1] if world.desired else 0
        after = world.observe(Work("a", number, 0, 10, 10.0)).desired
        (ups if after > before else downs if after < before else []).append(world.now)
    for down in downs:
        last_up = max((up for up in ups if up < down), default=-math.inf)
        assert down - last_up >= keep_time(world.pool, world.memory) or last_up == -math.inf


def test_a_burst_from_zero_gets_the_pods_that_let_it_start_in_time() -> None:
    decision, _ = decide(
        Settings(max_pods=50, concurrency=4), Snapshot(0.0, (Work("a", 200, service=5.0),), ()), Memory()
    )
    # 30 s less the start of a pod are 10: each slot runs two of 5 s.
    assert decision.desired == 25
    assert decision.reason == "200 executions ready to start (100 slots to start them within 30 s); a pod has 4 slots"


def test_a_load_that_keeps_up_is_not_scaled_to_nothing() -> None:
    world = World(Settings(max_pods=50, concurrency=4))
    for _ in range(100):
        world.observe(Work("a", 0, 0, 20, 10.0))
    assert 25 / 4 <= world.desired[-1] <= 10


def test_a_surplus_is_drained_first_least_busy_and_newest_and_goes_when_it_is_idle() -> None:
    pool = Settings(max_pods=5, concurrency=1)
    memory = Memory(began=-1000.0, running=((-60.0, 1), (-5.0, 1)), wanted=((-5.0, 2),))
    # One that runs for an hour: no room is needed for more.
    work = (Work("a", running=1, service=3600.0, age=500.0),)
    there = (Pod("busy", running=1, since=-50), Pod("old", idle=True, since=-500), Pod("new", idle=True, since=-100))
    first, memory = decide(pool, Snapshot(0.0, work, there, 3), memory)
    assert (first.desired, first.drain, first.remove, first.replicas) == (2, ("new",), (), 3)
    there = (*there[:2], Pod("new", "draining", 0, True, 0.0))
    second, _ = decide(pool, Snapshot(1.0, work, there, 3), memory)
    assert (second.desired, second.drain, second.remove, second.replicas) == (2, (), ("new",), 2)


def test_a_rise_turns_draining_pods_back_before_it_starts_new_ones() -> None:
    draining = Pod("a", "draining", 1, False, -10.0)
    seen = Snapshot(0.0, (Work("f", ready=50, service=None),), (draining, Pod("b", running=1)), 2)
    decision, _ = decide(Settings(max_pods=3, concurrency=1), seen, Memory())
    assert (decision.desired, decision.undrain, decision.replicas) == (3, ("a",), 3)


def test_pods_that_would_come_too_late_are_not_started() -> None:
    work = Work("f", ready=100, running=0, service=0.5)
    there = tuple(Pod(f"p{number}") for number in range(2))
    decision, _ = decide(Settings(concurrency=3, latency_target=1.0), Snapshot(0.0, (work,), there, 2), Memory())
    assert decision.desired == 2
    assert decision.limited_by == "startup"


def test_work_that_comes_due_finds_its_pods_there() -> None:
    decision, _ = decide(Settings(concurrency=1), Snapshot(0.0, (Work("f", due=2, service=60.0),), ()), Memory())
    assert decision.desired == 2
    assert "2 executions due soon" in decision.reason


@pytest.mark.parametrize(("left", "desired"), [(None, 10), (3, 5), (0, 2)])
def test_the_database_has_connections_for_so_many_pods_more(left: int | None, desired: int) -> None:
    seen = Snapshot(0.0, (Work("f", ready=1000),), (Pod("a"), Pod("b")), 2, connections_left=left)
    decision, _ = decide(Settings(concurrency=1), seen, Memory())
    assert decision.desired == desired
    assert decision.limited_by == ("maxReplicas" if left is None else "connections")


def test_the_last_pod_stays_without_work_for_as_long_as_was_said() -> None:
    world = World(Settings(concurrency=1, zero_after=60))
    world.observe(Work("f", running=1, service=10.0))
    while world.desired[-1]:
        world.observe()
    assert 60 <= world.now - INTERVAL <= 60 + INTERVAL


@some
@given(pools)
def test_a_pool_without_pods_and_work_gets_none_however_short_it_is_known(pool: Settings) -> None:
    decision, _ = decide(pool, Snapshot(0.0, (), (), 0), Memory())
    assert decision.desired == pool.min_pods


class SlowWorld:
    """A pool that is looked at whenever something wakes the operator, and whose orders take their time.

    What was asked of a worker shows after `heard` seconds, a pod that is to go is seen for `gone` seconds more, and the
    number of pods asked for is there at once.
    """

    def __init__(self, pool: Settings, pods: int, heard: float, gone: float) -> None:
        self.pool, self.memory, self.now = pool, Memory(began=-1e4), 0.0
        self.heard, self.gone = heard, gone
        self.pods = {f"p{number}": Pod(f"p{number}", "working", 0, False, -500.0) for number in range(pods)}
        self.replicas, self.made = pods, pods
        self.later: list[tuple[float, str, str]] = []  # when, what, which pod
        self.desired = [pods]
        self.steps: list[tuple[float, int]] = []

    def observe(self, after: float, *work: Work) -> Decision:
        self.now += after
        self._let_happen()
        seen = Snapshot(self.now, work, tuple(self.pods.values()), self.replicas)
        decision, self.memory = decide(self.pool, seen, self.memory)
        for name in decision.drain:
            self.later.append((self.now + self.heard, "draining", name))
        for name in decision.undrain:
            self.later.append((self.now + self.heard, "working", name))
        for name in decision.remove:
            self.later.append((self.now + self.gone, "gone", name))
        for _ in range(decision.replicas - max(self.replicas, len(self.pods))):
            self.made += 1
            self.pods[f"p{self.made}"] = Pod(f"p{self.made}", "working", 0, False, self.now)
        self.replicas = decision.replicas
        if decision.desired < self.desired[-1]:
            self.steps.append((self.now, self.desired[-1] - decision.desired))
        self.desired.append(decision.desired)
        return decision

    def _let_happen(self) -> None:
        for time, what, name in sorted(self.later):
            if time > self.now or name not in self.pods:
                continue
            if what == "gone":
                del self.pods[name]
            elif what == "draining":
                self.pods[name] = dataclasses.replace(self.pods[name], phase="draining", idle=True, since=time)
            else:
                self.pods[name] = dataclasses.replace(self.pods[name], phase="working", idle=False)
        self.later = [each for each in self.later if each[0] > self.now]


waits = st.lists(st.floats(0.01, 7.0), min_size=20, max_size=150)
delays = st.floats(0.0, 6.0)


@given(waits, st.integers(2, 30), st.integers(1, 60), delays, delays)
@some
def test_a_pool_that_shrinks_never_turns_and_makes_one_step_in_an_interval_whenever_it_is_looked_at(
    waits: list[float], pods: int, percent: int, heard: float, gone: float
) -> None:
    world = SlowWorld(Settings(max_pods=30, concurrency=1, max_step_percent=percent), pods, heard, gone)
    work = Work("a", running=1, service=3600.0, age=5000.0)
    for wait in waits:
        world.observe(wait, work)
    assert world.desired == sorted(world.desired, reverse=True), "down, and never up again"
    for (before, _), (time, _) in itertools.pairwise(world.steps):
        assert time - before >= INTERVAL
    assert all(size <= max(1, math.ceil(pods * percent / 100)) for _, size in world.steps)


@given(waits, st.lists(st.integers(0, 30), min_size=150, max_size=150), delays, delays)
@some
def test_whenever_it_is_looked_at_it_turns_no_more_often_than_a_surplus_is_kept_for(
    waits: list[float], noise: list[int], heard: float, gone: float
) -> None:
    world = SlowWorld(Settings(max_pods=50, concurrency=1), 6, heard, gone)
    ups, downs = [], []
    for wait, number in zip(waits, noise, strict=False):
        before = world.desired[-1]
        after = world.observe(wait, Work("a", number, 0, 4, 10.0)).desired
        (ups if after > before else downs if after < before else []).append(world.now)
    for down in downs:
        last_up = max((up for up in ups if up < down), default=-math.inf)
        assert down - last_up >= keep_time(world.pool, world.memory)


def test_a_decision_before_the_workers_have_heard_remembers_who_is_to_drain() -> None:
    world = SlowWorld(Settings(max_pods=6, concurrency=1), 6, heard=0.5, gone=0.3)
    work = Work("a", running=1, service=3600.0, age=5000.0)
    first = next(decision for _ in range(20) if (decision := world.observe(5.0, work)).drain)
    assert first.desired == 5
    assert [world.observe(0.1, work).desired for _ in range(12)] == [5] * 12


def test_an_order_that_nobody_follows_is_given_again_in_the_end() -> None:
    world = SlowWorld(Settings(max_pods=6, concurrency=2), 2, heard=math.inf, gone=0.0)
    given = [world.observe(5.0, Work("a", running=1, service=3600.0, age=5000.0)).drain for _ in range(20)]
    assert sum(bool(names) for names in given) > 1
    assert {names for names in given if names} == {("p0",)}


@pytest.mark.parametrize(
    ("pool", "seen", "memory", "said"),
    [
        (Settings(), Snapshot(0.0, (), (), 0), Memory(), "there is no work"),
        (
            Settings(min_pods=2),
            Snapshot(0.0, (), (), 0),
            Memory(),
            "minReplicas is 2, and 0 would be enough: there is no work",
        ),
        (
            Settings(max_pods=2, concurrency=1),
            Snapshot(0.0, (Work("a", ready=3, due=1),), (), 0),
            Memory(),
            "maxReplicas is 2, and 4 would be needed: 3 executions ready to start and 1 execution due soon "
            "(4 slots to start them within 30 s); a pod has 1 slot",
        ),
        (
            Settings(concurrency=4),
            Snapshot(0.0, (Work("a", service=10.0),), (Pod("p"),), 1),
            Memory(began=-500.0, running=((-50.0, 12), (-5.0, 12), (-1.0, 0))),
            "0 attempts running, 11 on average in the last minute (24 slots with room for more); a pod has 4 slots",
        ),
        (
            Settings(),
            Snapshot(0.0, (Work("a", running=1, service=10.0),), (Pod("p", running=1),), 1),
            Memory(began=-500.0),
            "1 attempt running (5 slots with room for more); a pod has 100 slots",
        ),
        (
            Settings(),
            Snapshot(0.0, (), (Pod("p"),), 1),
            Memory(began=-500.0, busy=-5.0),
            "the last pod is kept until there has been no work for 60 s",
        ),
        (
            Settings(),
            Snapshot(0.0, None, None, 0),
            Memory(),
            "kept at 0 pods: the work in the queues is not known yet",
        ),
        (
            Settings(),
            Snapshot(0.0, (), (Pod("p"),), 1, measured=-31.0),
            Memory(),
            "kept at 1 pod: the work in the queues was last counted more than 30 s ago",
        ),
    ],
)
def test_the_reason_is_a_sentence_that_a_person_understands(
    pool: Settings, seen: Snapshot, memory: Memory, said: str
) -> None:
    assert decide(pool, seen, memory)[0].reason == said
