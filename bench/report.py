"""The results: the table, RESULTS.md, results.json and the charts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.candidates import LIMIT, MODULES, OWN
from bench.chart import bar_chart, line_chart, number, share_chart
from bench.model import LABELS, WORKLOADS, Figure, Results, Workload
from bench.stats import Summary, ratio

SUMMARY = "summary"


@dataclass(frozen=True)
class Row:
    """One figure of one candidate beside the limit."""

    workload: Workload
    figure: Figure
    candidate: str
    limit: Summary | None
    own: Summary | None
    void: bool = False

    @property
    def label(self) -> str:
        """The workload's name in the results."""
        return self.figure.label or self.workload.id

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return self.figure.met(self.own.median if self.own else None, ratio(self.own, self.limit))

    @property
    def share(self) -> float | None:
        """How much of the limit's speed it reaches: for times and counts the ratio upside down."""
        return ratio(self.own, self.limit) if self.figure.better == "higher" else ratio(self.limit, self.own)

    @property
    def share_aimed_at(self) -> float | None:
        """The goal as such a share."""
        if not self.figure.goal or (self.figure.absolute and not (self.limit and self.limit.median)):
            return None
        bound = self.figure.bound / (self.limit.median if self.figure.absolute and self.limit else 1)
        return bound if self.figure.better == "higher" else 1 / bound

    @property
    def cells(self) -> tuple[str, ...]:
        """As HEAD names them."""
        share = ratio(self.own, self.limit)
        return (
            self.label,
            f"{self.figure.title} ({self.figure.unit})",
            middle(self.limit),
            "void" if self.void else middle(self.own),
            "-" if share is None else f"{share:.3g}",
            self.figure.aim or self.figure.better,
            {None: "", True: "yes", False: "no"}[self.met],
            span(self.limit),
            span(self.own),
        )


def head(candidate: str) -> tuple[str, ...]:
    """The titles of the columns."""
    return ("", "figure", LIMIT, candidate, "ratio", "aim", "met", f"{LIMIT}, min..max", f"{candidate}, min..max")


def middle(summary: Summary | None) -> str:
    """The median."""
    return "-" if summary is None else number(summary.median)


def span(summary: Summary | None) -> str:
    """From the least to the greatest round."""
    return "-" if summary is None else f"{number(summary.low)}..{number(summary.high)}"


def rows(results: Results, candidate: str) -> list[Row]:
    """Every figure that was measured, in the order of the workloads."""
    found = []
    voids = [run for run in results.voids if run.candidate == candidate]
    for workload in WORKLOADS:
        if workload.id in results.workloads:
            for figure in workload.figures:
                limit, own = (Summary.of(results.values(workload.id, who, figure.key)) for who in (LIMIT, candidate))
                if limit or own or figure is workload.figures[0]:
                    void = own is None and any(run.workload == workload.id for run in voids)
                    found.append(Row(workload, figure, candidate, limit, own, void))
    return sorted(found, key=lambda row: place(row.label))


def place(label: str) -> int:
    """Where a label stands in the order of BENCHMARK."""
    number = label.partition("-")[0].strip("Wr")
    return int(number) if number.isdecimal() else 99


def peers(results: Results) -> list[str]:
    """Those who are neither the limit nor Currant."""
    return [name for name in results.candidates if name not in MODULES]


def peer_lines(results: Results) -> list[tuple[str, ...]]:
    """The medians of all candidates, for the figures that a peer has."""
    columns = [rows(results, name) for name in (OWN, *peers(results))]
    there = {(row.workload.id, row.figure.key): row for column in columns[1:] for row in column if row.own or row.void}
    found = []
    for row in columns[0]:
        if (row.workload.id, row.figure.key) in there:
            others = [cell_of(column, row) for column in columns[1:]]
            found.append((*row.cells[:4], *others))
    return found


def cell_of(column: list[Row], like: Row) -> str:
    """The median in a candidate's rows that is of the same figure."""
    same = [row.cells[3] for row in column if (row.workload, row.figure) == (like.workload, like.figure)]
    return same[0] if same else "-"


