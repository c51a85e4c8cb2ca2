"""A database's URL that lists several hosts, the first of them down: on a real server, as pools' secrets have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from currant.embedded import temporary_server
from currant.rust_bridge import Call, NewExecution, RustBridge, new_id
from currant_operator.database.bridge import Times
from currant_operator.database.databases import Databases
from currant_operator.plan.kinds import Key
from currant_operator.plan.observations import DatabaseReachable, DatabaseUnreachable
from e2e.prometheus import free_port

POOL = Key("WorkerPool", "shop", "orders")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server."""
    with temporary_server() as url:
        yield url


def with_hosts(url: str, *hosts: str) -> str:
    """The URL with these hosts in place of its own."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{','.join(hosts)}").geturl()


def host_that_is_down() -> str:
    """A host and port where nobody listens."""
    return f"127.0.0.1:{free_port()}"


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def databases(times: Times) -> AsyncIterator[Databases]:
    """The operator's databases, reached as it does."""
    databases = Databases(RustBridge, times, lambda *_: None, lambda _: None)
    yield databases
    await databases.close()


async def test_a_database_is_reached_and_listened_to_at_the_host_that_answers(server: str) -> None:
    url = with_hosts(server, host_that_is_down(), urlsplit(server).netloc.rpartition("@")[2])
    async with databases(Times(fleet=3600.0, stats=3600.0)) as operators:
        database = operators.use(POOL, url, ["orders"], 30.0)
        await until(lambda: database.queue(POOL))
        assert isinstance(database.state, DatabaseReachable)
        # The next fetch is in an hour: only the work listener can bring it forward.
        sleeps = "select 1 from pg_stat_activity where application_name = 'currant' and query ilike 'listen%'"
        with psycopg.connect(server, autocommit=True) as connection, closing(RustBridge(server)) as bridge:
            await until(lambda: connection.execute(sleeps).fetchone())
            call = Call("task", "shop.order", "orders", 5, b"{}", '{"retry": {"max_attempts": 1}}')
            bridge.create_executions([NewExecution(new_id(), call)])
        await until(lambda: database.queue(POOL).ready == 1)


async def test_where_no_host_answers_both_are_named_and_no_password(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = urlsplit(server).password
    assert password
    hosts = [host_that_is_down(), host_that_is_down()]
    async with databases(Times(fleet=0.1, stats=0.1, backoff=0.1)) as operators:
        database = operators.use(POOL, with_hosts(server, *hosts), ["orders"])
        await until(lambda: isinstance(database.state, DatabaseUnreachable))
        message = database.state.message
    assert all(host in message for host in hosts), message
    assert password not in message + caplog.text
