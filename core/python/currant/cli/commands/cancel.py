"""`currant cancel`: end an execution and everything below it."""

from __future__ import annotations

import click

from currant.cli.arguments import id_argument
from currant.cli.output import say
from currant.rust_bridge import RustBridge


@click.command()
@id_argument
@click.option("--force", is_flag=True, help="End the whole tree at once, without asking the workflow.")
def cancel(id: str, force: bool) -> None:
    """Cancel execution ID and everything below it."""
    RustBridge().cancel_execution(id, force=force)
    say(f"{id} {'is cancelled' if force else 'will be cancelled'}")
