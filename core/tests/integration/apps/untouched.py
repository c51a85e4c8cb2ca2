"""Prints which globals of Python are others after `import currant`, a call, and a worker in the process.

One JSON object: what changed, by when it was looked at. It needs a database, that of the environment.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import builtins
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from typing import Any

MODULES: list[types.ModuleType] = [
    asyncio, asyncio.tasks, asyncio.events, builtins, gc, logging, os, signal, subprocess, sys, threading, time
]  # fmt: skip
KEPT_BY_PYTHON = {"sys.last_exc", "sys.last_value", "sys.last_type", "sys.last_traceback"}


def look() -> dict[str, str]:
    """The globals of these modules by name, functions with their code, and what else a library can put its own into."""
    seen: dict[str, Any] = {}
    for module in MODULES:
        for name, value in vars(module).items():
            code = getattr(value, "__code__", None)
            if callable(value):
                seen[f"{module.__name__}.{name}"] = f"{id(value)} {id(code) if code is not None else ''}"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
        seen[f"handler of {number.name}"] = str(id(signal.getsignal(number)))
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    seen["wake-up fd"] = str(wakeup)
    seen["garbage collector"] = f"{gc.isenabled()} {gc.get_threshold()} {len(gc.callbacks)}"
    seen["root logger"] = f"{logging.root.level} {logging.root.handlers} {logging.root.filters}"
    seen["warnings"] = str(warnings.filters)
    seen["recursion limit"] = str(sys.getrecursionlimit())
    seen["switch interval"] = str(sys.getswitchinterval())
    seen["trace"] = f"{sys.gettrace()} {sys.getprofile()} {sys.get_asyncgen_hooks()}"
    return {name: str(value) for name, value in seen.items()}


def changed(before: dict[str, str]) -> list[str]:
    """The names of what is not as it was."""
    after = look()
    return sorted(name for name in before if after.get(name) != before[name] and name not in KEPT_BY_PYTHON)


def main() -> None:
    before = look()
    import currant

    report = {"import": changed(before)}
    asyncio.run(use(currant, report))
    report["end"] = changed(before)
    print(json.dumps(report))


async def use(currant: Any, report: dict[str, list[str]]) -> None:
    """Enqueue; have a worker that runs it; await its result; enqueue once more."""
    running = look()  # with asyncio's own wake-up fd and handler

    @currant.task(queue="untouched")
    async def double(n: int) -> int:
        return n * 2

    first = await double.queue(4)
    report["enqueue"] = changed(running)
    async with currant.Worker(["untouched"], functions=[double]):
        assert await first.result(timeout=30) == 8
    report["worker"] = changed(running)
    second = await double.queue(5)
    assert await asyncio.wait_for(second.status(), 30) == "pending"
    report["await"] = changed(running)


if __name__ == "__main__":
    main()
