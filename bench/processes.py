"""Worker processes of one turn."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.board import Board, Boards

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT = 15.0


class WorkerEnded(Exception):
    """A worker process ended in the middle; the message has the last line of its log."""


class Workers:
    """A number of worker processes, started together and ended at the end of the block."""

    def __init__(
        self, command: list[str], variables: dict[str, str], boards: Boards, count: int, directory: Path
    ) -> None:
        self._command = command
        self._environment = {**os.environ, **variables, **boards.environment()}
        self._boards = boards
        self._first = count
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._killed: set[int] = set()
        self._opened: list[Board] = []

    def __enter__(self) -> Self:
        for _ in range(self._first):
            self.start_one()
        return self

    def start_one(self) -> None:
        """Start one more."""
        with self._log(len(self._processes)).open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    self._command, env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def kill(self, number: int) -> None:
        """End one by SIGKILL; its board stays."""
        self._processes[number].kill()
        self._processes[number].wait()
        self._killed.add(number)

    def _log(self, number: int) -> Path:
        return self._directory / f"worker-{number}.log"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process in self._processes]

    def check(self) -> None:
        """Raise `WorkerEnded` when one has by itself."""
        for number, process in enumerate(self._processes):
            if number not in self._killed and process.poll() is not None:
                text = self._log(number).read_text(errors="replace")
                end = (text.strip().splitlines() or ["nothing"])[-1]
                raise WorkerEnded(f"a worker ended with exit code {process.returncode}; its log ends: {end[:500]}")

    def boards(self) -> list[Board]:
        """Their boards, as far as they have made them."""
        if len(self._opened) < len(self._processes):
            self._opened = self._boards.open()
        return self._opened

    @property
    def count(self) -> int:
        """How many runs were marked so far."""
        return sum(board.count for board in self.boards())

    @property
    def started(self) -> bool:
        """Whether all have done their imports."""
        boards = self.boards()
        return len(boards) == len(self._processes) and all(board.started for board in boards)

    @property
    def first_start(self) -> int:
        """When the first had done its imports (they wait for each other), by `time.monotonic_ns`."""
        return min(board.started for board in self.boards())
