"""`currant migrate`: the schema of the database."""

from __future__ import annotations

import click

from currant.cli.output import say
from currant.rust_bridge import RustBridge


@click.command()
def migrate() -> None:
    """Bring the database's schema up to this version of Currant. Safe to run at any time, from many places at once."""
    version = RustBridge().migrate()
    say(f"the schema is at version {version}")
