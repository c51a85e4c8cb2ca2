"""The measurements: workloads with their sizes and figures, and the results of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One number that a workload gives.

    `goal` is what Currant aims for: a ratio to the limit, or (`absolute`) the figure itself. `label` is the id that
    BENCHMARK knows it by, where that is not the workload's. `of` makes it a ratio itself: of `key` of this workload to
    `key` of that workload, of the same candidate in the same round. `summary` is its name in the summary's chart.
    """

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    goal: str = ""
    absolute: bool = False
    label: str = ""
    of: tuple[str, str] | None = None
    summary: str = ""

    @property
    def aim(self) -> str:
        """The goal in words."""
        return f"{self.goal} {self.unit}".rstrip() if self.absolute else self.goal

    def met(self, value: float | None, ratio: float | None) -> bool | None:
        """Whether the goal is met; None when there is none, or nothing to judge."""
        measured = value if self.absolute else ratio
        if not self.goal or measured is None:
            return None
        bound = self.bound
        return measured >= bound if self.better == "higher" else measured <= bound

    @property
    def bound(self) -> float:
        """The goal's number. Raises `IndexError` without a goal."""
        return float(self.goal.split()[1].replace(",", ""))


@dataclass(frozen=True)
class Workload:
    """One workload. `items` is its size, `quick` that with --quick: seconds for W8, minutes for soaks, workers for W11.

    One that is `optional` is run only when it is asked for. How long a turn may last by its size alone: `seconds`, and
    `seconds_each` for each of the items. `only` is the one candidate that it is for, if it is for one only. `series`
    are its figures of each minute (or of each tenth of the way).
    """

    id: str
    title: str
    items: int
    quick: int
    figures: tuple[Figure, ...]
    optional: bool = False
    seconds: float = 0.0
    seconds_each: float = 0.0
    only: str = ""
    series: tuple[Figure, ...] = ()

    @property
    def group(self) -> str:
        """The part of the id that BENCHMARK names: W1 of W1-seq."""
        return self.id.partition("-")[0]

    @property
    def charts(self) -> dict[str, list[Figure]]:
        """The figures of each chart: by label, and those only that share the first one's unit."""
        found: dict[str, list[Figure]] = {}
        for figure in self.figures:
            chart = found.setdefault(figure.label or self.id, [])
            if not chart or figure.unit == chart[0].unit:
                chart.append(figure)
        return found

    @property
    def labels(self) -> set[str]:
        """Every name that selects it."""
        labels = {figure.label for figure in self.figures if figure.label}
        return {self.id, self.group} | labels | {label.partition("-")[0] for label in labels}

    @property
    def needs(self) -> set[str]:
        """The ids of workloads that its figures are set beside."""
        return {figure.of[1] for figure in self.figures if figure.of}


def _rate(title: str, unit: str, goal: str = "", absolute: bool = False, summary: str = "") -> Figure:
    return Figure("rate", title, unit, "higher", goal, absolute, summary=summary or title)


def _step(steps: str) -> Figure:
    return Figure("step", f"a run of {steps} steps", "ms per step", "lower", "<= 2", summary=f"run of {steps} steps")


def _recovery(steps: str) -> tuple[Figure, ...]:
    label = f"W5r-{steps.replace(',', '')}"
    return (
        Figure(
            "rest",
            f"{steps} steps: taken over, replayed, finished",
            "s",
            "lower",
            label=label,
            summary=f"{steps} steps taken over",
        ),
        Figure("total", f"{steps} steps: the same with the death time-out", "s", "lower", label=label),
    )


