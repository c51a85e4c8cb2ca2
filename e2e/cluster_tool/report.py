"""What the tool says while it works: one line a step, with how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(line: str) -> None:
    """To stderr: stdout belongs to what a caller evaluates."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what was done and the seconds it took, once it is done."""
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s")
