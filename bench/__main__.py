"""`python -m bench`: runs the suite. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import cluster, report
from bench.candidates import LIMIT, MODULES, load
from bench.chart import number
from bench.model import Results, Run, Workload, select
from bench.processes import ROOT
from bench.suite import plans, take_turn
from currant.embedded import EmbeddedPostgresError

HOME = ROOT / "bench"
SCRATCH = ROOT / ".currant" / "bench"
ROUNDS = 3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Currant beside bare SQL on the same cluster. Only a whole, clean run of at least "
        f"{ROUNDS} rounds replaces bench/RESULTS.md; any other is written to .currant/bench/results.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does everything work?")
    parser.add_argument("--rounds", type=int, help=f"rounds of each workload, default {ROUNDS} (1 with --quick)")
    parser.add_argument("--only", help="workloads, such as W2,W4 or W1-seq")
    parser.add_argument("--output", type=Path, help="write the results there instead")
    given = parser.parse_args(arguments)
    try:
        given.workloads = select(given.only)
    except ValueError as error:
        parser.error(str(error))
    given.rounds = given.rounds if given.rounds is not None else (1 if given.quick else ROUNDS)
    if given.rounds < 1:
        parser.error("--rounds is at least 1")
    return given


def is_whole(given: argparse.Namespace, results: Results) -> bool:
    """Whether this run may stand as the project's result."""
    return not given.quick and given.rounds >= ROUNDS and given.only is None and not results.voids


def measure(given: argparse.Namespace, admin_url: str, console: Console) -> Results:
    """Take all turns, telling how it goes."""
    candidates = list(MODULES)
    results = Results(
        when=datetime.now(UTC).strftime("%Y-%m-%d"),
        rounds=given.rounds,
        quick=given.quick,
        workloads=[workload.id for workload in given.workloads],
        candidates=candidates,
        machine=cluster.machine(SCRATCH),
        server=cluster.set_up(admin_url),
        settings={name: load(name).settings() for name in candidates},
    )
    print_facts(results, console)
    todo = plans(given.workloads, candidates, given.rounds, given.quick)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(todo))
        for plan in todo:
            progress.update(task, description=f"round {plan.round}: {plan.workload.title}, {plan.candidate}")
            run = take_turn(plan, admin_url)
            results.add(run, plan.workload)
            progress.console.print(run_line(plan.workload, run), markup=False, highlight=False)
            progress.advance(task)
    return results


def run_line(workload: Workload, run: Run) -> str:
    """One turn in one line."""
    figures = ", ".join(
        f"{figure.key} {number(run.values[figure.key])}" for figure in workload.figures if figure.key in run.values
    )
    return f"{run.round}  {run.workload:10}{run.candidate:9}{f'VOID: {run.void}' if run.void else figures}"


def print_facts(results: Results, console: Console) -> None:
    """The settings used, before anything is measured."""
    for title, facts in (("machine", results.machine), ("postgres", results.server), *results.settings.items()):
        console.print(f"{title}: " + "; ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)


def print_table(results: Results, console: Console) -> None:
    """The table for the terminal."""
    for candidate in results.candidates:
        if candidate == LIMIT:
            continue
        table = Table(*report.head(candidate), title=f"{candidate} beside bare SQL", title_justify="left")
        for row in report.rows(results, candidate):
            table.add_row(*row.cells)
        console.print(table)
    for line in report.void_lines(results):
        console.print(line.removeprefix("- ").replace("**void**", "void"), markup=False, style="red")


def run(given: argparse.Namespace, console: Console) -> int:
    """Run the suite on a new cluster; give the exit code: 1 when a turn was void."""
    start = time.monotonic()
    data = SCRATCH / f"server-{os.getpid()}"
    with cluster.server(data) as server:
        results = measure(given, server.url, console)
    shutil.rmtree(data, ignore_errors=True)
    print_table(results, console)
    place = given.output or (HOME if is_whole(given, results) else SCRATCH / "results")
    report.write(results, place)
    console.print(
        f"{os.path.relpath(place)}/RESULTS.md written after {time.monotonic() - start:.0f} s", highlight=False
    )
    return 1 if results.voids else 0


def main() -> int:
    """Parse the arguments, run; give the exit code."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        return run(parse(), console)
    except EmbeddedPostgresError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
