"""`currant dev`: a Postgres and a worker for development, in this directory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from currant._workflow.loop import install_blocking_guard
from currant.cli.arguments import concurrency_option, modules_option
from currant.cli.output import say
from currant.cli.run_worker import prepare, run_worker
from currant.decorators import registry
from currant.embedded import EmbeddedPostgres
from currant.rust_bridge import RustBridge

DEV_DIRECTORY = ".currant"
DEFAULT_QUEUE = "default"


@click.command()
@modules_option
@concurrency_option
def dev(modules: tuple[str, ...], concurrency: int | None) -> None:
    """Run a Postgres in .currant/, migrate it, and run a worker for all queues of the modules. Ctrl-C stops it all.

    The next `currant dev` goes on where this one stopped.
    """
    prepare(modules)
    directory = Path(DEV_DIRECTORY)
    with EmbeddedPostgres(directory) as server:
        (directory / ".gitignore").write_text("*\n")
        os.environ["WORKFLOWS_DATABASE_URL"] = server.url
        version = RustBridge().migrate()
        say(f"Postgres is in {directory}/, its schema at version {version}. In another terminal:")
        say(f"    export WORKFLOWS_DATABASE_URL={server.url}")
        if modules:
            _run_dev_worker(concurrency)
        else:
            say("no worker: give your modules with -m. Ctrl-C stops.")
            signal.pause()


def _run_dev_worker(concurrency: int | None) -> None:
    # A task without a queue of its own runs in its workflow's, or in the default one when it is enqueued by itself.
    queues = sorted({function.queue_name or DEFAULT_QUEUE for function in registry.values()} | {DEFAULT_QUEUE})
    install_blocking_guard()
    run_worker(tuple(queues), concurrency, None)
