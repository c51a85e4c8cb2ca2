# mypy: disable-error-code="import-not-found, untyped-decorator"
"""PgQueuer's worker: `pgqueuer.run` with the two tasks, on one asyncpg connection. The argument is the batch size."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pgqueuer
import uvloop
from pgqueuer import PgQueuer

from bench.board import join
from bench.peers.base import WORKER
from bench.sql import connect

_board = join()


@asynccontextmanager
async def worker() -> AsyncIterator[PgQueuer]:
    """The manager, as `pgqueuer.run` takes it."""
    async with connect(os.environ[WORKER]) as connection:
        manager = PgQueuer.from_asyncpg_connection(connection)

        @manager.entrypoint("noop")
        async def noop(job: Any) -> None:
            _board.mark(int(job.payload))  # type: ignore[union-attr]

        @manager.entrypoint("pickup")
        async def pickup(job: Any) -> None:
            _board.mark_time(int(job.payload))  # type: ignore[union-attr]

        yield manager


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(pgqueuer.run(worker, batch_size=int(sys.argv[1])))
