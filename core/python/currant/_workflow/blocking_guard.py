"""Finds blocking calls in workflows: for `currant dev` and tests, where an audit hook may cost something."""

from __future__ import annotations

import sys
import time
from asyncio import _get_running_loop
from typing import Any

_BLOCKING = frozenset(
    {
        "http.client.connect",
        "os.fork",
        "os.posix_spawn",
        "os.system",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.sendto",
        "sqlite3.connect",
        "subprocess.Popen",
        "time.sleep",
        "urllib.Request",
    }
)
_installed = False
_plain_sleep = time.sleep


def install_blocking_guard() -> None:
    """From now on a blocking call in a workflow raises RuntimeError ("put it in a task"). Cannot be undone.

    It detects what CPython reports to audit hooks: network, processes, `time.sleep`; not a loop that computes.
    """
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_audit)
        if sys.version_info < (3, 13):  # CPython's own reports to no audit hook
            time.sleep = _sleep  # type: ignore[assignment]


def _sleep(seconds: float, /) -> None:
    _audit("time.sleep", (seconds,))
    _plain_sleep(seconds)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _BLOCKING and type(_get_running_loop()).__name__ == "WorkflowLoop":
        raise RuntimeError(f"a blocking call in a workflow ({event}): put it in a task")
