"""The board: every executed function marks its index here, so that a run proves that each item ran exactly once.

Each process has a file of its own, so that no mark is lost between processes; the judge adds them up.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = "BENCH_BOARD"  # variables that tell a worker where the board is, how many items it has, how many workers
ITEMS = "BENCH_ITEMS"
WORKERS = "BENCH_WORKERS"
JOIN_TIMEOUT = 60.0

STEPS = 5  # of each workflow of W4; step `k` of workflow `i` marks `STEPS * i + k`

_COUNT, _START, _HEADER = 0, 1, 2  # places in the header, then one time per item, then one byte per item
_WORD = 8


class Board:
    """One process's board of `items` places. Times are `time.monotonic_ns`, which all processes share."""

    def __init__(self, path: Path, items: int, create: bool = False) -> None:
        size = (_HEADER + items) * _WORD + items
        if create:
            draft = path.with_suffix(".new")  # renamed when it has its size: a reader never maps half a file
            with draft.open("wb") as file:
                file.truncate(size)
            draft.rename(path)
        with path.open("r+b") as file:
            view = memoryview(mmap.mmap(file.fileno(), size))
        words = (_HEADER + items) * _WORD
        self._words = view[:words].cast("Q")
        self._marks = view[words:]

    def mark(self, index: int) -> None:
        """Count one run of this item. Raises `ValueError` at its 256th run, `IndexError` beyond the board."""
        self._marks[index] += 1
        self._words[_COUNT] += 1

    def mark_time(self, index: int) -> None:
        """As `mark`, and keep the time of the first run."""
        now = time.monotonic_ns()
        if not self._words[_HEADER + index]:
            self._words[_HEADER + index] = now
        self.mark(index)

    def start(self) -> None:
        """Note that this process has done its imports."""
        self._words[_START] = time.monotonic_ns()

    @property
    def count(self) -> int:
        """How many runs were marked."""
        return self._words[_COUNT]

    @property
    def started(self) -> int:
        """When this process had done its imports; 0: not yet."""
        return self._words[_START]

    @property
    def marks(self) -> bytes:
        """How often each item ran."""
        return bytes(self._marks)

    @property
    def times(self) -> list[int]:
        """When each item first ran, by `mark_time`; 0: it did not."""
        return self._words[_HEADER:].tolist()


@dataclass
class Boards:
    """The boards of all workers of a turn, for the process that judges."""

    directory: Path
    items: int
    workers: int

    def environment(self) -> dict[str, str]:
        """The variables that a worker needs."""
        return {DIRECTORY: str(self.directory), ITEMS: str(self.items), WORKERS: str(self.workers)}

    def open(self) -> list[Board]:
        """Those that are there by now."""
        return [Board(path, self.items) for path in sorted(self.directory.glob("*.board"))]


def join() -> Board | None:
    """Make this process's board, if the environment tells of one, and wait until every worker of the turn has.

    So all workers of a turn start together, whenever each was done with its imports.
    """
    place = os.environ.get(DIRECTORY)
    if place is None:
        return None
    directory = Path(place)
    board = Board(directory / f"{os.getpid()}.board", int(os.environ[ITEMS]), create=True)
    limit = time.monotonic() + JOIN_TIMEOUT
    workers = int(os.environ[WORKERS])
    while len(list(directory.glob("*.board"))) < workers:
        if time.monotonic() > limit:
            raise TimeoutError(f"the other workers of this turn did not start within {JOIN_TIMEOUT:.0f} s")
        time.sleep(0.001 * workers)  # those that are there must not keep the others from starting
    board.start()
    return board


def first_ever() -> bool:
    """Whether no process of this turn has asked before; a step that is to be killed asks in its first run."""
    try:
        (Path(os.environ[DIRECTORY]) / "asked").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def faults(marks: Sequence[bytes], items: int) -> list[str]:
    """The evidence against "each item ran exactly once", in words; empty when there is none."""
    lost = [index for index, total in enumerate(runs_of_each(marks, items)) if total == 0]
    found = [f"{len(lost)} of {items} items never ran (first: {lost[0]})"] if lost else []
    return found + repeats(marks, items)


def repeats(marks: Sequence[bytes], items: int) -> list[str]:
    """The evidence against "no item ran more than once", in words; empty when there is none."""
    totals = runs_of_each(marks, items)
    found = [index for index, total in enumerate(totals) if total > 1]
    if not found:
        return []
    return [f"{len(found)} of {items} items ran more than once (first: {found[0]}, {totals[found[0]]} times)"]


def runs_of_each(marks: Sequence[bytes], items: int) -> Sequence[int]:
    """How often each item ran, by the marks of all boards."""
    if len(marks) == 1:
        return marks[0]  # a soak has tens of millions
    return [sum(column) for column in zip(*marks, strict=True)] if marks else bytes(items)
