"""A thread and connections of its own for one database: the verbs block, and a database may hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from currant.errors import DatabaseUnavailable
from currant_operator import metrics
from currant_operator.database.bridge import Bridge

T = TypeVar("T")

CALL_LIMIT = 120.0  # seconds after which a call is given up, with its thread and its connections


class Connection:
    """Opened by the first `call`, and opened again by the first one after `abandon`. Use it on one event loop."""

    def __init__(self, id: str, open_bridge: Callable[[], Bridge]) -> None:
        self._id, self._open = id, open_bridge
        self._bridge: Bridge | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def call(self, verb: str, work: Callable[[Bridge], T]) -> T:
        """Do one blocking verb on the thread; returns its answer. Raises `DatabaseUnavailable` after `CALL_LIMIT`."""
        began = time.monotonic()
        outcome = "error"
        try:
            async with asyncio.timeout(CALL_LIMIT):
                result = await asyncio.get_running_loop().run_in_executor(self._executor(), self._with_bridge, work)
            outcome = "ok"
            return result
        except TimeoutError:
            self.abandon()
            raise DatabaseUnavailable(f"the database has not answered for {CALL_LIMIT:g} s") from None
        finally:
            metrics.DATABASE_CALLS.labels(verb, outcome).inc()
            metrics.DATABASE_SECONDS.labels(verb).observe(time.monotonic() - began)

    def abandon(self) -> None:
        """Leave the thread and the connections behind, as they may hang; they close when they can."""
        thread, bridge = self._thread, self._bridge
        self._thread = self._bridge = None
        if thread is not None:
            if bridge is not None:
                thread.submit(bridge.close)
            thread.shutdown(wait=False)

    def _executor(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"database-{self._id}")
        return self._thread

    def _with_bridge(self, work: Callable[[Bridge], T]) -> T:
        if self._bridge is None:
            self._bridge = self._open()
        return work(self._bridge)
