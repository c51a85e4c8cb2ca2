"""Commands that run something: migrate, worker, dev."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import click

from currant import tracing
from currant._worker import logs
from currant.cli.functions import Mistake, import_module
from currant.cli.output import say
from currant.decorators import registry
from currant.embedded import EmbeddedPostgres
from currant.rust_bridge import RustBridge
from currant.worker import Worker, run_alone

DEV_DIRECTORY = ".currant"
DEFAULT_QUEUE = "default"

modules_option = click.option("-m", "--module", "modules", multiple=True, help="Import this module; may be repeated.")
concurrency_option = click.option("--concurrency", type=click.IntRange(1), help="Tasks at a time.")


@click.command()
def migrate() -> None:
    """Bring the database's schema up to this version of Currant. Safe to run at any time, from many places at once."""
    version = RustBridge().migrate()
    say(f"the schema is at version {version}")


@click.command()
@click.option("-q", "--queue", "queues", multiple=True, required=True, help="Serve this queue; may be repeated.")
@click.option("-m", "--module", "modules", multiple=True, required=True, help="Import this module; may be repeated.")
@concurrency_option
@click.option("--name", help="How `currant workers` calls it; host and process id by default.")
def worker(queues: tuple[str, ...], modules: tuple[str, ...], concurrency: int | None, name: str | None) -> None:
    """Run a worker until SIGTERM or Ctrl-C; then it finishes or hands back what it has. A second one stops it now.

    So does SIGHUP, as of a terminal that is closed, unless it is ignored (nohup).
    """
    _configure_logging()
    _end_by_signals()
    for module in modules:
        import_module(module)
    _run_worker(queues, concurrency, name)


@click.command()
@modules_option
@concurrency_option
def dev(modules: tuple[str, ...], concurrency: int | None) -> None:
    """Run a Postgres in .currant/, migrate it, and run a worker for all queues of the modules. Ctrl-C stops it all.

    The next `currant dev` goes on where this one stopped.
    """
    _configure_logging()
    _end_by_signals()
    for module in modules:
        import_module(module)
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


def _end_by_signals() -> None:
    """SIGTERM, and SIGHUP unless it is ignored, end us as Ctrl-C does, whatever we are at.

    Process 1 of a container has no default for them: without a handler a SIGTERM while modules are imported is lost.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def _run_dev_worker(concurrency: int | None) -> None:
    from currant._workflow.loop import install_blocking_guard

    # A task without a queue of its own runs in its workflow's, or in the default one when it is enqueued by itself.
    queues = sorted({function.queue_name or DEFAULT_QUEUE for function in registry.values()} | {DEFAULT_QUEUE})
    install_blocking_guard()
    _run_worker(tuple(queues), concurrency, None)


def _run_worker(queues: tuple[str, ...], concurrency: int | None, name: str | None) -> None:
    tracing.export()
    try:
        worker = Worker(queues=list(queues), concurrency=concurrency, name=name)
    except ValueError as error:
        raise Mistake(str(error)) from None
    run_alone(worker, loop_factory())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; None: asyncio's own."""
    try:
        import uvloop
    except ImportError:  # there is no wheel for every platform
        return None
    return uvloop.new_event_loop


def _configure_logging() -> None:
    level = _choice("WORKFLOWS_LOG_LEVEL", logs.LEVELS, "INFO")
    logs.set_up(level, _choice("WORKFLOWS_LOG_FORMAT", logs.FORMATS, "text"))


def _choice(variable: str, known: tuple[str, ...], default: str) -> str:
    given = os.environ.get(variable, "").strip() or default
    for each in known:
        if given.lower() == each.lower():
            return each
    raise Mistake(f"{variable} cannot be {given!r}: write one of {', '.join(known)}")


COMMANDS = (migrate, worker, dev)
