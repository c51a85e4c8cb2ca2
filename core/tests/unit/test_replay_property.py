"""Replay is exact: a run that is crashed or evicted at any point goes on and ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_engine import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_workflows import Node, Pick, choose_outcome, make_program, make_workflow

MOST_OUTCOMES = 40
CASES = int(os.environ.get("CURRANT_REPLAY_CASES", "1000"))

Schedule = list[tuple[str, str, Any]]

# What is put out of memory may leave coroutines behind that it had made and not yet awaited.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")


@contextmanager
def engine_for(node: Node) -> Iterator[FakeEngine]:
    """An engine with this workflow, started. Whatever comes, nothing of it stays in memory."""
    engine = FakeEngine(make_workflow(node))
    try:
        engine.start()
        yield engine
    finally:
        if engine.run is not None:
            engine.run.evict()


def play(engine: FakeEngine, pick: Pick) -> Schedule:
    """Deliver outcomes at random, without a crash, until the run ends. Gives them in order."""
    schedule = []
    while engine.end is None and engine.open and len(schedule) < MOST_OUTCOMES:
        outcome = choose_outcome(engine, pick)
        schedule.append(outcome)
        engine.deliver(*outcome)
    return schedule


def play_with_crashes(engine: FakeEngine, schedule: Schedule, pick: Pick) -> None:
    """Deliver these outcomes; the worker dies or puts the run out of memory at random points."""
    for outcome in schedule:
        fate = pick(4)
        if fate == 1:  # it dies with the outcome in hand, before the commit
            clock = engine.clock
            engine.deliver(*outcome, lost=True)
            engine.clock = clock
        elif fate == 2:
            assert engine.evict(), "a task did not end at its eviction"
        if fate:
            rebuild(engine)
        engine.deliver(*outcome)


def rebuild(engine: FakeEngine) -> None:
    answer = engine.crash()
    if engine.records or engine.outcomes:
        assert answer == [], f"the replayed run made other commands: {answer}"


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.data())
def test_a_run_that_crashes_anywhere_makes_the_same_commands_and_ends_the_same(data: st.DataObject) -> None:
    def pick(n: int) -> int:
        return data.draw(st.integers(0, n - 1))

    node = make_program(pick)
    with engine_for(node) as twin, engine_for(node) as crashed:
        play_with_crashes(crashed, play(twin, pick), pick)
        assert crashed.commands == twin.commands
        assert crashed.end == twin.end
        assert crashed.open == twin.open


def programs(count: int) -> list[tuple[Node, random.Random]]:
    """Workflows that are the same on every Python version, each with the source of its outcomes."""
    sources = [random.Random(seed) for seed in range(count)]
    return [(make_program(source.randrange), source) for source in sources]
