"""Guarantee 12 and rule o: everything works through PgBouncer in transaction mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import quote

import psycopg
import pytest

import currant
from apps import pooled
from currant import Worker
from currant.rust_bridge import RustBridge
from servers import PgBouncer
from support import WorkerProcess


@pytest.fixture
def pooled_url(database: str, pgbouncer: PgBouncer) -> str:
    """The way to the test's database through the pooler, which is this process's configured one."""
    url = pgbouncer.url(database)
    currant.configure(database_url=url)
    return url


def test_the_pooler_is_one_that_breaks_sessions(pooled_url: str, pgbouncer: PgBouncer) -> None:
    """Else these tests prove nothing: two transactions of one client may meet two servers."""
    plain = pooled_url.partition("?")[0]
    with ThreadPoolExecutor(8) as threads, psycopg.connect(plain, autocommit=True, prepare_threshold=None) as client:
        busy = [threads.submit(_sleep_on, plain) for _ in range(8)]
        seen = {client.execute("select pg_backend_pid()").fetchone() for _ in range(50)}
        for future in busy:
            future.result()
    assert len(seen) > 1


def _sleep_on(url: str) -> None:
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
        for _ in range(20):
            other.execute("select pg_sleep(0.005)")


async def test_a_workflow_runs_from_end_to_end_with_worker_and_clients_behind_the_pooler(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_WORKER_POLL_INTERVAL", "0.2")  # without LISTEN the worker polls
    async with Worker(queues=["pooled"], concurrency=10):
        handles = await asyncio.gather(*(pooled.everything.queue(n) for n in range(20)))
        await asyncio.gather(*(currant.send_signal(handle, "more", 100) for handle in handles))
        results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
    assert results == [[2 * n, 2 * n + 2, 200] for n in range(20)]


async def test_a_worker_process_behind_the_pooler_finds_work_by_polling(
    pooled_url: str, worker_process: Callable[..., WorkerProcess]
) -> None:
    worker = worker_process("pooled", "apps.pooled", WORKFLOWS_DATABASE_URL=pooled_url)
    handles = await pooled.double.queue_many([(n,) for n in range(200)])
    assert await asyncio.gather(*(handle.result(timeout=30) for handle in handles)) == [2 * n for n in range(200)]
    worker.terminate()
    assert await asyncio.to_thread(worker.wait) == 0
    assert "prepared statement" not in worker.log


async def test_with_a_direct_url_listen_goes_past_the_pooler(
    database: str, pgbouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_WORKER_POLL_INTERVAL", "100")
    monkeypatch.setenv("WORKFLOWS_WORKER_HEARTBEAT_INTERVAL", "100")
    monkeypatch.setenv("WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT", "200")
    currant.configure(database_url=pgbouncer.url(database, direct_url=quote(database, safe="")))
    async with Worker(queues=["pooled"], concurrency=10):
        for number in range(3):  # it sleeps between them
            assert await (await pooled.double.queue(number)).result(timeout=30) == 2 * number


async def test_every_verb_of_a_client_works_through_the_pooler(pooled_url: str) -> None:
    handles = await pooled.double.queue_many([(n,) for n in range(5)])
    first = await pooled.double.options(idempotency_key="once").queue(1)
    second = await pooled.double.options(idempotency_key="once").queue(1)
    assert first == second
    assert await handles[0].status() == "pending"
    with pytest.raises(TimeoutError):
        await handles[0].result(timeout=0.1)
    await handles[0].cancel()
    assert await handles[0].status() == "cancelled"
    with closing(RustBridge(pooled_url)) as bridge:
        bridge.retry_execution(str(handles[0]))
        assert bridge.get_execution(str(handles[0]))["state"] == "pending"
        assert len(bridge.show(str(first))["executions"]) == 1
        assert len(bridge.list_executions(queue="pooled")) == 6
        assert [row["queue"] for row in bridge.queues()] == ["pooled"]
        claimed = bridge.claim_execution(currant.rust_bridge.new_id(), ["pooled"])
        assert claimed is not None


def test_migrations_run_through_the_pooler_several_at_once(empty_database: str, pgbouncer: PgBouncer) -> None:
    def migrate(_: int) -> int:
        with closing(RustBridge(pgbouncer.url(empty_database))) as bridge:
            return bridge.migrate()

    with ThreadPoolExecutor(4) as threads:
        versions = set(threads.map(migrate, range(4)))
    with closing(RustBridge(empty_database)) as direct:
        assert versions == {direct.schema_version()}
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)


async def test_a_definition_with_a_limit_is_applied_through_the_pooler(pooled_url: str, database: str) -> None:
    """It marks the executions that are there already, in several statements; other clients keep the pooler's servers changing."""
    handles = await pooled.double.queue_many([(n,) for n in range(30)])
    plain = pooled_url.partition("?")[0]
    with ThreadPoolExecutor(4) as threads, closing(RustBridge(pooled_url)) as bridge:
        busy = [threads.submit(_sleep_on, plain) for _ in range(4)]
        for limit in range(1, 11):
            item = {"function": pooled.double.name, "owner": "tests", "concurrency_limit": limit}
            [answer] = bridge.apply_definitions([item])
            assert answer["status"] == "applied", answer
        for future in busy:
            future.result()
        assert bridge.definition_stats([pooled.double.name])[pooled.double.name]["pending"] == len(handles)
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from currant.definitions where not runs_marked").fetchone() == (0,)
