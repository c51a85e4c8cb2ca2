"""How many connections a worker has: one to write and to listen, and one of its pool while something uses it."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from apps.board import Board, Connection, asleep
from apps.leases import held_up
from support import WorkerProcess, eventually


def connections(worker: WorkerProcess, db: Connection) -> int:
    """How many connections to Postgres the worker's process has."""
    port = db.info.port
    there = psutil.Process(worker.pid).net_connections("tcp")
    return sum(1 for each in there if each.raddr and each.raddr.port == port)


def test_a_worker_that_sleeps_has_one_connection_and_is_notified_there(
    worker_process: Callable[..., WorkerProcess], db: Connection, board: Board
) -> None:
    # It finds nothing by itself.
    worker = worker_process("orders", "apps.leases", WORKFLOWS_WORKER_POLL_INTERVAL="3600")
    for number, gate in enumerate(("first", "second"), 1):
        eventually(lambda: asleep(db) and connections(worker, db) == 1)
        run = held_up.queue_sync(board.path, gate)
        eventually(lambda number=number: board.notes.count("start 1") == number)
        # One at work has no more while it has nothing to write.
        eventually(lambda: connections(worker, db) == 1)
        board.open(gate)
        assert run.result_sync(timeout=20) == 1
