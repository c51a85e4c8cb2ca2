"""Whatever users' exceptions do, the attempt ends, its slot is free, and the worker goes on (docs/use/workers.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apps.board import Connection, count, row
from apps.hostile import fine, flow_raises, leaves_the_loop, raises, raises_in_a_thread, raises_in_the_background
from currant import ExecutionFailed
from currant.decorators import Function
from hostile_errors import HOSTILE
from support import WorkerProcess, without_uvloop

Start = Callable[..., WorkerProcess]


def test_every_error_ends_its_attempt_and_no_worker(worker_process: Start, db: Connection) -> None:
    worker = worker_process("orders", "apps.hostile", options=("--concurrency", "2"))
    functions: list[Function[[str], None]] = [raises, raises_in_a_thread, raises_in_the_background, flow_raises]
    runs = [function.queue_sync(name) for function in functions for name in HOSTILE]
    for run in runs:
        with pytest.raises(ExecutionFailed) as failed:
            run.result_sync(timeout=60)
        assert failed.value.type
    assert fine.queue_sync(7).result_sync(timeout=20) == 7
    assert count(db, "state = 'failed' and attempt = 1") == len(runs)
    assert worker.running
    missing = [
        run for run in runs if f"{run} attempt 1 failed: " not in worker.log and f"{run} failed: " not in worker.log
    ]
    assert missing == []
    worker.terminate()
    assert worker.wait() == 0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("how", ["exit", "stop", "alarm"])
def test_code_that_ends_the_event_loop_ends_no_worker(
    worker_process: Start, db: Connection, how: str, loop: str, tmp_path: Path
) -> None:
    variables = without_uvloop(tmp_path) if loop == "asyncio" else {}
    worker = worker_process("orders", "apps.hostile", **variables)
    run = leaves_the_loop.queue_sync(how)
    assert run.result_sync(timeout=20) == "here"
    assert (how, loop) == ("alarm", "uvloop") or "goes on after code of a task has ended its event loop" in worker.log
    assert row(db, run)["worker_losses"] == 0
    worker.terminate()
    assert worker.wait() == 0
