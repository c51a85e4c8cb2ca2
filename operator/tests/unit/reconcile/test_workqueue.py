"""The work queue: each key once, one worker a key, later, back-off, and an end that finishes what was begun."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from currant_operator.backoff import Backoff
from currant_operator.reconcile.workqueue import WorkQueue


class CountingObserver:
    """An observer that notes."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.counts: Counter[str] = Counter()

    def depth(self, waiting: int) -> None:
        self.depths.append(waiting)

    def added(self) -> None:
        self.counts["added"] += 1

    def started(self, waited: float) -> None:
        self.counts["started"] += 1

    def retried(self) -> None:
        self.counts["retried"] += 1


class Bench:
    """A queue, and work that notes what it was given and waits for the test's leave."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self.observer = CountingObserver()
        self.queue: WorkQueue[str] = WorkQueue(self.observer, backoff or Backoff(0.001, 0.002))
        self.done: list[str] = []
        self.working: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self.failures: Counter[str] = Counter()

    async def work(self, key: str) -> None:
        self.working[key] += 1
        self.most_at_once[key] = max(self.most_at_once[key], self.working[key])
        await self.unblocked.wait()
        self.working[key] -= 1
        if self.failures[key]:
            self.failures[key] -= 1
            raise RuntimeError("as the test wishes")
        self.done.append(key)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


@pytest.fixture
async def run() -> Callable[..., Awaitable[None]]:
    """Start the queue's workers; they are stopped at the end."""
    running: list[asyncio.Task[None]] = []

    async def start(bench: Bench, concurrency: int = 2) -> None:
        running.append(asyncio.create_task(bench.queue.run(bench.work, concurrency)))

    yield start  # type: ignore[misc]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_key_that_waits_is_not_added_twice(bench, run):
    for _ in range(5):
        bench.queue.add("a")
    assert len(bench.queue) == 1
    await run(bench)
    await bench.until(lambda: bench.queue.idle)
    assert bench.done == ["a"]
    assert bench.observer.counts["added"] == bench.observer.counts["started"] == 1


async def test_a_key_added_while_it_is_worked_on_is_worked_on_again_by_one_worker_at_a_time(bench, run):
    bench.unblocked.clear()
    bench.queue.add("a")
    await run(bench, 4)
    await bench.until(lambda: bench.working["a"] == 1)
    for _ in range(3):
        bench.queue.add("a")
    bench.unblocked.set()
    await bench.until(lambda: bench.queue.idle)
    assert bench.done == ["a", "a"]
    assert bench.most_at_once["a"] == 1


async def test_no_more_keys_are_worked_on_at_once_than_there_are_workers(bench, run):
    bench.unblocked.clear()
    for key in "abcde":
        bench.queue.add(key)
    await run(bench, 2)
    await bench.until(lambda: bench.working.total() == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.working.total() == 2
    bench.unblocked.set()
    await bench.until(lambda: bench.queue.idle)
    assert sorted(bench.done) == list("abcde")


async def test_a_key_that_fails_comes_back_and_its_failures_are_forgotten_when_it_succeeds(run):
    delays: list[int] = []

    class Noting(Backoff):
        def delay(self, failures: int) -> float:
            delays.append(failures)
            return 0

    bench = Bench(Noting())
    bench.failures["a"] = 3
    bench.queue.add("a")
    await run(bench)
    await bench.until(lambda: bench.done == ["a"])
    bench.failures["a"] = 1
    bench.queue.add("a")
    await bench.until(lambda: bench.done == ["a", "a"])
    assert delays == [0, 1, 2, 0]
    assert bench.observer.counts["retried"] == 4


async def test_of_several_requests_for_later_the_earliest_counts(bench, run):
    await run(bench)
    bench.queue.add_after("a", 3600)
    bench.queue.add_after("a", 0.001)
    bench.queue.add_after("a", 3600)
    await bench.until(lambda: bench.done == ["a"])
    assert bench.queue.idle


async def test_an_object_that_is_gone_is_not_worked_on_later(bench, run):
    await run(bench)
    bench.queue.add_after("a", 0.001)
    bench.queue.discard("a")
    bench.queue.add_after("b", 0.002)
    await bench.until(lambda: bench.done == ["b"])


async def test_stopping_finishes_what_was_begun_and_begins_nothing(bench):
    bench.unblocked.clear()
    bench.queue.add("a")
    bench.queue.add("b")
    running = asyncio.create_task(bench.queue.run(bench.work, 1))
    await bench.until(lambda: bench.working["a"] == 1)
    bench.queue.stop()
    bench.queue.add("c")
    bench.queue.add_after("d", 0)
    assert not running.done()
    bench.unblocked.set()
    await asyncio.wait_for(running, 10)
    assert bench.done == ["a"]
