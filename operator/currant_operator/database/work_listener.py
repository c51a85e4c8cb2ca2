"""Listens for work in the queues of pools at zero, in place of the workers that would.

A notification only brings the next fetch of the queues forward. Without one (a pooler without a direct
URL, a lost connection) the queues are still fetched every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

_log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds of one wait, and so the longest time until other queues are listened to
PAUSE = 5.0  # seconds after a failure


class Waiter(Protocol):
    """The verbs of `currant.rust_bridge.RustBridge` that are called here; they block."""

    def close(self) -> None:
        """Close the connections; a wait ends."""

    def wait_for_work(self, queues: list[str], seconds: float) -> bool:
        """Wait until something becomes ready in queues that no worker serves."""


class WorkListener:
    """Has a thread and connections of its own; calls `notified` when something may be ready in the queues."""

    def __init__(self, open_bridge: Callable[[], Waiter], notified: Callable[[], None]) -> None:
        self._open, self._notified = open_bridge, notified
        self._queues: tuple[str, ...] = ()
        self._queues_given = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bridge: Waiter | None = None

    def listen_on(self, queues: tuple[str, ...]) -> None:
        """Listen on these queues from now on. Call this after each fetch of the queues."""
        self._queues = queues
        self._queues_given.set()
        if queues and self._task is None:
            self._task = asyncio.create_task(self._run(), name="work listener")

    def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="work-listener")
        try:
            while True:
                await self._once(thread)
        finally:
            self._close()
            thread.shutdown(wait=False)

    async def _once(self, thread: ThreadPoolExecutor) -> None:
        self._queues_given.clear()
        if not self._queues:
            await self._queues_given.wait()
            return
        if self._bridge is None:
            self._bridge = self._open()
        bridge, queues = self._bridge, list(self._queues)
        try:
            loop = asyncio.get_running_loop()
            notified = await loop.run_in_executor(thread, bridge.wait_for_work, queues, PATIENCE)
        except Exception as error:  # the next fetch fails for the same reason, and reports it
            _log.debug("not listening for work: %s", error)
            self._close()
            await asyncio.sleep(PAUSE)
            return
        if notified:
            # The fetch finds what became ready, and returns the queues that are still to be listened to.
            self._queues_given.clear()
            self._notified()
            await self._queues_given.wait()

    def _close(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            with contextlib.suppress(Exception):
                bridge.close()
