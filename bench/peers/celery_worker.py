# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator"
"""Celery's app, for its worker (`celery -A bench.peers.celery_worker worker`) and for who enqueues."""

from __future__ import annotations

import os

from celery import Celery

from bench.board import join
from bench.peers.base import WORKER

QUEUE = "bench"

_board = join()

app = Celery("bench", broker=os.environ.get(WORKER), backend=os.environ.get(WORKER))
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,  # a task whose worker dies is run again
    worker_prefetch_multiplier=100,  # its guide: many, where tasks are short
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    result_expires=None,
)


@app.task(name="noop")
def noop(index: int) -> None:
    """A task that does nothing."""
    _board.mark(index)  # type: ignore[union-attr]


@app.task(name="pickup")
def pickup(index: int) -> None:
    """A task that notes when it started."""
    _board.mark_time(index)  # type: ignore[union-attr]
