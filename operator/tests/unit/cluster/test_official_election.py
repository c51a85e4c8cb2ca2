"""Lacks of the official package's leader election: each test fails once it lacks that no more; `lease.py` may go then."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import aiohttp
import pytest
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

DEADLINE = 0.2


class Lock:
    """A lease in memory that this candidate gets at once; later calls hang, or fail as a dropped connection does."""

    name, namespace, identity = "currant", "shop", "pod-0"

    def __init__(self) -> None:
        self.record: LeaderElectionRecord | None = None
        self.silent = False
        self.dropped = False

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        if self.silent:
            await asyncio.Event().wait()
        if self.dropped:
            raise aiohttp.ServerDisconnectedError
        return True, self.record

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        return False

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        self.record = updated_record
        return True


async def lead() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def lock() -> Lock:
    return Lock()


@pytest.fixture
def election(lock: Lock) -> LeaderElection:
    config = Config(lock, 15, 10, 2, onstarted_leading=lead, onstopped_leading=None)
    config.renew_deadline, config.retry_period = DEADLINE, 0.01  # less than it accepts
    return LeaderElection(config)


async def leading(election: LeaderElection, lock: Lock) -> asyncio.Task[None]:
    running = asyncio.create_task(election.run())
    async with asyncio.timeout(10):
        while lock.record is None:
            await asyncio.sleep(0.001)
    return running


async def test_it_goes_on_leading_past_its_deadline_while_a_call_is_not_answered(election, lock) -> None:
    running = await leading(election, lock)
    lock.silent = True
    done, _ = await asyncio.wait({running}, timeout=10 * DEADLINE)
    assert not done
    running.cancel()


async def test_it_ends_with_an_error_when_a_connection_is_dropped_once(election, lock) -> None:
    running = await leading(election, lock)
    lock.dropped = True
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await asyncio.wait_for(running, 10)


async def test_it_does_not_give_the_lease_back_when_it_is_ended(election, lock) -> None:
    running = await leading(election, lock)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert lock.record is not None
    assert lock.record.holder_identity == "pod-0"
    assert not any("release" in name for name in dir(LeaderElection))


async def test_it_takes_the_wall_clocks_jump_for_the_end_of_anothers_lease(election, lock, monkeypatch) -> None:
    lock.record = LeaderElectionRecord("pod-1", "15", "2026-01-01 00:00:00", "2026-01-01 00:00:00")
    assert not await election.try_acquire_or_renew()
    hour_ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: hour_ahead)
    assert await election.try_acquire_or_renew()


async def test_its_calls_have_no_time_limit_of_the_elections(monkeypatch) -> None:
    limits: list[Any] = []

    async def request(*_: Any, _request_timeout: Any = None, **__: Any) -> None:
        limits.append(_request_timeout)
        raise aiohttp.ServerDisconnectedError

    async with ApiClient(Configuration(host="http://nowhere")) as client:
        monkeypatch.setattr(client.rest_client, "request", request)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await LeaseLock("currant", "shop", "pod-0", client).get("currant", "shop")
    assert limits == [None]
    assert "timeout" not in inspect.signature(LeaseLock.get).parameters
