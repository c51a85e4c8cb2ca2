"""`currant schedules`: every schedule with its fire times."""

from __future__ import annotations

import click

from currant.cli.arguments import as_json
from currant.cli.output import format_time, print_json, print_table, shorten
from currant.rust_bridge import RustBridge


@click.command()
@as_json
def schedules(as_json: bool) -> None:
    """Show the schedules: the function, the next and the last fire time, and its outcome."""
    rows = RustBridge().list_schedules()
    if as_json:
        print_json(rows)
        return
    columns = ("function", "name", "cron", "zone", "next", "last", "outcome", "missed", "overlap", "suspended", "owner")
    cells = [
        [
            row["function"],
            row["name"],
            row["cron"],
            row["time_zone"],
            format_time(row["next_fire_at"]),
            format_time(row["last_fire_at"]),
            shorten(row["last_outcome"] or "-", 60),
            str(row["missed"]),
            row["overlap"],
            "yes" if row["suspended"] else "no",
            row["owner"],
        ]
        for row in rows
    ]
    print_table(columns, cells)
