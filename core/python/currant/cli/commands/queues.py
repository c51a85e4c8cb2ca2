"""`currant queues`: what each queue has, and who serves it."""

from __future__ import annotations

import click

from currant.cli.arguments import as_json
from currant.cli.known_queues import check_queue
from currant.cli.output import Row, format_duration, print_json, print_table
from currant.rust_bridge import RustBridge


def _idle_queue(name: str) -> Row:
    """A queue where all is done and that nobody serves now: the database counts nothing for it."""
    counts = dict.fromkeys(("ready", "blocked", "delayed", "running", "suspended", "held"), 0)
    return {"queue": name, **counts, "oldest_ready_seconds": 0.0, "workers": 0}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@as_json
def queues(names: tuple[str, ...], as_json: bool) -> None:
    """Show the queues (or only those NAMEd): what is ready, blocked, delayed, running, suspended, and who serves them.

    What is blocked waits for the definition of its function: its concurrency limit is reached, or it is suspended.
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
    print_table(("queue", *counts, "oldest ready", "workers"), cells)
