"""`currant show`: one run as a tree."""

from __future__ import annotations

import click

from currant.cli.arguments import as_json, id_argument
from currant.cli.output import print_json, print_tree
from currant.cli.tree import build
from currant.rust_bridge import RustBridge


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
