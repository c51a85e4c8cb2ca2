"""Measuring, for `currant bench`: bare SQL by the core's `selftest`, Currant by what users call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from currant.cli.bench import judge
from currant.cli.bench.model import (
    BULK,
    MOST_PICK_UPS,
    MOST_ROUND_TRIPS,
    Facts,
    Figures,
    Plan,
    Report,
    latency,
    rate,
)
from currant.client import Client, default_client
from currant.decorators import Function, task
from currant.errors import CurrantError, DatabaseUnavailable
from currant.rust_bridge import new_id
from currant.settings import Settings
from currant.worker import Worker

T = TypeVar("T")
Say = Callable[[str], None]

TASK = "currant.bench.noop"
QUEUE_PREFIX = "currant-bench-"
PICK_UP_INTERVAL = 0.025  # seconds
WARM_UP = 5  # enqueues that are not timed: they connect, and plan statements
CHECK_INTERVAL = 0.002  # seconds between two checks whether the last outcomes are recorded
FIRST_TASK = 10.0  # seconds until a worker must have begun
AWAY = 15.0  # seconds for which the database may be away while the rows are removed
LAST_OUTCOMES = 10.0  # seconds after which an outcome that is not recorded never will be
GOODBYE = 5.0  # seconds for the worker's end
BATCH = 1_000  # rows that one statement removes
PAUSE = 0.010  # seconds between two removals


class Limit(NamedTuple):
    """A limit of time and of number: the first that is reached counts."""

    seconds: float
    most: int


class Interrupted(Exception):
    """The self-test was asked to end; nothing more is begun."""


class LeftBehind(CurrantError):
    """The self-test's rows could not be removed; the message says how to remove them."""


class Stop:
    """A request to end a self-test: its waits then end, too."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """End as soon as possible."""
        self._asked.set()

    def check(self) -> None:
        """Raise `Interrupted` once the end has been asked for."""
        if self._asked.is_set():
            raise Interrupted

    async def unless(self, work: Awaitable[T]) -> T:
        """Wait for `work`, or until the end is asked for; a statement that has begun then goes on in the database."""
        done, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            self.check()
            await asyncio.wait((done, asked), return_when=asyncio.FIRST_COMPLETED)
            self.check()
            return await done
        finally:
            asked.cancel()
            done.cancel()


class StartTimes:
    """When each task ran, by its index."""

    def __init__(self) -> None:
        self.times: dict[int, int] = {}
        self._wanted = 0
        self._there = asyncio.Event()

    def note(self, index: int) -> None:
        """Note that a task runs now. A second run of the same task does not count."""
        self.times.setdefault(index, time.perf_counter_ns())
        if len(self.times) >= self._wanted:
            self._there.set()

    async def wait(self, count: int, seconds: float) -> bool:
        """Wait until `count` tasks have run. Returns False when they have not within `seconds`."""
        self._wanted = count
        self._there.clear()
        if len(self.times) >= count:
            return True
        try:
            await asyncio.wait_for(self._there.wait(), seconds)
        except TimeoutError:
            return False
        return True


class Database:
    """The parts of the core's `selftest` on one database, under one id."""

    def __init__(self, client: Client, id: str) -> None:
        self._client = client
        self.id = id
        self.queue = f"{QUEUE_PREFIX}{id}"
        self.table = f"currant.bench_{UUID(id).hex}"

    async def ask(self, part: str, **values: Any) -> dict[str, Any]:
        """One part."""
        message = msgspec.json.encode({"part": part, **values}).decode()
        try:
            answer: bytes = await self._client.call("selftest", message)
        except ValueError as error:  # the server refuses the part
            raise CurrantError(str(error)) from None
        return msgspec.json.decode(answer, type=dict[str, Any])

    async def bare(self, part: str, **values: Any) -> dict[str, Any]:
        """One part that uses the scratch table."""
        return await self.ask(part, table=self.id, **values)

    async def read(self, verb: str, *values: Any) -> Any:
        """One of the client's reads."""
        return msgspec.json.decode(await self._client.call(verb, *values))

    async def remove(self, until: str) -> None:
        """Remove all rows up to the id `until`; try again while the database is away. Raises `LeftBehind`."""
        limit = time.monotonic() + AWAY
        while True:
            try:
                await self._remove(until)
                return
            except DatabaseUnavailable as error:
                if time.monotonic() > limit:
                    raise self._left_behind(error) from error
                await asyncio.sleep(1)
            except CurrantError as error:
                raise self._left_behind(error) from error

    async def _remove(self, until: str) -> None:
        await self.bare("drop_table")
        while await self._remove_some(until):  # noqa: ASYNC110  # a pause, for other sessions
            await asyncio.sleep(PAUSE)
        await self.ask("remove_workers", queue=self.queue)

    def _left_behind(self, error: CurrantError) -> LeftBehind:
        return LeftBehind(
            f"what this self-test wrote could not be removed ({error}); the next `currant bench` tries again after an "
            f"hour, docs/reference/bench.md has the statements: table {self.table}, queue {self.queue}"
        )

    async def _remove_some(self, until: str) -> int:
        limits = {"from": self.id, "until": until, "limit": BATCH}
        taken = await self.ask("remove_tasks", queue=self.queue, **limits)
        count: int = taken["count"]
        return count