def _soak(id: str, title: str, *more: Figure, only: str = "") -> Workload:
    return Workload(
        id,
        title,
        30,
        3,
        (
            Figure("drain", f"{id}, drain before it", "tasks/s", "higher"),
            Figure("rate", f"{id}, mean", "tasks/s", "higher"),
            Figure("lowest", f"{id}, worst minute", "tasks/s", "higher"),
            Figure("p99", f"{id}, pick-up p99 of the middle minute", "ms", "lower"),
            Figure("worst_p99", f"{id}, pick-up p99 of the worst minute", "ms", "lower"),
            Figure("table", f"{id}, tables at the end", "MB", "lower"),
            Figure("index", f"{id}, indexes at the end", "MB", "lower"),
            Figure("dead", f"{id}, dead rows at the end", "rows", "lower"),
            Figure("rss", f"{id}, worker memory at the end", "MB", "lower"),
            *more,
        ),
        optional=True,
        seconds=300,
        seconds_each=60,
        only=only,
        series=(
            Figure("rate", "throughput", "tasks/s", "higher"),
            Figure("p99", "pick-up p99", "ms", "lower"),
            Figure("size", "tables and indexes", "MB", "lower"),
            Figure("dead", "dead rows", "rows", "lower"),
            Figure("rss", "worker memory", "MB", "lower"),
            Figure("statements", "statements", "per task", "lower"),
        ),
    )


def _history(name: str, completed: str, optional: bool = False, seconds: float = 120) -> Workload:
    beside = f"drain with {completed} completed rows"
    goal = ">= 0.95"
    ratio = Figure("beside", f"{beside}, to W2-1", "times", "higher", goal, absolute=True, of=("rate", "W2-1"))
    figures = (_rate(beside, "tasks/s", summary=f"with {completed} completed"), ratio)
    return Workload(name, beside, 40_000, 5_000, figures, optional=optional, seconds=seconds)


def _of_w10(key: str, title: str, unit: str, better: Literal["higher", "lower"], goal: str) -> Figure:
    """A figure of W10 with a goal for itself."""
    return Figure(key, f"W10, {title}", unit, better, goal, absolute=True)


W10_OPEN = (
    _of_w10("kept", "worst minute, to what is enqueued", "times", "higher", ">= 0.95"),
    Figure("before_p99", "W10, pick-up p99 before the transaction", "ms", "lower"),
    Figure("open_p99", "W10, pick-up p99 while it is open", "ms", "lower"),
    _of_w10("slower", "pick-up p99 while it is open, to before", "times", "lower", "<= 3"),
    _of_w10("growth", "pick-up p99 in its second half, to its first half", "times", "lower", "<= 1.5"),
    Figure("dump", "W10, pg_dump while it is open", "s", "lower"),
    Figure("most_size", "W10, tables and indexes, most", "MB", "lower"),
    Figure("most_dead", "W10, dead rows, most", "rows", "lower"),
)


W9_DRAIN = (
    Figure(
        "worker_cpu", "drain, worker CPU", "us per task", "lower", "<= 25", True, "W9-cpu", summary="CPU of the worker"
    ),
    Figure("server_cpu", "drain, Postgres CPU", "us per task", "lower", label="W9-cpu"),
    Figure("wal", "drain, WAL", "bytes per task", "lower", "<= 1.2", label="W9-wal", summary="WAL of the drain"),
    Figure("enqueue_wal", "enqueue, WAL", "bytes per task", "lower", "<= 1.2", label="W9-wal"),
)
W9_STEPS = (Figure("statements", "workflows of 5 steps, statements", "per step", "lower", label="W9-statements"),)

W11_REST = (
    Figure("statements", "fleet at rest, statements", "per minute and worker", "lower"),
    Figure("cpu", "fleet at rest, CPU of a worker", "ms per minute", "lower"),
    Figure("server_cpu", "fleet at rest, CPU of Postgres", "ms per minute", "lower"),
)
W11_CONNECTIONS = tuple(
    Figure(key, f"connections at most, {who}", "connections", "lower", goal, absolute=True, label="W11-connections")
    for key, who, goal in (
        ("asleep", "a worker that sleeps", "<= 1"),
        ("working", "a worker that runs tasks", "<= 2"),
        ("client", "a client process", "<= 1"),
    )
)
W11_WAKE_UPS = (
    Figure("claims", "after one enqueue, claims", "statements", "lower", "<= 1", absolute=True, label="W11-wake-ups"),
    Figure("heartbeats", "after one enqueue, heartbeats", "statements", "lower", label="W11-wake-ups"),
)
W11_BACKLOG = (
    Figure("rate", "1,000,000 rows in 1,000 queues, drain by one worker", "tasks/s", "higher", label="W11-backlog"),
    Figure("fleet_rate", "the same, drain by 50 workers", "tasks/s", "higher", label="W11-backlog"),
    Figure("beside", "the same by one worker, to W2-1", "times", "higher", label="W11-backlog", of=("rate", "W2-1")),
    Figure("claim", "the same by one worker, a claim", "ms", "lower", label="W11-backlog"),
    Figure("commit", "the same by one worker, a commit with the next claim", "ms", "lower", label="W11-backlog"),
)

