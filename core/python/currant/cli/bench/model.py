"""The plan and the report of `currant bench`. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Facts = dict[str, Any]  # the facts of the server, from core/src/store/baseline.rs

MOST_TASKS = 100_000
MOST_PICK_UPS = 200
MOST_WARM_UPS = 50  # on either side, of all parts
MOST_ROUND_TRIPS = 2_000
IN_FLIGHT = 16
BULK = 1_000
SPARE_CONNECTIONS = 8  # a worker's and a client's, and one for a person


@dataclass(frozen=True)
class Plan:
    """The size of a self-test: the number of tasks on each side, and about how many seconds."""

    tasks: int
    seconds: float
    in_flight: int = IN_FLIGHT

    @property
    def rows(self) -> int:
        """Rows on each side, at most."""
        return self.tasks + MOST_PICK_UPS + MOST_WARM_UPS

    @property
    def one_by_one(self) -> int:
        """Rows enqueued one after the other, at most; what is not reached is made up in bulk."""
        return self.tasks // 5

    @property
    def concurrent(self) -> int:
        """Rows enqueued with several in flight, at most."""
        return 2 * self.tasks // 5

    def share(self, name: str) -> float:
        """The seconds that a part may take on each side."""
        return self.seconds * SHARES[name]


# Shares of the time, for each side; round trips have one side. Pick-ups use theirs up, others mostly end before.
SHARES = {"round_trip": 0.02, "one_by_one": 0.08, "concurrent": 0.06, "bulk": 0.06, "drain": 0.10, "pick_up": 0.19}


@dataclass(frozen=True)
class Figures:
    """One side of a measure. A rate is per second, percentiles are in milliseconds."""

    count: int
    rate: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @property
    def value(self) -> float | None:
        """The figure that ratios are made of: the rate, else the median."""
        return self.p50 if self.rate is None else self.rate


@dataclass
class Measure:
    """The figures of bare SQL and of Currant. `unit`: ms (less is better) or per_second (more is better)."""

    unit: str
    bare: Figures | None = None
    currant: Figures | None = None

    def as_json(self) -> dict[str, Any]:
        """The measure as JSON, with the ratio, and without the figures that its unit does not have."""
        sides = {"bare": self.bare, "currant": self.currant}
        figures = {
            side: found and {k: v for k, v in asdict(found).items() if v is not None} for side, found in sides.items()
        }
        return {"unit": self.unit, **figures, "ratio": self.ratio}

    @property
    def ratio(self) -> float | None:
        """Currant's figure divided by that of bare SQL."""
        if self.bare is None or self.currant is None or not self.bare.value or self.currant.value is None:
            return None
        return self.currant.value / self.bare.value


@dataclass(frozen=True)
class Note:
    """A sentence for people. `level`: danger (data may be lost), warning, info; `key` is for programs."""

    key: str
    level: str
    text: str


def _measures() -> dict[str, Measure]:
    return {
        "round_trip": Measure("ms"),
        "commit": Measure("ms"),
        "enqueue_one_by_one": Measure("per_second"),
        "enqueue_concurrent": Measure("per_second"),
        "enqueue_bulk": Measure("per_second"),
        "drain": Measure("per_second"),
        "pick_up": Measure("ms"),
    }


@dataclass
class Report:
    """The whole result."""

    server: Facts
    plan: Plan
    no_limit: str | None = None  # why bare SQL was not measured
    notifications: bool = True
    seconds: float = 0.0
    measures: dict[str, Measure] = field(default_factory=_measures)
    notes: list[Note] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The result as JSON: docs/reference/bench.md describes it."""
        return {**asdict(self), "measures": {name: measure.as_json() for name, measure in self.measures.items()}}


def rate(count: int, seconds: float) -> Figures | None:
    """The rate of `count` in `seconds`; None when there was nothing."""
    return Figures(count, rate=count / seconds) if count and seconds > 0 else None


def latency(milliseconds: Sequence[float]) -> Figures | None:
    """Percentiles of times; None when there are none."""
    if not milliseconds:
        return None
    p50, p95, p99 = (percentile(milliseconds, percent) for percent in (50, 95, 99))
    return Figures(len(milliseconds), p50=p50, p95=p95, p99=p99)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]
