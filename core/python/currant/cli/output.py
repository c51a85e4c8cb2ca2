"""How answers look: colour and tables for people, aligned plain text in a pipe, JSON when asked for.

All that the command line prints goes through this module and `currant._base.printable`: names, results and errors come
from anybody who may enqueue, and must not act on the terminal that shows them.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click

from currant._base.printable import json_text, lines, one_line

Row = dict[str, Any]

STATE_COLOURS = {
    "pending": "yellow",
    "running": "cyan",
    "suspended": "blue",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "alive": "green",
    "draining": "yellow",
    "stale": "red",
}


@dataclass
class Node:
    """A line of a tree, its state (which colours it), and what is below it."""

    text: str
    state: str | None = None
    children: list[Node] = field(default_factory=list)


def for_people() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def say(text: str = "", *, label: str = "", colour: str | None = None, err: bool = False) -> None:
    """Print one line, on standard error with `err`. The colour is that of the label, else of the whole line."""
    shown = one_line(text)
    if label:
        shown = f"{click.style(label, fg=colour)} {shown}"
    elif colour:
        shown = click.style(shown, fg=colour)
    click.echo(shown, err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print a text that may have several lines, such as an error's message; all but the first are indented."""
    click.echo(lines(text), err=err)


def say_error(message: str) -> None:
    """Print a mistake or a failure as one line on standard error."""
    say(" ".join(message.split()), label="error:", colour="red", err=True)


def say_usage_error(error: click.ClickException) -> None:
    """Print what click has found wrong with the arguments, in its own form: usage, a hint, and what is wrong."""
    form = io.StringIO()
    error.show(form)
    click.echo(lines(form.getvalue(), indent=""), err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON: indented for people, one line in a pipe."""
    click.echo(json_text(json.dumps(value, indent=2 if for_people() else None, ensure_ascii=False)))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under their column names. A column called `state` is coloured."""
    columns, rows = [one_line(column) for column in columns], [[one_line(cell) for cell in row] for row in rows]
    if for_people():
        _print_rich_table(columns, rows)
        return
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_tree(root: Node) -> None:
    """Print a tree: with guide lines and colour for people, indented by two spaces a level in a pipe."""
    if for_people():
        _print_rich_tree(root)
        return

    def print_below(node: Node, depth: int) -> None:
        say("  " * depth + node.text)
        for child in node.children:
            print_below(child, depth + 1)

    print_below(root, 0)


def _print_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        cells = [Text(cell) for cell in row]
        for column, cell in zip(columns, cells, strict=True):
            if column == "state":
                cell.stylize(STATE_COLOURS.get(cell.plain.split()[0], ""))
        table.add_row(*cells)
    # Ids are there to be copied: nothing is cut short, a narrow terminal wraps whole lines.
    endless = Console(width=10_000)
    Console(width=Measurement.get(endless, endless.options, table).maximum).print(table, soft_wrap=True)


def _print_rich_tree(root: Node) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def label(node: Node) -> Text:
        text = Text(one_line(node.text))
        if node.state:
            text.highlight_words([node.state], STATE_COLOURS.get(node.state, ""))
        return text

    def add(tree: Tree, node: Node) -> None:
        for child in node.children:
            add(tree.add(label(child)), child)

    tree = Tree(label(root), guide_style="dim")
    add(tree, root)
    Console().print(tree, soft_wrap=True)


def parse_time(value: str | None) -> datetime | None:
    """An ISO 8601 time, in UTC where it does not say."""
    if value is None:
        return None
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def format_time(value: str | None) -> str:
    """An ISO 8601 time as a person's local time, to the second; `-` for none."""
    time = parse_time(value)
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "-"


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one ISO 8601 time to another; None when either is missing."""
    first, last = parse_time(start), parse_time(end)
    return (last - first).total_seconds() if first and last else None


def format_duration(seconds: float | None) -> str:
    """`35 ms`, `4.2 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`; `-` for none."""
    if seconds is None:
        return "-"
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def shorten(value: Any, limit: int = 100) -> str:
    """A value on one line of at most `limit` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def state_of(execution: Row) -> str:
    """The state, with what a person should know besides."""
    if execution.get("held"):
        return "suspended (incompatible)"
    if execution.get("cancel_requested") and execution["state"] not in ("completed", "failed", "cancelled"):
        return f"{execution['state']} (cancelling)"
    return str(execution["state"])
