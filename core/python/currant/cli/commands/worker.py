"""`currant worker`: a worker, in this process."""

from __future__ import annotations

import click

from currant.cli.arguments import concurrency_option
from currant.cli.run_worker import prepare, run_worker


@click.command()
@click.option("-q", "--queue", "queues", multiple=True, required=True, help="Serve this queue; may be repeated.")
@click.option("-m", "--module", "modules", multiple=True, required=True, help="Import this module; may be repeated.")
@concurrency_option
@click.option("--name", help="How `currant workers` calls it; host and process id by default.")
def worker(queues: tuple[str, ...], modules: tuple[str, ...], concurrency: int | None, name: str | None) -> None:
    """Run a worker until SIGTERM or Ctrl-C: it then finishes or hands back its tasks. A second signal stops it at once.

    SIGHUP (a closed terminal) does the same, unless it is ignored (nohup).
    """
    prepare(modules)
    run_worker(queues, concurrency, name)
