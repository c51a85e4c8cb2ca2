# mypy: disable-error-code="import-not-found, untyped-decorator"
"""Procrastinate's app with the two tasks: its worker command and the client in the turn's process both take it."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

from bench.board import join
from bench.peers.base import WORKER

QUEUE = "bench"
CONNECTIONS = 20

_board = join()  # None in a process that only enqueues


def app_of(url: str) -> App:
    """The app on that database."""
    made = App(connector=PsycopgConnector(conninfo=url, min_size=CONNECTIONS, max_size=CONNECTIONS))

    @made.task(name="noop", queue=QUEUE)
    async def noop(index: int) -> None:
        _board.mark(index)  # type: ignore[union-attr]

    @made.task(name="pickup", queue=QUEUE)
    async def pickup(index: int) -> None:
        _board.mark_time(index)  # type: ignore[union-attr]

    return made


if WORKER in os.environ:
    app = app_of(os.environ[WORKER])
