"""`currant migrate`: the schema of the database."""

from __future__ import annotations

import click

from currant.cli.output import say
from currant.rust_bridge import RustBridge


@click.command()
def migrate() -> None:
    """Bring the database's schema up to this version of Currant. Safe to run at any time, from many places at once.

    Tables change by numbered migrations; SQL functions and views whose text has changed are created anew. Workers of
    the last release go on meanwhile. An older Currant leaves the functions of a newer one as they are, and says so.
    """
    done = RustBridge().migration()
    changed = len(done["functions"])
    if done["newer"] is not None:
        said = (
            f"its functions are those of Currant {done['newer']}, which is newer than this one: they stay as they are"
        )
    elif changed:
        said = f"{changed} of its functions {'was' if changed == 1 else 'were'} created anew"
    else:
        said = "nothing to do"
    say(f"the schema is at version {done['version']}: {said}")
