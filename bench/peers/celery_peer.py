# mypy: disable-error-code="import-not-found, import-untyped"
"""Celery with Redis: a queue of tasks that needs no Postgres. Each turn has a Redis of its own."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as NotThere

from bench.candidates import base
from bench.peers.base import WORKER, TaskClient, as_user_types_it, command, time_each, versions
from bench.peers.celery_worker import QUEUE, app

POOL = "solo"
THREADS = 16
START_TIMEOUT = 10.0
# Every second to disk: what it has taken in the last second is lost with its machine.
DURABILITY = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
RESULTS = "celery-task-meta-*"


class Client(TaskClient):
    """`apply_async` of its tasks, which blocks: in threads."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def _call(self, function: Callable[[], Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def enqueue_here(self, index: int) -> None:
        """As `enqueue`, in this thread."""
        app.tasks["noop"].apply_async((index,))

    async def enqueue(self, index: int) -> None:
        """One task."""
        await self._call(lambda: self.enqueue_here(index))

    async def enqueue_timed(self, index: int) -> None:
        """One task; the worker waits for it at the broker."""
        await self._call(lambda: app.tasks["pickup"].apply_async((index,)))

    async def enqueue_many(self, indices: Sequence[int]) -> None:
        """One after the other by the same connection: it has no call for many."""

        def send() -> None:
            with app.producer_pool.acquire() as producer:
                for index in indices:
                    app.tasks["noop"].apply_async((index,), producer=producer)

        await self._call(send)


class Candidate(base.Candidate):
    """Celery."""

    # Not W8, which counts statements of Postgres. W9's figures of the database are about Postgres, too.
    workloads = frozenset({"W1-seq", "W1-conc", "W2", "W3"})

    def __init__(self) -> None:
        self._server: asyncio.subprocess.Process | None = None
        self._redis: Redis | None = None
        self._url = ""
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def settings(self) -> dict[str, str]:
        """As its guide on optimizing says for short tasks; results are kept, as the others keep them."""
        return {
            "version": versions("celery", "redis"),
            "worker": as_user_types_it(self._command()),
            "app": "task_acks_late, worker_prefetch_multiplier=100, results in Redis",
            "redis": f"redis-server {' '.join(DURABILITY[:4])} (a second of work may be lost with the machine)",
            "client": f"apply_async; W1-conc in {THREADS} threads",
        }

    def _command(self) -> list[str]:
        options = ["--pool", POOL, "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
        return command("celery", "-A", "bench.peers.celery_worker", "worker", "--queues", QUEUE, *options)

    async def prepare(self, url: str) -> None:
        """A Redis on a socket, which ends with this turn's process group."""
        self._directory = tempfile.TemporaryDirectory(prefix="currant-bench-redis-")
        socket = Path(self._directory.name) / "socket"
        here = ["--port", "0", "--unixsocket", str(socket), "--dir", self._directory.name]
        nowhere = asyncio.subprocess.DEVNULL
        self._server = await asyncio.create_subprocess_exec(
            "redis-server", *here, *DURABILITY, stdout=nowhere, stderr=nowhere
        )
        self._redis = Redis(unix_socket_path=str(socket))
        self._url = f"redis+socket://{socket}"
        limit = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self._redis.ping()
                break
            except NotThere:
                if time.monotonic() > limit:
                    raise
                await asyncio.sleep(0.01)
        app.conf.update(broker_url=self._url, result_backend=self._url)

    @asynccontextmanager
    async def client(self, url: str) -> AsyncIterator[base.Client]:
        """The app, with threads that call it."""
        with ThreadPoolExecutor(THREADS) as threads:
            yield Client(threads)

    async def enqueue_one_by_one(self, url: str, items: int, directory: Path) -> tuple[int, float]:
        """By the blocking call: there is nothing else to do in this process."""
        async with self.client(url) as client:
            assert isinstance(client, Client)
            return time_each(client.enqueue_here, items)

    def worker(self, url: str, workload: str) -> tuple[list[str], dict[str, str]]:
        """`celery worker`."""
        return self._command(), {WORKER: self._url}

    async def unfinished(self, connection: Any) -> bool:
        """The number of tasks that wait, and of those delivered and not acknowledged."""
        assert self._redis is not None
        return bool(self._redis.llen(QUEUE) or self._redis.hlen("unacked"))

    async def tally(self, connection: Any) -> dict[str, int]:
        """The number of tasks that wait, and of those that have a result."""
        assert self._redis is not None
        found = {
            "pending": self._redis.llen(QUEUE),
            "running": self._redis.hlen("unacked"),
            "completed": sum(1 for _ in self._redis.scan_iter(RESULTS, count=10_000)),
        }
        return {state: count for state, count in found.items() if count}


candidate = Candidate()
