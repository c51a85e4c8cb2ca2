"""`currant workers`: the live workers."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from currant.cli.arguments import as_json
from currant.cli.output import format_duration, print_json, print_table, seconds_between
from currant.rust_bridge import RustBridge


@click.command()
@as_json
def workers(as_json: bool) -> None:
    """Show the workers: where they run, what they serve, how busy they are, and whether they are alive."""
    rows = RustBridge().workers()
    if as_json:
        print_json(rows)
        return
    now = datetime.now(UTC).isoformat()
    columns = ("name", "state", "queues", "running", "pool", "pod", "host", "pid", "build", "up", "heartbeat", "id")
    cells = [
        [
            row["name"],
            row["state"],
            ", ".join(row["queues"]),
            f"{row['running']}/{row['concurrency']}",
            row["pool"] or "-",
            row["pod_name"] or "-",
            row["host"],
            str(row["pid"] or "-"),
            row["build"] or "-",
            format_duration(seconds_between(row["started_at"], now)),
            f"{format_duration(seconds_between(row['last_heartbeat'], now))} ago",
            row["id"],
        ]
        for row in rows
    ]
    print_table(columns, cells)
