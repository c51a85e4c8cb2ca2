"""How long a fault was felt: pure arithmetic on the ledger."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from chaos.faults import Struck
from chaos.ledger import Attempt

AFTER = 10.0  # seconds after its end for which a strike is blamed for what stands still


@dataclass
class Stalls:
    """How often a kind of fault struck, and its longest stalls, in seconds."""

    struck: int = 0
    stall: float = 0.0  # no attempt ended anywhere
    resumed: float = 0.0  # what a victim was running began again


def measure(strikes: Sequence[Struck], attempts: Sequence[Attempt]) -> dict[str, Stalls]:
    """By kind. A strike is blamed for the stalls that begin before the next one strikes, which may share the blame."""
    ends = sorted(attempt.end for attempt in attempts if attempt.end is not None)
    found: dict[str, Stalls] = {}
    in_order = sorted(strikes, key=lambda struck: struck.begin)
    nexts = [struck.begin for struck in in_order[1:]] + [float("inf")]
    for struck, next_begin in zip(in_order, nexts, strict=True):
        kind = found.setdefault(struck.strike.kind, Stalls())
        kind.struck += 1
        kind.stall = max(kind.stall, longest_gap(ends, struck.begin, min(struck.end + AFTER, next_begin)))
        kind.resumed = max(kind.resumed, resumed(struck, attempts))
    return found


def longest_gap(ends: Sequence[float], begin: float, limit: float) -> float:
    """The longest time without an end within these bounds; what comes after the last end of all is no stall."""
    inside = ends[max(0, bisect_left(ends, begin) - 1) : bisect_left(ends, limit) + 1]
    return max((later - max(earlier, begin) for earlier, later in pairwise(inside)), default=0.0)


def resumed(struck: Struck, attempts: Sequence[Attempt]) -> float:
    """The longest time until what a strike's victims left undone began again; 0: they left nothing.

    Counted from the strike, or from when the victim itself noted that it was cut short.
    """
    by_id: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_id.setdefault(attempt.id, []).append(attempt)
    longest = 0.0
    for attempt in attempts:
        was_open = attempt.begin <= struck.end and (attempt.end is None or attempt.end > struck.begin)
        if was_open and attempt.pid in struck.victims:
            next_begins = [later.begin for later in by_id[attempt.id] if later.begin > max(attempt.begin, struck.begin)]
            cut_short = attempt.raised and attempt.end is not None and attempt.end <= struck.end
            since = attempt.end if cut_short and attempt.end is not None else struck.begin
            longest = max(longest, min(next_begins, default=since) - since)
    return longest
