"""Replay is exact: a run that is crashed or evicted at any point goes on and ends as if nothing had happened."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from currant._payloads import codec
from currant._workflow import loop
from currant._workflow.journal import Command
from fake_engine import FakeCall, FakeEngine
from random_workflows import Node, Pick, choose_outcome, make_program, make_workflow

MOST_OUTCOMES = 40
BLOCK = 50  # programs
DIGESTS = """
    0:58a17779 50:5dff6f5e 100:edb65e9d 150:9e83a836 200:53666442 250:904fc0e0 300:85c4164d
    350:6da6b610 400:dfd1fb52 450:16b5df78 500:98fe3d2a 550:00dd3f95 600:1c141f53 650:b487d261
    700:bfa39fe7 750:1b5be5ea 800:0756a7cb 850:0b166f65 900:1e7287bc 950:4d0e9c1d
"""
CASES = int(os.environ.get("CURRANT_REPLAY_CASES", "1000"))

Schedule = list[tuple[str, str, Any]]

# A run that is evicted may leave coroutines behind that it had made and not yet awaited.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.usefixtures("asyncio_is_ours"),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """These workflows leave hundreds of exceptions that nobody awaits, which the loop logs when they are collected.

    If that happens while pytest parses source for its report of a failure, Python 3.11 raises `SystemError: AST constructor
    recursion depth mismatch`, because a traceback in the log is parsed source, too.
    """
    logger = logging.getLogger(loop.__name__)
    logger.disabled = True
    yield
    gc.collect()
    logger.disabled = False


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


def recorded_steps(engine: FakeEngine) -> list[int]:
    """The arguments of the steps that are recorded: their numbers."""
    calls = [
        json.loads(asked) for kind, _, _, asked in engine.records.values() if kind in ("task", "workflow") and asked
    ]
    return [number for call in calls for number in call["args"]]


@settings(
    max_examples=CASES // 4, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_two_steps_of_one_function_that_change_places_make_the_run_incompatible(data: st.DataObject) -> None:
    def pick(n: int) -> int:
        return data.draw(st.integers(0, n - 1))

    node = make_program(pick)
    with engine_for(node) as engine:
        play(engine, pick)
        numbers = recorded_steps(engine)
        if not numbers:
            return
        one = numbers[pick(len(numbers))]
        other = (one + 1 + pick(5)) if pick(2) else max(0, one - 1 - pick(5))
        if one == other:
            return
        engine.main = make_workflow(node, {one: other, other: one})
        (answer,) = engine.crash()
        assert answer[0] == "hold"
        message = codec.decode_error(answer[1]).message
        assert "the arguments at args[0]: recorded is " in message, message


def programs(count: int) -> list[tuple[Node, Pick]]:
    """Workflows that are the same on every Python version, each with the source of its outcomes."""
    sources = [random.Random(seed).randrange for seed in range(count)]
    return [(make_program(pick), pick) for pick in sources]


def play_in_batches(engine: FakeEngine, size: int, pick: Pick) -> None:
    """Deliver outcomes `size` at a time, which the engine never does with more than one."""
    while engine.end is None and engine.open and len(engine.outcomes) < MOST_OUTCOMES:
        batch = {key: (key, *rest) for key, *rest in [choose_outcome(engine, pick) for _ in range(size)]}
        engine.deliver_batch(list(batch.values()))


def count_diverged(size: int, count: int) -> int:
    """How many of `count` workflows, given outcomes in batches of `size`, cannot be rebuilt from their history."""
    diverged = 0
    for node, pick in programs(count):
        with engine_for(node) as engine:
            play_in_batches(engine, size, pick)
            # An ended run is not rebuilt. Its end counts as one more command.
            answer = engine.crash()
            diverged += answer != ([] if engine.end is None else [engine.end])
    return diverged


def test_outcomes_delivered_several_at_a_time_could_not_be_replayed() -> None:
    """Rule a, the naive version: live batches of three, replayed one by one."""
    assert count_diverged(size=1, count=300) == 0
    assert count_diverged(size=3, count=300) > 30


def digests(count: int) -> str:
    """A digest of the commands of each block of programs, with the number of the block's first program."""
    text = ""
    for number, (node, pick) in enumerate(programs(count)):
        if number % BLOCK == 0:
            digest = hashlib.sha256()
        with engine_for(node) as engine:
            play(engine, pick)
            digest.update(repr([without_tracebacks(commands) for commands in engine.commands]).encode())
        if number % BLOCK == BLOCK - 1:
            text += f"{number + 1 - BLOCK}:{digest.hexdigest()[:8]} "
    return text


def test_the_commands_are_the_same_on_every_python_version_and_at_every_release() -> None:
    """Other digests mean that runs in flight would be incompatible after an upgrade of Currant, or of Python.

    Only where random_workflows.py makes other programs are they written anew.
    """
    found = digests(1000).split()
    assert found == DIGESTS.split(), "write DIGESTS anew only if nothing but random_workflows.py was changed"


def without_tracebacks(commands: list[Command]) -> list[Command]:
    """Commands without what differs between Python versions for good reason, and without arguments."""
    return [
        (name, codec.decode_error(rest[0]).message) if name == "fail" else (name, *map(without_arguments, rest))
        for name, *rest in commands
    ]


def without_arguments(part: Any) -> Any:
    return part._replace(args=b"") if isinstance(part, FakeCall) else part
