"""Who is woken in the place of pools that have no worker: Postgres notifies those that sleep, and nobody does there.

What it hears is only a hint to look now; without it (a pooler without a way past it, a lost connection) the queues are
looked at all the same, every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

_log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds of one wait: so long it may take until a pool that has come to zero is listened for
PAUSE = 5.0  # seconds after a failure


class Waiter(Protocol):
    """The verbs of `currant.rust_bridge.RustBridge` that are called here; they block."""

    def close(self) -> None:
        """Close the connections; a wait ends."""

    def wait_for_work(self, queues: list[str], seconds: float) -> bool:
        """Wait until something becomes ready in queues that no worker serves."""


class Sleeper:
    """Sleeps on queues, on a thread and connections of its own; calls `woken` when something may be ready there."""

    def __init__(self, open_bridge: Callable[[], Waiter], woken: Callable[[], None]) -> None:
        self._open, self._woken = open_bridge, woken
        self._queues: tuple[str, ...] = ()
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bridge: Waiter | None = None

    def over(self, queues: tuple[str, ...]) -> None:
        """Sleep on these queues from now on; to be told anew after each look."""
        self._queues = queues
        self._told.set()
        if queues and self._task is None:
            self._task = asyncio.create_task(self._run(), name="sleeper")

    def stop(self) -> None:
        """Sleep no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="sleeper")
        try:
            while True:
                await self._once(thread)
        finally:
            self._close()
            thread.shutdown(wait=False)

    async def _once(self, thread: ThreadPoolExecutor) -> None:
        self._told.clear()
        if not self._queues:
            await self._told.wait()
            return
        if self._bridge is None:
            self._bridge = self._open()
        bridge, queues = self._bridge, list(self._queues)
        try:
            loop = asyncio.get_running_loop()
            heard = await loop.run_in_executor(thread, bridge.wait_for_work, queues, PATIENCE)
        except Exception as error:  # whatever it is, the look finds it too, and says so
            _log.debug("not listening for work: %s", error)
            self._close()
            await asyncio.sleep(PAUSE)
            return
        if heard:
            # What it was woken for is seen by a look; what is left to sleep on is told after that.
            self._told.clear()
            self._woken()
            await self._told.wait()

    def _close(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            with contextlib.suppress(Exception):
                bridge.close()
