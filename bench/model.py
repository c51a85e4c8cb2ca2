"""What is measured: workloads with their sizes and figures, and the results of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One number that a workload gives. `goal` is the ratio to the limit that Currant aims for, in words."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    goal: str = ""


@dataclass(frozen=True)
class Workload:
    """One workload. `items` is its size (seconds of watching for W8); `quick` the size with --quick."""

    id: str
    title: str
    items: int
    quick: int
    figures: tuple[Figure, ...]
    workers: int = 0

    @property
    def group(self) -> str:
        """The part of the id that BENCHMARK names: W1 of W1-seq."""
        return self.id.partition("-")[0]


def _rate(title: str, unit: str, goal: str) -> tuple[Figure, ...]:
    return (Figure("rate", title, unit, "higher", goal),)


WORKLOADS = (
    # 2,000 rather than 5,000: where a commit takes 4 ms, 5,000 of them in every turn would be most of the run.
    Workload("W1-seq", "enqueue, one after the other", 2_000, 500, _rate("enqueue, sequential", "tasks/s", ">= 0.8")),
    Workload("W1-conc", "enqueue, 16 in flight", 5_000, 1_000, _rate("enqueue, 16 in flight", "tasks/s", ">= 0.7")),
    Workload("W1-bulk", "enqueue in batches of 1,000", 10_000, 5_000, _rate("enqueue, bulk", "tasks/s", ">= 0.4")),
    Workload("W2-1", "drain, one worker", 40_000, 5_000, _rate("drain, one worker", "tasks/s", ">= 0.33"), workers=1),
    Workload("W2-2", "drain, two workers", 40_000, 5_000, _rate("drain, two workers", "tasks/s", ">= 0.5"), workers=2),
    Workload(
        "W3",
        "pick-up by an idle worker",
        200,
        60,
        (
            Figure("p50", "pick-up, p50", "ms", "lower", "<= 1.25"),
            Figure("p95", "pick-up, p95", "ms", "lower"),
            Figure("p99", "pick-up, p99", "ms", "lower", "<= 1.25"),
        ),
        workers=1,
    ),
    Workload(
        "W4",
        "workflows of five steps",
        1_000,
        200,
        _rate("workflows of 5 steps", "workflows/s", ""),
        workers=1,
    ),
    Workload(
        "W8",
        "idle worker",
        20,
        10,
        (
            Figure("statements", "idle, statements", "per minute", "lower"),
            Figure("cpu", "idle, worker CPU", "ms per minute", "lower"),
            Figure("rss", "idle, worker memory", "MB", "lower"),
        ),
        workers=1,
    ),
)


@dataclass
class Run:
    """One turn: a candidate at a workload in a round. `void` says why it does not count; its values are then empty."""

    workload: str
    candidate: str
    round: int
    items: int
    values: dict[str, float] = field(default_factory=dict)
    void: str = ""


@dataclass
class Results:
    """Everything that a run of the suite found."""

    when: str
    rounds: int
    quick: bool
    workloads: list[str]
    candidates: list[str]
    machine: dict[str, str]
    server: dict[str, str]
    settings: dict[str, dict[str, str]]
    runs: list[Run] = field(default_factory=list)

    def values(self, workload: str, candidate: str, key: str) -> list[float]:
        """The figure of every round that counts."""
        return [
            run.values[key]
            for run in self.runs
            if run.workload == workload and run.candidate == candidate and not run.void
        ]

    @property
    def voids(self) -> list[Run]:
        """The turns that do not count."""
        return [run for run in self.runs if run.void]

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        return asdict(self)


def select(only: str | None) -> list[Workload]:
    """The workloads of `--only W2,W4-...`: by id, or by group. Raises `ValueError` for a name that is none."""
    if only is None:
        return list(WORKLOADS)
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {workload.id for workload in WORKLOADS} | {workload.group for workload in WORKLOADS}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"no workload {', '.join(unknown) or 'given'}; there are {', '.join(sorted(known))}")
    return [workload for workload in WORKLOADS if workload.id in names or workload.group in names]
