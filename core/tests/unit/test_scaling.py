"""The scaler's promises, for whatever it sees."""

from __future__ import annotations

import dataclasses
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

    def look(self, *work: Work) -> Decision:
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
        world.look(Work("a", ready, 0, running, 10.0))
    for _ in range(600):
        world.look()
    assert world.desired[-1] == len(world.pods) == pool.min_pods


@given(st.lists(st.integers(0, 30), min_size=40, max_size=120))
@few
def test_it_turns_no_more_often_than_a_surplus_is_kept_for(noise: list[int]) -> None:
    """Between two steps down there may be ups; between an up and the next down lies the time that a surplus is kept."""
    world = World(Settings(max_pods=50, concurrency=1))
    ups, downs = [], []
    for number in noise:
        before = world.desired[-1] if world.desired else 0
        after = world.look(Work("a", number, 0, 10, 10.0)).desired
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
    assert decision.reason == "200 ready: 100 slots to start them within 30 s; 4 slots a pod"


def test_a_load_that_keeps_up_is_not_scaled_to_nothing() -> None:
    world = World(Settings(max_pods=50, concurrency=4))
    for _ in range(100):
        world.look(Work("a", 0, 0, 20, 10.0))
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
    assert "2 due soon" in decision.reason


@pytest.mark.parametrize(("left", "desired"), [(None, 10), (3, 5), (0, 2)])
def test_the_database_has_connections_for_so_many_pods_more(left: int | None, desired: int) -> None:
    seen = Snapshot(0.0, (Work("f", ready=1000),), (Pod("a"), Pod("b")), 2, connections_left=left)
    decision, _ = decide(Settings(concurrency=1), seen, Memory())
    assert decision.desired == desired
    assert decision.limited_by == ("maxReplicas" if left is None else "connections")


def test_the_last_pod_stays_without_work_for_as_long_as_was_said() -> None:
    world = World(Settings(concurrency=1, zero_after=60))
    world.look(Work("f", running=1, service=10.0))
    while world.desired[-1]:
        world.look()
    assert 60 <= world.now - INTERVAL <= 60 + INTERVAL


@some
@given(pools)
def test_a_pool_without_pods_and_work_gets_none_however_short_it_is_known(pool: Settings) -> None:
    decision, _ = decide(pool, Snapshot(0.0, (), (), 0), Memory())
    assert decision.desired == pool.min_pods
