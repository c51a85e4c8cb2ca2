"""`currant retention`: how long ended runs of a queue are kept."""

from __future__ import annotations

import click

from currant._base.durations import parse_duration
from currant.cli.arguments import as_json
from currant.cli.functions import Mistake
from currant.cli.output import format_duration, print_json, print_table, say
from currant.rust_bridge import RustBridge


@click.group()
def retention() -> None:
    """Set how long ended runs of a queue are kept, by default for ever. A function's definition outranks it."""


@retention.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Show the queues whose ended runs are deleted, and after how long."""
    rows = RustBridge().queue_retentions()
    if as_json:
        print_json(rows)
        return
    print_table(("queue", "ended runs stay"), [[row["queue"], format_duration(row["retention"])] for row in rows])


@retention.command("set")
@click.argument("queue")
@click.argument("duration")
def set_(queue: str, duration: str) -> None:
    """Delete runs of QUEUE, with their steps, DURATION (12h, 7d) after their end; this also deletes old runs."""
    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        raise Mistake(str(error)) from None
    RustBridge().set_queue_retention(queue, seconds)
    say(f"ended runs of {queue} stay {format_duration(seconds)}")


@retention.command()
@click.argument("queue")
def unset(queue: str) -> None:
    """Keep ended runs of QUEUE for ever."""
    RustBridge().set_queue_retention(queue, None)
    say(f"ended runs of {queue} stay")
