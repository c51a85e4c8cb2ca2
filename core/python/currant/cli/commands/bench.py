"""`currant bench`: a short self-test against the user's own database.

It asks for the facts of the server (`measure.facts_of`), decides whether it may begin (`judge`), says what it will do,
measures (`measure`), and says what the figures mean (`judge`, `show`). docs/reference/bench.md is for users.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import click

from currant.cli.bench.judge import in_flight
from currant.cli.bench.measure import Bench, Interrupted, Stop, facts_of, remove_left_behind
from currant.cli.bench.model import MOST_TASKS, Facts, Plan, Report
from currant.cli.bench.show import print_report
from currant.cli.output import print_json, say
from currant.cli.run_worker import loop_factory
from currant.client import configure, default_client

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command()
@click.option("--database-url", metavar="URL", help="Another database than that of WORKFLOWS_DATABASE_URL.")
@click.option(
    "--tasks",
    type=click.IntRange(100, MOST_TASKS),
    default=10_000,
    show_default=True,
    help="No-op tasks, and rows of bare SQL, at most.",
)
@click.option(
    "--seconds", type=click.FloatRange(1, 300), default=20.0, show_default=True, help="About how long it may take."
)
@click.option("--yes", "anyway", is_flag=True, help="Begin although its worker would start or delete what is due.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(database_url: str | None, tasks: int, seconds: float, anyway: bool, as_json: bool) -> None:
    """Measure what the database allows and what Currant makes of it: commits, enqueues, drain, pick-up.

    It works on a queue and a scratch table of its own, and removes both at its end, also after Ctrl-C.
    """
    if database_url is not None:
        configure(database_url=database_url)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        report = runner.run(_run(tasks, seconds, anyway))
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report)


async def _run(tasks: int, seconds: float, anyway: bool) -> Report:
    stop = Stop()
    heard: list[int] = []
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _on_signal, number, heard, stop)
    try:
        facts = await stop.unless(facts_of(default_client(), anyway))
        killed = await remove_left_behind(default_client(), facts)
        if killed:
            say(f"removed what {killed} earlier self-tests left that were killed", err=True)
        bench = Bench(facts, Plan(tasks, seconds, in_flight(facts)), _progress, stop)
        _announce(facts, bench)
        return await bench.run()
    except Interrupted:
        say("ended early; nothing of it is left", err=True)
        raise click.exceptions.Exit(128 + heard[0]) from None
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _on_signal(number: int, heard: list[int], stop: Stop) -> None:
    heard.append(number)
    if len(heard) == 1:
        stop.ask()
        return
    say("ended at once: the queue and the table named above may be left", err=True)
    os._exit(128 + number)


def _announce(facts: Facts, bench: Bench) -> None:
    """Say on standard error what it will do: standard output is for the result alone."""
    plan, database = bench.report.plan, bench.database
    lines = [f"up to about {plan.seconds:g} s on the database {facts['database']} (PostgreSQL {facts['version']}):"]
    lines.append(f"  up to {plan.rows:,} no-op tasks on the queue {database.queue}, and a worker for them")
    if bench.report.no_limit is None:
        lines.append(f"  as many rows in the table {database.table}, by up to {plan.in_flight} connections")
    lines.append("  all of it is removed at the end")
    for line in lines:
        say(line, err=True)


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        say(f"{what} ...", err=True)
