"""What tests share beside fixtures: waiting for a condition, and worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TESTS = CHECKOUT / "core" / "tests"

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout: float = 20.0, interval: float = 0.02) -> T:
    """Call `condition` until it gives something true, and give that. Fails after `timeout` seconds."""
    limit = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > limit:
            raise AssertionError(f"not true within {timeout:g} s; last value: {value!r}")
        time.sleep(interval)


async def eventually_async(
    condition: Callable[[], T | Awaitable[T]], timeout: float = 20.0, interval: float = 0.02
) -> T:
    """`eventually` for a test on an event loop; `condition` may be a coroutine function."""
    limit = time.monotonic() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > limit:
            raise AssertionError(f"not true within {timeout:g} s; last value: {value!r}")
        await asyncio.sleep(interval)


# A schedule as definitions have it, with nothing to be said of it but when.
AT_MIDNIGHT = {
    "name": "s",
    "cron": "0 0 * * *",
    "time_zone": "UTC",
    "args": {},
    "overlap": "Allow",
    "catch_up": "None",
    "suspended": False,
}

QUICK = {
    "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5",
    "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "3",
    "WORKFLOWS_WORKER_POLL_INTERVAL": "1",
    "WORKFLOWS_WORKER_SHUTDOWN_GRACE": "5",
}


def child_environment(database_url: str, **variables: str) -> dict[str, str]:
    """A child's environment: this database, quick heartbeats, modules of the checkout and core/tests/integration.

    The package too, as the tests on other Pythons have it on the path only.
    """
    path = [str(CHECKOUT), str(CHECKOUT / "core" / "python"), str(TESTS / "integration"), str(TESTS)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "WORKFLOWS_DATABASE_URL": database_url,
        **QUICK,
        **variables,
    }


def without_uvloop(directory: Path) -> dict[str, str]:
    """The variables of a child that finds no uvloop, and so runs on asyncio's own event loop."""
    (directory / "uvloop.py").write_text("raise ImportError\n")
    return {"PYTHONPATH": os.pathsep.join([str(directory), *child_environment("")["PYTHONPATH"].split(os.pathsep)])}


def note(text: str) -> None:
    """Write a line to the ledger, from a function that a worker runs. It outlives a SIGKILL right after."""
    file = os.open(os.environ["TEST_LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


class Ledger:
    """The lines that functions noted, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        """All lines so far."""
        return self.path.read_text().splitlines() if self.path.exists() else []


class WorkerProcess:
    """A `python -m currant worker` that a test started."""

    def __init__(
        self, queues: list[str], module: str, environment: dict[str, str], log_path: Path, options: list[str], cwd: Path
    ) -> None:
        arguments = [argument for queue in queues for argument in ("-q", queue)] + ["-m", module, *options]
        self.log_path = log_path
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "currant", "worker", *arguments],
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; SIGSTOP and SIGCONT too."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM: ask it to drain. Does not wait."""
        self.process.terminate()

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for its end; give the exit code."""
        return self.process.wait(timeout)


async def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and text of a page."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)
