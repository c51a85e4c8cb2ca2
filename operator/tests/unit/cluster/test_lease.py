"""The election: one leader at a time, whatever the calls, the clocks and the processes do."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from currant_operator.cluster.lease import Election, LeaseConflict, Terms


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Leases:
    """An API server with one lease; it may be away, or never answer."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.version = 0
        self.away = False
        self.silent = False
        self.calls: list[str] = []

    async def get(self, within: float) -> dict[str, Any] | None:
        await self._answer("get")
        return copy.deepcopy(self.body)

    async def create(self, body: dict[str, Any], within: float) -> dict[str, Any]:
        await self._answer("create")
        if self.body is not None:
            raise LeaseConflict
        return self._write(body)

    async def replace(self, body: dict[str, Any], within: float) -> dict[str, Any]:
        await self._answer("replace")
        if self.body is None or body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise LeaseConflict
        return self._write(body)

    def touch(self) -> None:
        """Somebody annotates the lease."""
        assert self.body is not None
        self._write({**self.body, "metadata": {**self.body["metadata"], "annotations": {"by": "hand"}}})

    @property
    def holder(self) -> str:
        assert self.body is not None
        return str(self.body["spec"]["holderIdentity"])

    def _write(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self.version)
        self.body = body
        return copy.deepcopy(body)

    async def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.silent:
            await asyncio.Event().wait()
        if self.away:
            raise ConnectionError("the API server is away")


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(leases: Leases, clock: Clock, identity: str, **times: float) -> Election:
    terms = {"duration": 15.0, "renew_deadline": 0.2, "retry_period": 0.001, **times}
    return Election(leases, Terms(identity=identity, name="currant", namespace="here", **terms), clock)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_first_candidate_leads_and_the_second_waits(leases, clock):
    first, second = candidate(leases, clock, "first"), candidate(leases, clock, "second")
    await asyncio.wait_for(first.acquire(), 10)
    waiting = asyncio.create_task(second.acquire())
    await until(lambda: leases.calls.count("get") >= 4)
    assert first.leading
    assert not second.leading
    assert not waiting.done()
    assert leases.holder == second.holder == "first"
    waiting.cancel()


async def test_one_that_stands_by_says_who_leads_once_for_each_leader(leases, clock, caplog):
    caplog.set_level("INFO", "currant_operator.cluster.lease")
    await candidate(leases, clock, "first").acquire()
    waiting = asyncio.create_task(candidate(leases, clock, "third").acquire())
    for name in ("first", "second"):
        leases.body["spec"]["holderIdentity"] = name
        looked = len(leases.calls)
        await until(lambda looked=looked: len(leases.calls) > looked + 5)
    waiting.cancel()
    said = [record.getMessage() for record in caplog.records if "standing by" in record.getMessage()]
    assert said == [f"standing by: {name} leads, and its log has what is done" for name in ("first", "second")]


async def test_of_two_that_see_a_free_lease_at_once_one_leads(leases, clock):
    both = [candidate(leases, clock, name) for name in ("first", "second")]
    tasks = [asyncio.create_task(each.acquire()) for each in both]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    await until(lambda: len(leases.calls) > 8)
    assert [each.leading for each in both].count(True) == 1
    for task in tasks:
        task.cancel()


async def test_a_lease_that_is_given_back_is_taken_at_the_next_try(leases, clock):
    first, second = candidate(leases, clock, "first"), candidate(leases, clock, "second")
    await first.acquire()
    await first.release()
    assert leases.holder == ""
    assert not first.leading
    await asyncio.wait_for(second.acquire(), 10)
    assert leases.holder == "second"


async def test_a_leader_that_died_is_followed_when_its_lease_has_been_silent_for_its_duration(leases, clock):
    first, second = candidate(leases, clock, "first"), candidate(leases, clock, "second")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await until(lambda: second.holder == "first")
    clock.now += 14.9
    looked = len(leases.calls)
    await until(lambda: len(leases.calls) > looked + 3)
    assert not waiting.done()
    clock.now += 0.2
    await asyncio.wait_for(waiting, 10)
    assert second.leading
    assert leases.body["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_renews_stays_for_longer_than_the_duration(leases, clock):
    first, second = candidate(leases, clock, "first", renew_deadline=10), candidate(leases, clock, "second")
    await first.acquire()
    keeping, waiting = asyncio.create_task(first.keep()), asyncio.create_task(second.acquire())
    for _ in range(60):
        clock.now += 1
        version = leases.version
        await until(lambda version=version: leases.version > version)
    assert first.leading
    assert not waiting.done()
    for task in (keeping, waiting):
        task.cancel()


async def test_the_same_pod_takes_its_own_lease_back_after_a_restart(leases, clock):
    await candidate(leases, clock, "pod-0").acquire()
    again = candidate(leases, clock, "pod-0")
    await asyncio.wait_for(again.acquire(), 10)
    assert again.leading
    assert leases.body["spec"]["leaseTransitions"] == 0


async def test_a_leader_without_an_api_server_gives_up_at_the_deadline(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    leases.away = True
    keeping = asyncio.create_task(first.keep())
    await until(lambda: leases.calls.count("replace") > 3)
    assert not keeping.done()
    clock.now += 0.3
    await asyncio.wait_for(keeping, 10)


async def test_a_leader_whose_call_is_never_answered_gives_up_too(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    leases.silent = True
    keeping = asyncio.create_task(first.keep())
    await until(lambda: leases.calls[-1] == "replace")
    clock.now += 0.3  # the deadline; the call itself is cut off by real time
    await asyncio.wait_for(keeping, 10)


async def test_a_short_absence_of_the_api_server_costs_nothing(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    leases.away = True
    calls = len(leases.calls)
    await until(lambda: len(leases.calls) > calls + 2)
    leases.away = False
    version = leases.version
    await until(lambda: leases.version > version + 1)
    assert first.leading
    assert not keeping.done()
    keeping.cancel()


async def test_a_leader_whose_lease_another_holds_gives_up_at_once(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    leases.body["spec"]["holderIdentity"] = "usurper"
    leases._write(leases.body)
    await asyncio.wait_for(keeping, 10)
    assert not first.leading
    assert leases.holder == "usurper"


async def test_a_leader_whose_lease_somebody_annotated_goes_on(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    leases.touch()
    version = leases.version
    await until(lambda: leases.version > version + 1)
    assert first.leading
    assert not keeping.done()
    keeping.cancel()


async def test_a_leader_that_was_frozen_knows_that_its_time_is_over(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    clock.now += 15
    assert not first.leading


async def test_giving_back_a_lease_that_cannot_be_reached_is_no_error(leases, clock):
    first = candidate(leases, clock, "first")
    await first.acquire()
    leases.away = True
    await first.release()
    assert not first.leading