def markdown_table(titles: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", "---", *["--:"] * (len(titles) - 2)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, rule, *lines))


def markdown(results: Results) -> str:
    """RESULTS.md."""
    whole_share = "speed as a share of bare SQL, and what Currant aims for"
    parts = [
        "# Benchmark results",
        "",
        "Written by `make bench`; what is measured and how: [README.md](README.md). The ratios are the result: each is",
        f"the median of {results.rounds} rounds divided by that of bare SQL (`limit`), on the same cluster in the same",
        "run. For rates more is better, for times and counts less. Absolute figures are context: they belong to this",
        "machine.",
        "",
        *([f"![{whole_share}](charts/{SUMMARY}.svg)", ""] if summary(results) else []),
        markdown_table(head(OWN), [row.cells for row in rows(results, OWN)]),
        "",
    ]
    if others := peer_lines(results):
        titles = ("", "figure", LIMIT, OWN, *peers(results))
        parts += [
            "## Beside others",
            "",
            "Medians; each with the settings below.",
            "",
            markdown_table(titles, others),
            "",
        ]
    parts += void_lines(results) + note_lines(results)
    parts += [f"![{drawing.title}](charts/{drawing.name}.svg)" for drawing in charts(results)]
    parts += series_sections(results)
    sections = [("Machine", results.machine), ("Postgres", results.server)]
    sections += [(name, results.settings[name]) for name in results.candidates]
    for title, facts in sections:
        parts += ["", f"## {title}", *(f"- {name}: {value}" for name, value in facts.items())]
    return "\n".join([*parts, "", f"Measured on {results.when}.", ""])


def void_lines(results: Results) -> list[str]:
    """One line for each turn that does not count."""
    return [f"- **void**: {run.workload}, {run.candidate}, round {run.round}: {run.void}" for run in results.voids]


def note_lines(results: Results) -> list[str]:
    """One line for each thing that a turn has left out."""
    runs = [(f"- {run.workload}, {run.candidate}, round {run.round}", run.notes) for run in results.runs]
    return [f"{turn}: {note}" for turn, notes in runs for note in notes]


@dataclass(frozen=True)
class Drawing:
    """A chart, and the name of its file."""

    name: str
    title: str
    svg: str


def charts(results: Results) -> list[Drawing]:
    """One for each workload and label, and the lines of those that have some, in the order of the table."""
    found = []
    for workload in WORKLOADS:
        if workload.id in results.workloads:
            found += [
                bars(results, workload, label, figures)
                for label, figures in workload.charts.items()
                if any(results.values(workload.id, name, figures[0].key) for name in results.candidates)
            ]
            found += lines(results, workload)
    return sorted(found, key=lambda drawing: place(drawing.name))


def bars(results: Results, workload: Workload, label: str, figures: list[Figure]) -> Drawing:
    """The bars of every candidate."""
    found = []
    for figure in figures:
        for candidate in results.candidates:
            summary = Summary.of(results.values(workload.id, candidate, figure.key))
            if summary is not None:
                name = f"{candidate}, {figure.title.split(', ')[-1]}" if len(figures) > 1 else candidate
                found.append((name, candidate, summary))
    title = LABELS.get(label, workload.title)
    subtitle = f"{figures[0].unit}, {figures[0].better} is better; median of {results.rounds}, whiskers min and max"
    return Drawing(label, title, bar_chart(f"{label}: {title}", subtitle, found))


def lines(results: Results, workload: Workload) -> list[Drawing]:
    """A chart for each series of a workload, with a line for each candidate: of its last round that counts."""
    found = []
    for figure in workload.series:
        last = {
            run.candidate: run.series[figure.key]
            for run in results.runs
            if run.workload == workload.id and figure.key in run.series
        }
        if last:
            title = f"{workload.title}: {figure.title}"
            svg = line_chart(f"{workload.id}: {figure.title}", f"{figure.unit}; {workload.title}", last)
            found.append(Drawing(f"{workload.id}-{figure.key}", title, svg))
    return found


def series_sections(results: Results) -> list[str]:
    """The tables of what was measured each minute."""
    found = []
    for run in results.runs:
        workload = next(workload for workload in WORKLOADS if workload.id == run.workload)
        if run.series and not run.void:
            figures = [figure for figure in workload.series if figure.key in run.series]
            columns = [[number(value) for value in run.series[figure.key]] for figure in figures]
            titles = ("", *(f"{figure.title} ({figure.unit})" for figure in figures))
            table = [(str(place), *cells) for place, cells in enumerate(zip(*columns, strict=True), 1)]
            heading = f"## {run.workload}, {run.candidate}, round {run.round}: {workload.title}"
            found += ["", heading, "", markdown_table(titles, table)]
    return found


def summary(results: Results) -> str | None:
    """The one chart for the README: of each workload the share of the limit's speed, and the share aimed at."""
    found = [
        (f"{row.label}  {row.figure.summary}", row.share, row.share_aimed_at)
        for row in rows(results, OWN)
        if row.figure.summary and not row.workload.optional and row.share is not None
    ]
    return share_chart("Currant: speed as a share of bare SQL on the same Postgres", found) if found else None


def files(results: Results, name: str = "RESULTS") -> dict[str, str]:
    """The texts that are made of the results, by the path of their file beside the figures."""
    found = {f"{name}.md": markdown(results)}
    found |= {f"charts/{drawing.name}.svg": drawing.svg for drawing in charts(results)}
    if (svg := summary(results)) is not None:
        found[f"charts/{SUMMARY}.svg"] = svg
    return found


def write(results: Results, directory: Path, name: str = "RESULTS") -> None:
    """Write the figures, and all that is made of them, into a directory."""
    (directory / "charts").mkdir(parents=True, exist_ok=True)
    (directory / f"{name.lower()}.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    for path, text in files(results, name).items():
        (directory / path).write_text(text)
