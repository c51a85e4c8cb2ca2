"""`currant queues`: the executions of each queue, by what they wait for, and its workers."""

from __future__ import annotations

import click

from currant.cli.arguments import as_json
from currant.cli.known_queues import check_queue
from currant.cli.output import Row, format_duration, print_json, print_table
from currant.rust_bridge import RustBridge


def _idle_queue(name: str) -> Row:
    """The row of a queue without unfinished executions and without workers: the database has none for it."""
    counts = dict.fromkeys(("ready", "blocked", "delayed", "running", "suspended", "held"), 0)
    return {"queue": name, **counts, "oldest_ready_seconds": 0.0, "workers": 0}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@as_json
def queues(names: tuple[str, ...], as_json: bool) -> None:
    """Show how many executions of each queue (or of each NAME) are ready, blocked, delayed, running, suspended.

    Blocked executions await a permit: the concurrency limit of their function is reached, or its definition suspends
    it. Incompatible ones do not fit the deployed code; they are among the suspended ones.
    """
    bridge = RustBridge()
    rows = bridge.queues()
    for name in names:
        if not any(row["queue"] == name for row in rows):
            check_queue(bridge, name)
            rows.append(_idle_queue(name))
    rows = [row for row in rows if not names or row["queue"] in names]
    if as_json:
        print_json(rows)
        return
    counts = ("ready", "blocked", "delayed", "running", "suspended", "held")
    cells = [
        [
            row["queue"],
            *(str(row[count]) for count in counts),
            format_duration(row["oldest_ready_seconds"] if row["ready"] else None),
            str(row["workers"]),
        ]
        for row in rows
    ]
    print_table(("queue", *counts[:-1], "incompatible", "oldest ready", "workers"), cells)
