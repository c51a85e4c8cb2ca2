"""`currant retry`: run a failed or cancelled run again."""

from __future__ import annotations

import click

from currant.cli.arguments import id_argument
from currant.cli.output import say
from currant.rust_bridge import RustBridge


@click.command()
@id_argument
def retry(id: str) -> None:
    """Run the failed or cancelled run ID again, from its last good history."""
    RustBridge().retry_execution(id)
    say(f"{id} runs again")
