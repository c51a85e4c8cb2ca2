"""Threads for `def` tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """Up to `most` threads, made when they are needed and kept.

    Not concurrent.futures: its threads are joined when the interpreter ends, so a task that never returns would keep a
    worker from ending. These are daemons.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made = 0
        self._free = 0  # threads without work, less work without a thread
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work`, which must not raise, in a thread; it waits while `most` are busy."""
        with self._lock:
            if self._free <= 0 and self._made < self._most:
                self._made += 1
                threading.Thread(target=self._serve, name=f"currant-task-{self._made}", daemon=True).start()
            else:
                self._free -= 1
        self._work.put(work)

    def close(self) -> None:
        """End the threads that are free, and the busy ones when they become so."""
        for _ in range(self._made):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            with self._lock:
                self._free += 1
