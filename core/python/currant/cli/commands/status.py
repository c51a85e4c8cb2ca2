"""`currant status`: the state of one execution."""

from __future__ import annotations

import click

from currant.cli.arguments import as_json, id_argument
from currant.cli.output import print_json, say, say_lines, state_of
from currant.rust_bridge import RustBridge


@click.command()
@id_argument
@as_json
def status(id: str, as_json: bool) -> None:
    """Print the state of execution ID. Exit code 1 when it failed or does not exist."""
    execution = RustBridge().get_execution(id)
    if as_json:
        print_json(execution)
    else:
        say(state_of(execution))
        if execution["error"]:
            say_lines(f"{execution['error']['type']}: {execution['error']['message']}", err=True)
    if execution["state"] == "failed":
        raise click.exceptions.Exit(1)
