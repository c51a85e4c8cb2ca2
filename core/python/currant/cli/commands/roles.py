"""`currant roles`: database roles with few rights."""

from __future__ import annotations

from importlib import resources

import click

from currant.cli.output import say


@click.command()
def roles() -> None:
    """Print the SQL that makes roles of least privilege: currant_reader, currant_client, currant_worker.

    Run it as the owner of Currant's schema: `currant roles | psql "$WORKFLOWS_DATABASE_URL"`.
    """
    for line in resources.files("currant").joinpath("roles.sql").read_text(encoding="utf-8").splitlines():
        say(line)
