"""Warnings in the log about a slow import: until it ends, a worker serves nothing and answers no probe."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_log = logging.getLogger("currant.worker")

WARN_AFTER = (10.0, 30.0, 60.0, 120.0, 240.0, 600.0, 1800.0, 3600.0)
"""Seconds after the beginning of an import at which a warning is logged."""


@contextmanager
def warnings_about(module: str) -> Iterator[None]:
    """Log a warning at each of `WARN_AFTER` while the body imports the module."""
    over = threading.Event()
    thread = threading.Thread(target=_warn, args=(module, WARN_AFTER, over), name="slow-imports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _warn(module: str, after: Sequence[float], over: threading.Event) -> None:
    before = 0.0
    for seconds in after:
        if over.wait(seconds - before):
            return
        before = seconds
        _log.warning("still importing %s after %g s", module, seconds)