async def facts_of(client: Client, anyway: bool) -> Facts:
    """The facts of the server. Raises `CurrantError`, with the reason, when a self-test must not begin here."""
    database = Database(client, new_id())
    facts = await database.ask("server")
    known = [await database.read(verb) for verb in ("workers", "list_schedules", "list_definitions")]
    obstacle = judge.obstacle(facts, anyway or not judge.does_by_itself(*known))
    if obstacle is not None:
        raise CurrantError(obstacle)
    return facts


async def remove_left_behind(client: Client, facts: Facts) -> int:
    """Remove the rows of self-tests that were killed. Returns the number of those self-tests."""
    found = judge.left_behind(facts["left_behind"], new_id())
    for id, until in found:
        await Database(client, id).remove(until)
    return len(found)


class Bench:
    """One self-test. `run` measures everything and removes what it wrote, also when it is ended early or fails."""

    def __init__(self, facts: Facts, plan: Plan, say: Say, stop: Stop) -> None:
        self.report = Report(facts, plan, judge.no_limit(facts))
        self.database = Database(default_client(), new_id())
        self._say = say
        self._stop = stop
        self._starts = StartTimes()
        self._task = self._make_task()
        self._enqueued = 0

    async def run(self) -> Report:
        """Measure. Raises `Interrupted` when it was ended, `CurrantError` when something does not work."""
        start = time.monotonic()
        try:
            await self._measure()
        except ValueError as error:  # the server refused it
            raise CurrantError(str(error)) from error
        finally:
            self._say("removing what was written")
            await self.database.remove(new_id())
        self.report.seconds = time.monotonic() - start
        self.report.notes = judge.notes(self.report)
        return self.report

    def _make_task(self) -> Function[[int], None]:
        starts = self._starts

        # Made here and not when the module is imported: other workers must not serve it.
        @task(name=TASK, queue=self.database.queue, timeout=60, retries=0)
        async def noop(index: int) -> None:
            starts.note(index)

        return noop

    async def _measure(self) -> None:
        report, plan = self.report, self.report.plan
        seconds = plan.share("round_trip")
        trips = await self._stop.unless(self.database.ask("round_trips", seconds=seconds, most=MOST_ROUND_TRIPS))
        report.measures["round_trip"].bare = latency(trips["ms"])
        if report.no_limit is None:
            await self.database.bare("make_table")
        await self._enqueues()
        await self._bare_worker()
        await self._currant_worker()

    # Enqueues: bare SQL, then Currant, so that both meet the same server.

    async def _enqueues(self) -> None:
        report, plan = self.report, self.report.plan
        one, many, bulk = (report.measures[f"enqueue_{name}"] for name in ("one_by_one", "concurrent", "bulk"))
        for _ in range(WARM_UP):
            await self._enqueue()

        self._say("enqueue, one after the other")
        limit = Limit(plan.share("one_by_one"), plan.one_by_one)
        taken = await self._bare("inserts", **limit._asdict())
        if taken is not None:
            one.bare = rate(taken["count"], taken["seconds"])
            report.measures["commit"].bare = latency(taken["ms"])
        one.currant, report.measures["commit"].currant = await self._one_by_one(limit)

        self._say(f"enqueue, {plan.in_flight} in flight")
        limit = Limit(plan.share("concurrent"), plan.concurrent)
        inserted = await self._bare("concurrent_inserts", in_flight=plan.in_flight, **limit._asdict())
        if inserted is not None:  # the role may be allowed fewer connections than are free
            report.plan = replace(plan, in_flight=inserted["in_flight"])
        many.bare = _rate_of(inserted)
        many.currant = await self._concurrently(limit)

        self._say(f"enqueue, {BULK:,} at a time")
        limit = Limit(plan.share("bulk"), plan.tasks - self._enqueued)
        bulk.bare = _rate_of(await self._bare("bulk_inserts", **limit._asdict()))
        bulk.currant = await self._in_bulk(limit)

    async def _enqueue(self) -> None:
        index = self._enqueued
        self._enqueued += 1
        await self._task.queue(index)

    async def _one_by_one(self, limit: Limit) -> tuple[Figures | None, Figures | None]:
        start = time.perf_counter()
        times: list[float] = []
        while len(times) < limit.most and time.perf_counter() - start < limit.seconds:
            self._stop.check()
            before = time.perf_counter()
            await self._enqueue()
            times.append((time.perf_counter() - before) * 1000)
        return rate(len(times), time.perf_counter() - start), latency(times)

    async def _concurrently(self, limit: Limit) -> Figures | None:
        start = time.perf_counter()
        first = self._enqueued

        async def enqueue_some() -> None:
            while self._enqueued - first < limit.most and time.perf_counter() - start < limit.seconds:
                self._stop.check()
                await self._enqueue()

        await _all_ended([enqueue_some() for _ in range(self.report.plan.in_flight)])
        return rate(self._enqueued - first, time.perf_counter() - start)

    async def _in_bulk(self, limit: Limit) -> Figures | None:
        start = time.perf_counter()
        first = self._enqueued
        while self._enqueued - first < limit.most and time.perf_counter() - start < limit.seconds:
            self._stop.check()
            size = min(BULK, limit.most - (self._enqueued - first))
            indices = range(self._enqueued, self._enqueued + size)
            self._enqueued += size
            await self._task.queue_many([(index,) for index in indices])
        return rate(self._enqueued - first, time.perf_counter() - start)

    # The worker

    async def _bare(self, part: str, **values: Any) -> dict[str, Any] | None:
        """One part with bare SQL, if there is any."""
        if self.report.no_limit is not None:
            return None
        return await self._stop.unless(self.database.bare(part, **values))

    async def _bare_worker(self) -> None:
        plan, measures = self.report.plan, self.report.measures
        self._say("drain and pick-up, bare SQL")
        measures["drain"].bare = _rate_of(await self._bare("drain", seconds=plan.share("drain")))
        taken = await self._bare("pick_ups", seconds=plan.share("pick_up"), most=MOST_PICK_UPS)
        if taken is not None:
            measures["pick_up"].bare = latency(taken["ms"])
            self.report.notifications = taken["listens"]

    async def _currant_worker(self) -> None:
        plan, measures = self.report.plan, self.report.measures
        self._say("drain and pick-up, Currant")
        start = time.perf_counter()
        async with self._worker():
            measures["drain"].currant = await self._drain(start, plan.share("drain"))
            measures["pick_up"].currant = await self._pick_ups(plan.share("pick_up"))
        if self.report.no_limit is not None:
            self.report.notifications = not judge.slow_pick_up(measures["pick_up"].currant)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[Worker]:
        """A worker with every setting at its default, of no pod and without a port."""
        settings = Settings(shutdown_grace=GOODBYE)
        worker = Worker([self.database.queue], settings.max_concurrent, "currant bench", functions=[self._task])
        worker.settings = settings
        async with worker:
            yield worker

    async def _drain(self, start: float, seconds: float) -> Figures | None:
        """Measure from the worker's start until all tasks have run and are recorded, or until the time is over."""
        if not await self._stop.unless(self._starts.wait(1, FIRST_TASK)):
            raise CurrantError(f"no task ran within {FIRST_TASK:g} s of the worker's start; {await self._standing()}")
        if not await self._stop.unless(self._starts.wait(self._enqueued, seconds)):
            ran = len(self._starts.times)
            figures = rate(ran, time.perf_counter() - start)
            await self._finish_drain()
            return figures
        await self._until_recorded()
        return rate(self._enqueued, time.perf_counter() - start)

    async def _finish_drain(self) -> None:
        """Run the rest when the time is over, so that the worker is idle afterwards."""
        limit = 4 * self.report.plan.seconds
        if not await self._stop.unless(self._starts.wait(self._enqueued, limit)):
            raise CurrantError(f"the worker has not drained its queue within {limit:g} s; {await self._standing()}")
        await self._until_recorded()

    async def _until_recorded(self) -> None:
        limit = time.monotonic() + LAST_OUTCOMES
        while await self._unfinished():
            self._stop.check()
            if time.monotonic() > limit:
                raise CurrantError(f"all tasks have run, but their outcomes are not recorded; {await self._standing()}")
            await asyncio.sleep(CHECK_INTERVAL)

    async def _depth(self) -> dict[str, int]:
        pools = msgspec.json.encode([{"key": "bench", "queues": [self.database.queue]}]).decode()
        depth: dict[str, int] = (await self.database.read("fleet", pools))["pools"]["bench"]
        return depth

    async def _unfinished(self) -> bool:
        depth = await self._depth()
        return any(depth[state] for state in ("ready", "due", "running"))

    async def _standing(self) -> str:
        depth = await self._depth()
        return f"{len(self._starts.times)} ran, {depth['ready']} are ready, {depth['running']} are claimed"

    async def _pick_ups(self, seconds: float) -> Figures | None:
        """Measure pick-ups: an idle worker, an enqueue every 25 ms, from just before it to the task's first line."""
        start = time.monotonic()
        times: list[float] = []
        while len(times) < MOST_PICK_UPS and time.monotonic() - start < seconds:
            tick = time.monotonic()
            index, before = self._enqueued, time.perf_counter_ns()
            await self._enqueue()
            if not await self._stop.unless(self._starts.wait(self._enqueued, FIRST_TASK)):
                raise CurrantError(f"an idle worker did not start a task within {FIRST_TASK:g} s")
            times.append((self._starts.times[index] - before) / 1e6)
            await asyncio.sleep(max(0.0, PICK_UP_INTERVAL - (time.monotonic() - tick)))
        return latency(times[WARM_UP:] or times)


def _rate_of(taken: dict[str, Any] | None) -> Figures | None:
    return None if taken is None else rate(taken["count"], taken["seconds"])


async def _all_ended(works: list[Coroutine[Any, Any, None]]) -> None:
    """Wait for all to end, so that nothing is enqueued later; then raise the first error."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
