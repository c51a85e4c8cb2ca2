"""`python -m chaos restart`: Postgres restarts in the middle of a drain of 100,000 tasks; when is throughput back?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import currant
from bench import functions
from bench.board import Boards
from chaos.fleet import ROOT
from chaos.postgres import Server, wait_until
from currant.rust_bridge import RustBridge

TASKS = 100_000
BULK = 5_000
WORKERS = 2
AT = 0.4  # of the tasks have run when the server crashes
WINDOW = 1.0  # seconds over which throughput is measured
WANTED = 0.9  # of the throughput before
SAMPLE = 0.02
PATIENCE = 600.0
# As a user's server is: a commit is on disk before it returns.
DURABLE = {"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "1GB"}

Samples = Sequence[tuple[float, int]]


@dataclass
class Recovery:
    """The cost of a restart. Rates are tasks a second; times are seconds."""

    before: float
    down: float  # from the crash until the server takes connections again
    back: float  # from then on until a second begins that reaches `WANTED` of the rate before
    after: float  # the rate of all that came after that
    again: int  # tasks that ran again, since their outcome was not recorded

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"{WANTED:.0%} of the throughput before was back {self.back:.1f} s after the server's return "
            f"({self.down:.1f} s down), and {self.after / self.before:.0%} on average after that; "
            f"{self.again} of {TASKS} tasks ran again, all are recorded once"
        )


def recovery(samples: Samples, crash: float, returned: float, again: int) -> Recovery:
    """From (time, tasks that have run) of the whole drain. Raises `ValueError` when throughput never came back."""
    before = _rate(samples, max(samples[0][0], crash - 10 * WINDOW), crash)
    last = samples[-1][0]
    begins = (at for at, _ in samples if at >= returned and at + WINDOW <= last)
    back = next((at for at in begins if _rate(samples, at, at + WINDOW) >= WANTED * before), None)
    if back is None:
        raise ValueError(f"throughput did not reach {WANTED:.0%} of {before:.0f} a second any more")
    return Recovery(before, returned - crash, back - returned, _rate(samples, back, last), again)


def _rate(samples: Samples, begin: float, end: float) -> float:
    return (_count(samples, end) - _count(samples, begin)) / (end - begin)


def _count(samples: Samples, at: float) -> int:
    return samples[max(0, bisect_right(samples, at, key=lambda sample: sample[0]) - 1)][1]


def run() -> int:
    """Measure once; print it. 0 when everything is recorded once and throughput was back within 5 s."""
    with tempfile.TemporaryDirectory(prefix="currant-restart-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)
        server = Server(directory / "server", DURABLE)
        workers: list[subprocess.Popen[bytes]] = []
        try:
            server.create()
            asyncio.run(_fill(server.url))
            result = _drain(server, directory, workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            server.stop()
            currant.configure()
    print(result.line)
    return 0 if result.back <= 5.0 else 1


async def _fill(url: str) -> None:
    bridge = RustBridge(url)
    bridge.migrate()
    bridge.close()
    currant.configure(database_url=url)
    for start in range(0, TASKS, BULK):
        await functions.noop.queue_many([(index,) for index in range(start, start + BULK)])


def _drain(server: Server, directory: Path, workers: list[subprocess.Popen[bytes]]) -> Recovery:
    boards = Boards(directory, TASKS, WORKERS)
    for number in range(WORKERS):
        workers.append(_worker(server.url, directory / f"worker-{number}.log", boards.environment()))
    samples: list[tuple[float, int]] = []
    _sample(boards, samples, lambda: samples[-1][1] >= TASKS * AT)
    crash = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        restarting = thread.submit(server.restart)
        _sample(boards, samples, restarting.done)
        restarting.result()
    returned = time.monotonic()
    _sample(boards, samples, lambda: samples[-1][1] >= TASKS)
    wait_until(lambda: _states(server) == {"completed": TASKS}, "every task is recorded", PATIENCE)
    for worker in workers:
        worker.terminate()
        worker.wait(PATIENCE)
    return recovery(samples, crash, returned, sum(board.count for board in boards.open()) - TASKS)


def _worker(url: str, log_path: Path, board: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "currant", "worker", "-q", functions.QUEUE, "-m", "bench.functions"]
    environment = {**os.environ, **board, "WORKFLOWS_DATABASE_URL": url}
    with log_path.open("wb") as log:
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _sample(boards: Boards, samples: list[tuple[float, int]], done: Callable[[], bool]) -> None:
    """Note how many tasks have run, until `done`. Raises `TimeoutError`."""
    limit = time.monotonic() + PATIENCE
    while True:
        samples.append((time.monotonic(), sum(board.count for board in boards.open())))
        if done():
            return
        if samples[-1][0] > limit:
            raise TimeoutError(f"{samples[-1][1]} of {TASKS} tasks ran within {PATIENCE:.0f} s")
        time.sleep(SAMPLE)


def _states(server: Server) -> dict[str, int]:
    return dict(server.execute("select state, count(*) from currant.executions group by 1"))