# The titles of charts whose figure has a label of its own.
LABELS = {
    "W5r-1000": "a run of 1,000 steps is taken over",
    "W5r-10000": "a run of 10,000 steps is taken over",
    "W9-cpu": "CPU time of a task in the drain with one worker",
    "W9-wal": "WAL of a task in the drain with one worker",
    "W9-statements": "statements of a step in workflows of five",
    "W11-connections": "connections of a process in a fleet of 50 workers",
    "W11-wake-ups": "statements that follow one enqueue in a fleet of 50 workers",
    "W11-backlog": "a drain of 1,000,000 rows in 1,000 queues",
}

WORKLOADS = (
    Workload(
        "W1-seq", "enqueue, one after the other", 5_000, 500, (_rate("enqueue, sequential", "tasks/s", ">= 0.8"),)
    ),
    Workload("W1-conc", "enqueue, 16 in flight", 5_000, 1_000, (_rate("enqueue, 16 in flight", "tasks/s", ">= 0.7"),)),
    Workload("W1-bulk", "enqueue in batches of 1,000", 10_000, 5_000, (_rate("enqueue, bulk", "tasks/s", ">= 0.4"),)),
    Workload("W2-1", "drain, one worker", 40_000, 5_000, (_rate("drain, one worker", "tasks/s", ">= 0.33"), *W9_DRAIN)),
    Workload("W2-2", "drain, two workers", 40_000, 5_000, (_rate("drain, two workers", "tasks/s", ">= 0.5"),)),
    Workload(
        "W3",
        "pick-up by an idle worker",
        200,
        60,
        (
            Figure("p50", "pick-up, p50", "ms", "lower", "<= 1.25", summary="pick-up, p50"),
            Figure("p95", "pick-up, p95", "ms", "lower"),
            Figure("p99", "pick-up, p99", "ms", "lower", "<= 1.25"),
        ),
    ),
    Workload(
        "W4",
        "workflows of five steps",
        1_000,
        200,
        (_rate("workflows of 5 steps", "workflows/s", ">= 3,000", absolute=True), *W9_STEPS),
    ),
    Workload("W5-200", "a run of 200 steps", 200, 200, (_step("200"),)),
    Workload("W5-1000", "a run of 1,000 steps", 1_000, 1_000, (_step("1,000"), *_recovery("1,000"))),
    Workload(
        "W5-10000",
        "a run of 10,000 steps",
        10_000,
        10_000,
        (
            _step("10,000"),
            Figure("growth", "a step of 10,000 to one of 200", "times", "lower", of=("step", "W5-200")),
            *_recovery("10,000"),
        ),
        seconds=120,
    ),
    Workload(
        "W6",
        "fan-out of 1,000 children",
        1_000,
        1_000,
        (Figure("seconds", "fan-out of 1,000 children", "s", "lower", "<= 0.15", True, summary="fan-out of 1,000"),),
    ),
    Workload(
        "W6-single",
        "fan-out of 1,000 children, each with its own commits",
        1_000,
        1_000,
        (Figure("seconds", "the same, each child with its own commits", "s", "lower"),),
        only="limit",
    ),
    _history("W7", "500,000"),
    _history("W7-10M", "10 million", optional=True, seconds=1_800),
    Workload(
        "W8",
        "idle worker",
        60,
        10,
        (
            Figure(
                "statements", "idle, statements", "per minute", "lower", "<= 15", True, summary="statements when idle"
            ),
            Figure("cpu", "idle, worker CPU", "ms per minute", "lower"),
            Figure("rss", "idle, worker memory", "MB", "lower"),
        ),
        seconds_each=1,
    ),
    _soak("W10", "soak at half of the drain's rate, one transaction held open in the middle third", *W10_OPEN),
    Workload(
        "W11",
        "a fleet of 50 workers that all serve 1,000 queues",
        50,
        5,
        (*W11_REST, *W11_CONNECTIONS, *W11_WAKE_UPS, *W11_BACKLOG),
        optional=True,
        seconds=600,
        only="currant",
    ),
    _soak("soak", "soak at half of the drain's rate, runs deleted two minutes after their end", only="currant"),
    Workload(
        "memory-drain",
        "memory of a worker that drains a million tasks",
        1_000_000,
        50_000,
        (
            Figure("rss_tenth", "drain of 1,000,000: worker memory after a tenth", "MB", "lower"),
            Figure("rss", "drain of 1,000,000: worker memory at the end", "MB", "lower"),
        ),
        optional=True,
        seconds=600,
        series=(Figure("rss", "worker memory", "MB", "lower"),),
    ),
    Workload(
        "memory-waiting",
        "memory of a worker with 10,000 waiting workflows",
        10_000,
        1_000,
        (
            Figure("rss", "10,000 waiting workflows: worker memory", "MB", "lower"),
            Figure("each", "10,000 waiting workflows: memory for each", "kB", "lower"),
        ),
        optional=True,
        seconds=120,
    ),
)


