"""Commands that look: status, show, list, queues, workers, schedules. Each has `--json`."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from currant.cli.functions import Mistake
from currant.cli.output import (
    Row,
    format_duration,
    format_time,
    print_json,
    print_table,
    print_tree,
    say,
    say_lines,
    seconds_between,
    shorten,
    state_of,
)
from currant.cli.tree import build
from currant.errors import NotFound
from currant.rust_bridge import RustBridge

STATES = ("pending", "running", "suspended", "completed", "failed", "cancelled")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _parse_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise Mistake(f"{value} is no id of an execution; `currant list` shows them") from None


id_argument = click.argument("id", callback=_parse_id)


@click.command()
@id_argument
@as_json
def status(id: str, as_json: bool) -> None:
    """Print the state of execution ID. Exit code 1 when it failed or is not there."""
    execution = RustBridge().get_execution(id)
    if as_json:
        print_json(execution)
    else:
        say(state_of(execution))
        if execution["error"]:
            say_lines(f"{execution['error']['type']}: {execution['error']['message']}", err=True)
    if execution["state"] == "failed":
        raise click.exceptions.Exit(1)


@click.command()
@id_argument
@as_json
def show(id: str, as_json: bool) -> None:
    """Show run ID as a tree: its steps, attempts, timings and errors."""
    data = RustBridge().show(id)
    if as_json:
        print_json(data)
    else:
        print_tree(build(data, id))


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
    help="Only runs that do not fit the code that is deployed, with the step that differs.",
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
        _check_queue(bridge, queue)
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


def _check_queue(bridge: RustBridge, queue: str) -> None:
    known = sorted(row["queue"] for row in bridge.queues())
    if queue not in known and not bridge.list_executions(queue=queue, limit=1):
        there = f"; there are {', '.join(known)}" if known else ""
        raise NotFound(f"no queue {queue}: nothing was ever put there and no worker serves it{there}")


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
            _check_queue(bridge, name)
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


@click.command()
@as_json
def schedules(as_json: bool) -> None:
    """Show the schedules: what runs by itself, when next, and what became of the last time."""
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


COMMANDS = (status, show, list_, queues, workers, schedules)
