"""`currant list`: executions, newest first."""

from __future__ import annotations

import click

from currant.cli.arguments import as_json
from currant.cli.known_queues import check_queue
from currant.cli.output import Row, format_duration, format_time, print_json, print_table, seconds_between, state_of
from currant.rust_bridge import RustBridge

STATES = ("pending", "running", "suspended", "completed", "failed", "cancelled")


@click.command("list")
@click.option("-q", "--queue", help="Only of this queue.")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--function", help="Only of this function (its registered name).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, newest first.")
@click.option(
    "--incompatible",
    "--held",
    "held",
    is_flag=True,
    help="Only runs that do not fit the deployed code, with the step that differs. --held is the older name.",
)
@click.option("--roots", is_flag=True, help="Only runs, not their steps.")
@as_json
def list_(
    queue: str | None, state: str | None, function: str | None, limit: int, held: bool, roots: bool, as_json: bool
) -> None:
    """List executions, newest first."""
    bridge = RustBridge()
    filters = {"queue": queue, "state": state, "function": function, "limit": limit, "held": held, "roots": roots}
    rows = bridge.list_executions(**{name: value for name, value in filters.items() if value})
    if queue and not rows:
        check_queue(bridge, queue)
    if as_json:
        print_json(rows)
        return
    columns = ["id", "function", "queue", "state", "attempt", "created", "took"]
    cells = [_list_cells(row) for row in rows]
    if held:
        columns.append("difference")
        cells = [
            [*shown, " ".join(str((row["error"] or {}).get("message") or "").split())]
            for shown, row in zip(cells, rows, strict=True)
        ]
    print_table(columns, cells)


def _list_cells(row: Row) -> list[str]:
    took = seconds_between(row["started_at"], row["finished_at"])
    created = format_time(row["created_at"])
    return [
        row["id"],
        row["function"],
        row["queue"],
        state_of(row),
        str(row["attempt"]),
        created,
        format_duration(took),
    ]