@dataclass
class Run:
    """One turn: a candidate at a workload in a round. `void` says why it does not count; its values are then empty.

    `notes` say what was left out.
    """

    workload: str
    candidate: str
    round: int
    items: int
    values: dict[str, float] = field(default_factory=dict)
    void: str = ""
    series: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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
            if run.workload == workload and run.candidate == candidate and key in run.values
        ]

    def add(self, run: Run, workload: Workload) -> None:
        """Take a turn in, with the figures that set it beside earlier turns of its candidate in its round."""
        if not run.void:
            for figure in workload.figures:
                if figure.of is not None and (other := self._beside(run, figure.of)):
                    run.values[figure.key] = run.values[figure.of[0]] / other
        self.runs.append(run)

    def _beside(self, run: Run, of: tuple[str, str]) -> float | None:
        key, workload = of
        for other in self.runs:
            if (other.workload, other.candidate, other.round) == (workload, run.candidate, run.round):
                return other.values.get(key)
        return None

    @property
    def voids(self) -> list[Run]:
        """The turns that do not count."""
        return [run for run in self.runs if run.void]

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The content of results.json."""
        given = json.loads(text)
        return cls(**{**given, "runs": [Run(**run) for run in given["runs"]]})

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        return asdict(self)


def select(only: str | None) -> list[Workload]:
    """The workloads of `--only W2,W4-...`, by id, group or label, and those that they are set beside.

    Without `only` all that are not optional; a group that has others leaves those out. Raises `ValueError` for a name
    that is none.
    """
    if only is None:
        return [workload for workload in WORKLOADS if not workload.optional]
    names = {name.strip() for name in only.split(",")} - {""}
    known = {label for workload in WORKLOADS for label in workload.labels}
    if names - known or not names:
        unknown = ", ".join(sorted(names - known)) or "given"
        raise ValueError(f"no workload {unknown}; there are {', '.join(sorted(known))}")
    usual = {label for workload in WORKLOADS if not workload.optional for label in workload.labels}
    wanted = {
        workload.id for workload in WORKLOADS if workload.labels & (names - usual if workload.optional else names)
    }
    wanted |= {other for workload in WORKLOADS if workload.id in wanted for other in workload.needs}
    return [workload for workload in WORKLOADS if workload.id in wanted]
