"""`python -m bench`: runs the suite. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import cluster, peers, report
from bench.candidates import LIMIT, MODULES, OWN, load
from bench.chart import number
from bench.model import WORKLOADS, Results, Run, Workload, select
from bench.processes import ROOT
from bench.readme import NoFigure, how_fast
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
    parser.add_argument("--only", help="workloads, such as W2,W4 or W1-seq, W10, W7-10M, soak, memory")
    parser.add_argument(
        "--peers",
        nargs="?",
        const=",".join(peers.PEERS),
        default="",
        metavar="NAMES",
        help=f"with those of {', '.join(peers.PEERS)} that are installed, or with these, such as absurd,celery",
    )
    parser.add_argument("--soak-minutes", type=int, help="how long the soaks are, default 30")
    parser.add_argument("--output", type=Path, help="write the results there instead")
    parser.add_argument(
        "--summary", action="store_true", help="measure nothing: print the README's lines from bench/results.json"
    )
    given = parser.parse_args(arguments)
    try:
        given.workloads = select(given.only)
    except ValueError as error:
        parser.error(str(error))
    given.peers = [name for name in given.peers.split(",") if name]
    if unknown := set(given.peers) - set(peers.PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(peers.PEERS)}")
    given.rounds = given.rounds if given.rounds is not None else (1 if given.quick else ROUNDS)
    if given.rounds < 1:
        parser.error("--rounds is at least 1")
    if given.soak_minutes is not None:
        if given.soak_minutes < 3:
            parser.error("--soak-minutes is at least 3: a transaction is held open for the second third")
        given.workloads = [of_length(workload, given.soak_minutes) for workload in given.workloads]
    return given


def of_length(workload: Workload, minutes: int) -> Workload:
    """The workload; if it is a soak, so many minutes of it."""
    return replace(workload, items=minutes, quick=minutes) if workload.id in ("W10", "soak") else workload


def is_whole(given: argparse.Namespace, results: Results) -> bool:
    """Whether this run may stand as the project's result. A peer's void turn does not speak against the others."""
    ours = [run for run in results.voids if run.candidate in MODULES]
    return not given.quick and given.rounds >= ROUNDS and given.only is None and not ours


def is_long(given: argparse.Namespace, results: Results) -> bool:
    """Whether this run may stand as the result of what takes long: all of that, at its length."""
    wanted = {(workload.id, workload.items) for workload in WORKLOADS if workload.optional}
    there = {(workload.id, workload.items) for workload in given.workloads}
    return not given.quick and wanted <= there and not results.voids


def measure(given: argparse.Namespace, admin_url: str, console: Console) -> Results:
    """Take all turns, telling how it goes."""
    candidates = [*MODULES, *find_peers(given, console)]
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


def find_peers(given: argparse.Namespace, console: Console) -> list[str]:
    """The peers that take part; tells which do not."""
    present, lines = peers.available(given.peers)
    for line in lines:
        console.print(line, markup=False, highlight=False)
    return present


def run_line(workload: Workload, run: Run) -> str:
    """One turn in one line."""
    figures = ", ".join(
        f"{figure.key} {number(run.values[figure.key])}" for figure in workload.figures if figure.key in run.values
    )
    said = [f"VOID: {run.void}"] if run.void else [figures, *run.notes]
    return f"{run.round}  {run.workload:10}{run.candidate:16}{'; '.join(said)}"


def print_facts(results: Results, console: Console) -> None:
    """The settings used, before anything is measured."""
    for title, facts in (("machine", results.machine), ("postgres", results.server), *results.settings.items()):
        console.print(f"{title}: " + "; ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)


def print_table(results: Results, console: Console) -> None:
    """The table for the terminal."""
    table = Table(*report.head(OWN), title=f"{OWN} beside bare SQL", title_justify="left")
    for row in report.rows(results, OWN):
        table.add_row(*row.cells)
    console.print(table)
    if lines := report.peer_lines(results):
        table = Table("", "figure", LIMIT, OWN, *report.peers(results), title="beside others", title_justify="left")
        for cells in lines:
            table.add_row(*cells)
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
    place, name = given.output or SCRATCH / "results", "RESULTS"
    if is_whole(given, results):
        place = given.output or HOME
    elif is_long(given, results):
        place, name = given.output or HOME, "LONG"
    report.write(results, place, name)
    seconds = time.monotonic() - start
    console.print(f"{os.path.relpath(place)}/{name}.md written after {seconds:.0f} s", highlight=False)
    return 1 if results.voids else 0


def print_summary(console: Console) -> int:
    """The README's lines, from the last whole run."""
    results = Results.from_json((HOME / "results.json").read_text())
    for line in how_fast(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def main() -> int:
    """Parse the arguments, run; give the exit code."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    given = parse()
    try:
        return print_summary(console) if given.summary else run(given, console)
    except (EmbeddedPostgresError, NoFigure, FileNotFoundError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
