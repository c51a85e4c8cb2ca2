"""The ledger of attempts: each notes its begin and its end in a file that Currant does not know.

A line is one write, so it outlives a SIGKILL right after, and lines of several processes do not mix.
Times are `time.monotonic_ns`, which all processes of a machine share and no change of its clock moves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import currant

PLACE = "CHAOS_LEDGER"  # the variable that tells a worker where the ledger is


@dataclass
class Attempt:
    """One attempt that began. Times in seconds; `end` is None when the attempt did not get that far."""

    id: str
    number: int
    function: str
    tag: str
    pid: int
    begin: float
    end: float | None = None
    raised: bool = False


def note(*words: object) -> None:
    """Append a line."""
    file = os.open(os.environ[PLACE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(file)


@contextmanager
def entry(function: str, tag: str) -> Iterator[None]:
    """Note the begin of the attempt that runs here, and its end."""
    here = currant.current()
    who = (here.id, here.attempt, function, tag, os.getpid())
    note("begin", *who, time.monotonic_ns())
    ending = "raised"
    try:
        yield
        ending = "end"
    finally:
        note(ending, *who, time.monotonic_ns())


def read(path: Path) -> list[Attempt]:
    """All attempts, in the order of their begin."""
    attempts: list[Attempt] = []
    open_ones: dict[tuple[str, ...], Attempt] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        what, *who, nanoseconds = line.split(" ")
        at = int(nanoseconds) / 1e9
        if what == "begin":
            id, number, function, tag, pid = who
            attempt = Attempt(id, int(number), function, tag, int(pid), at)
            attempts.append(attempt)
            open_ones[tuple(who)] = attempt
        elif (ended := open_ones.pop(tuple(who), None)) is not None:
            ended.end, ended.raised = at, what == "raised"
    return attempts
