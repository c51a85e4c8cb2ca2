"""What people read: the table, RESULTS.md, results.json and the charts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.candidates import LIMIT
from bench.chart import bar_chart, number
from bench.model import WORKLOADS, Figure, Results, Workload
from bench.stats import Summary, ratio


@dataclass(frozen=True)
class Row:
    """One figure of one candidate beside the limit."""

    workload: Workload
    figure: Figure
    candidate: str
    limit: Summary | None
    own: Summary | None

    @property
    def cells(self) -> tuple[str, ...]:
        """As HEAD names them."""
        share = ratio(self.own, self.limit)
        return (
            self.figure.label or self.workload.id,
            f"{self.figure.title} ({self.figure.unit})",
            middle(self.limit),
            middle(self.own),
            "-" if share is None else f"{share:.3g}",
            self.figure.aim or self.figure.better,
            span(self.limit),
            span(self.own),
        )


def head(candidate: str) -> tuple[str, ...]:
    """The titles of the columns."""
    return ("", "figure", LIMIT, candidate, "ratio", "aim", f"{LIMIT}, min..max", f"{candidate}, min..max")


def middle(summary: Summary | None) -> str:
    """The median."""
    return "void" if summary is None else number(summary.median)


def span(summary: Summary | None) -> str:
    """From the least to the greatest round."""
    return "-" if summary is None else f"{number(summary.low)}..{number(summary.high)}"


def rows(results: Results, candidate: str) -> list[Row]:
    """Every figure that was measured, in the order of the workloads."""
    found = []
    for workload in WORKLOADS:
        if workload.id in results.workloads:
            for figure in workload.figures:
                limit, own = (Summary.of(results.values(workload.id, who, figure.key)) for who in (LIMIT, candidate))
                if limit or own or figure is workload.figures[0]:
                    found.append(Row(workload, figure, candidate, limit, own))
    return found


def markdown_table(titles: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", "---", *["--:"] * (len(titles) - 2)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, rule, *lines))


def markdown(results: Results) -> str:
    """RESULTS.md."""
    others = [name for name in results.candidates if name != LIMIT]
    parts = [
        "# Benchmark results",
        "",
        "Written by `make bench`; what is measured and how: [README.md](README.md). The ratios are the result: each is",
        f"the median of {results.rounds} rounds divided by that of bare SQL (`limit`), on the same cluster in the same",
        "run. For rates more is better, for times and counts less. Absolute figures are context: they belong to this",
        "machine.",
        "",
    ]
    for name in others:
        parts += [markdown_table(head(name), [row.cells for row in rows(results, name)]), ""]
    parts += void_lines(results)
    charts = [workload for workload in WORKLOADS if workload.id in results.workloads and bars(results, workload)]
    parts += [f"![{workload.title}](charts/{workload.id}.svg)" for workload in charts]
    sections = [("Machine", results.machine), ("Postgres", results.server)]
    sections += [(name, results.settings[name]) for name in results.candidates]
    for title, facts in sections:
        parts += ["", f"## {title}", *(f"- {name}: {value}" for name, value in facts.items())]
    return "\n".join([*parts, "", f"Measured on {results.when}.", ""])


def void_lines(results: Results) -> list[str]:
    """One line for each turn that does not count."""
    return [f"- **void**: {run.workload}, {run.candidate}, round {run.round}: {run.void}" for run in results.voids]


def bars(results: Results, workload: Workload) -> list[tuple[str, str, Summary]]:
    """The bars of a workload's chart: of the figures that share the first one's unit."""
    found = []
    for figure in (figure for figure in workload.figures if figure.unit == workload.figures[0].unit):
        for candidate in results.candidates:
            summary = Summary.of(results.values(workload.id, candidate, figure.key))
            if summary is not None:
                several = len(workload.figures) > 1
                found.append(
                    (f"{candidate}, {figure.title.split(', ')[-1]}" if several else candidate, candidate, summary)
                )
    return found


def chart(results: Results, workload: Workload) -> str | None:
    """The chart of a workload; None when every round was void."""
    found = bars(results, workload)
    if not found:
        return None
    figure = workload.figures[0]
    subtitle = f"{figure.unit}, {figure.better} is better; median of {results.rounds}, whiskers min and max"
    return bar_chart(f"{workload.id}: {workload.title}", subtitle, found)


def write(results: Results, directory: Path) -> None:
    """Write everything into a directory."""
    charts = directory / "charts"
    charts.mkdir(parents=True, exist_ok=True)
    (directory / "RESULTS.md").write_text(markdown(results))
    (directory / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    for workload in WORKLOADS:
        if workload.id in results.workloads and (svg := chart(results, workload)) is not None:
            (charts / f"{workload.id}.svg").write_text(svg)
