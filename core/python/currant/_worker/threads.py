"""Threads for `def` tasks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from currant._base.user_errors import SafeLogger

_log = SafeLogger(logging.getLogger("currant.worker"))


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
        """Run `work` in a thread; it waits while `most` are busy. Raises `RuntimeError` if there can be no thread."""
        with self._lock:
            if self._free <= 0 and self._made < self._most:
                self._make()
            else:
                self._free -= 1
        self._work.put(work)

    def _make(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"currant-task-{self._made + 1}", daemon=True)
        try:
            thread.start()
            self._made += 1
        except RuntimeError:  # the system allows no more threads: the work waits for one of the present ones
            if not self._made:
                raise
            self._free -= 1

    def close(self) -> None:
        """End the threads that are free, and the busy ones when they become so."""
        for _ in range(self._made):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except BaseException as error:  # one that another thread put into this one comes at any time
                _log.failure(error, "a thread for tasks goes on after")
            with self._lock:
                self._free += 1
