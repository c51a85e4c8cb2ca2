"""The output of `currant bench`: a table, and sentences for people."""

from __future__ import annotations

import textwrap

from currant.cli.bench.judge import ms
from currant.cli.bench.model import BULK, Figures, Measure, Report
from currant.cli.output import for_people, print_table, say

COLUMNS = ("measure", "bare SQL", "Currant", "ratio")
COLOURS = {"danger": "red", "warning": "yellow", "info": None}
WIDTH = 100


def print_report(report: Report) -> None:
    """The table, then what it means."""
    print_table(COLUMNS, rows(report))
    if report.no_limit is not None:
        say()
        say(report.no_limit)
    say()
    for note in report.notes:
        _print_note(note.level, note.text)


def rows(report: Report) -> list[list[str]]:
    """The table's cells."""
    measures = report.measures
    many = f"{report.plan.in_flight} in flight"
    return [
        row("round trip, p50 / p95 / p99", measures["round_trip"]),
        row("commit of one row, p50 / p95 / p99", measures["commit"]),
        row("enqueue, one after the other", measures["enqueue_one_by_one"]),
        row(f"enqueue, {many}", measures["enqueue_concurrent"]),
        row(f"enqueue, {BULK:,} at a time", measures["enqueue_bulk"]),
        row("drain by one worker", measures["drain"]),
        row("pick-up by an idle worker, p50 / p95 / p99", measures["pick_up"]),
    ]


def row(title: str, measure: Measure) -> list[str]:
    """One measure."""
    ratio = "-" if measure.ratio is None else f"{measure.ratio:.2f}"
    return [title, _figures(measure.bare), _figures(measure.currant), ratio]


def _figures(figures: Figures | None) -> str:
    if figures is None:
        return "-"
    if figures.rate is not None:
        return f"{figures.rate:,.0f}/s"
    times = (figures.p50, figures.p95, figures.p99)
    return f"{' / '.join(ms(time or 0.0).removesuffix(' ms') for time in times)} ms"


def _print_note(level: str, text: str) -> None:
    mark = {"danger": "DANGER: ", "warning": "warning: "}.get(level, "")
    if not for_people():
        say(f"{mark}{text}")
        return
    for line in textwrap.wrap(f"{mark}{text}", WIDTH):
        say(line, colour=COLOURS[level])
