# mypy: disable-error-code="import-not-found, untyped-decorator"
"""DBOS's worker: an application that launches DBOS and registers its queue. A task is a workflow without steps."""

from __future__ import annotations

import os
import threading

from dbos import DBOS

from bench.board import STEPS, join
from bench.peers.base import WORKER

NAME = QUEUE = "bench"
STEP, STEP_TIMED = "step", "step_timed"
POLL_INTERVAL = "BENCH_POLL_INTERVAL"  # variable: seconds between two looks at the queue
CONCURRENCY = 100
CONNECTIONS = 20

_board = join()


@DBOS.step(name=STEP)
def step(index: int) -> None:
    """A step that does nothing."""
    _board.mark(index)  # type: ignore[union-attr]


@DBOS.step(name=STEP_TIMED)
def step_timed(index: int) -> None:
    """A step that notes when it started."""
    _board.mark_time(index)  # type: ignore[union-attr]


@DBOS.workflow(name="noop")
def noop(index: int) -> None:
    """A task that does nothing."""
    _board.mark(index)  # type: ignore[union-attr]


@DBOS.workflow(name="pickup")
def pickup(index: int) -> None:
    """A task that notes when it started."""
    _board.mark_time(index)  # type: ignore[union-attr]


@DBOS.workflow(name="chain")
def chain(index: int) -> int:
    """Five steps, one after the other."""
    for number in range(STEPS):
        step(index * STEPS + number)
    return index


@DBOS.workflow(name="long_chain")
def long_chain(steps: int) -> int:
    """Run a number of steps, one after the other."""
    for number in range(steps):
        step_timed(number)
    return steps


@DBOS.workflow(name="fan_out")
def fan_out(children: int) -> int:
    """Start a number of children on the queue, and await them all."""
    handles = [DBOS.enqueue_workflow(QUEUE, noop, child) for child in range(children)]
    for handle in handles:
        handle.get_result(polling_interval_sec=float(os.environ[POLL_INTERVAL]))
    return children


def main() -> None:
    """Work until the process is ended."""
    DBOS(
        config={
            "name": NAME,
            "system_database_url": os.environ[WORKER],
            "executor_id": str(os.getpid()),  # two workers that share one would count each other's workflows
            "sys_db_pool_size": CONNECTIONS,
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    interval = float(os.environ[POLL_INTERVAL])
    DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=interval)
    threading.Event().wait()


if __name__ == "__main__":
    main()
