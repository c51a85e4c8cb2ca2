"""A backup with open runs: the commands of docs/operate/backup.md, and what becomes of the runs that it describes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import currant
from apps.board import Board, Connection, SetEnvironment, rhythm, row
from apps.signals import collect
from apps.takeover import at_most_once, held_up, two_gates
from currant import ExecutionFailed, NotFound, Worker, get_handle, send_signal
from currant.embedded import _binaries
from support import CHECKOUT, WorkerProcess, eventually_async

PAGE = (CHECKOUT / "docs/operate/backup.md").read_text(encoding="utf-8")
DUMP, RESTORE = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
QUICK = rhythm(heartbeat=0.3, timeout=1.5)
ANOTHER_SERVER = 1_000_000_000  # so many more transactions than this one has begun

Shell = Callable[..., None]


@pytest.fixture
def shell(database: str, empty_database: str, tmp_path: Path) -> Shell:
    """Type a block of the page, with the programs that fit the server. The database to restore into is there already."""
    with psycopg.connect(database) as connection:
        major = connection.info.server_version // 10_000
    directories = [_binaries(), Path(f"/usr/lib/postgresql/{major}/bin")]
    fitting = [
        directory
        for directory in directories
        if (directory / "pg_dump").exists()
        and f" {major}." in subprocess.run([directory / "pg_dump", "-V"], capture_output=True, text=True).stdout
    ]
    assert fitting, f"no pg_dump of Postgres {major} in {directories}"
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(fitting[0]), os.path.dirname(sys.executable), os.environ["PATH"]]),
        "WORKFLOWS_DATABASE_URL": database,
        "RESTORED_URL": empty_database,
    }

    def run(block: str, leave_out: str = "^$") -> None:
        lines = [line for line in block.splitlines() if not re.search(leave_out, line)]
        done = subprocess.run(
            ["bash", "-ec", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


async def test_open_runs_go_on_in_a_restored_database_from_the_moment_of_its_backup(
    worker_process: Callable[..., WorkerProcess],
    db: Connection,
    board: Board,
    set_environment: SetEnvironment,
    empty_database: str,
    shell: Shell,
) -> None:
    worker = worker_process(["orders", "q"], "apps.takeover", options=("-m", "apps.signals"), **QUICK)
    waiting = await collect.queue("go", 1)
    board.open("one")
    running = await two_gates.queue(board.path)
    lost = await at_most_once.queue(board.path)
    keyed = await held_up.options(idempotency_key="k", queue="later").queue(board.path, "one")
    await eventually_async(lambda: {"start two 1", "start gate 1"} <= set(board.notes))
    await eventually_async(lambda: row(db, waiting)["state"] == "suspended")
    shell(DUMP)
    board.open("two")  # after the dump this step ends, and a run begins: the backup knows of neither
    assert await running.result(timeout=20) == [1, 1]
    forgotten = await held_up.queue(board.path, "one")
    worker.kill()

    # `createdb`: it is there. `roles`: they are the whole server's. `doctor`: it finds the queue that nobody serves.
    shell(RESTORE, leave_out=r"^createdb|currant roles|currant doctor")
    currant.configure(database_url=empty_database)
    set_environment({**QUICK, "WORKFLOWS_DATABASE_URL": empty_database})
    async with Worker(["orders", "q"]):
        await send_signal(waiting.id, "go", 7)
        assert await get_handle(waiting.id).result(timeout=20) == [7]
        assert await get_handle(running.id).result(timeout=20) == [1, 2]
        with pytest.raises(ExecutionFailed, match="WorkerLost"):
            await get_handle(lost.id).result(timeout=20)
    # Done again: the old database had its outcome, the backup has not.
    assert [note for note in board.notes if " two " in note] == ["start two 1", "start two 2"]
    assert await held_up.options(idempotency_key="k").queue(board.path) == keyed
    with pytest.raises(NotFound):
        await get_handle(forgotten.id).status()


async def test_what_waited_before_a_restore_into_a_younger_server_goes_before_what_is_enqueued_after_it(
    db: Connection, board: Board, set_environment: SetEnvironment, empty_database: str, shell: Shell
) -> None:
    for gate in ("old", "new"):
        board.open(gate)
    await held_up.queue(board.path, "old")
    db.execute("update currant.executions set ready_xid = ready_xid + %s", [ANOTHER_SERVER])
    shell(DUMP)
    shell(RESTORE, leave_out=r"^createdb|currant roles|currant doctor")
    currant.configure(database_url=empty_database)
    set_environment({**QUICK, "WORKFLOWS_DATABASE_URL": empty_database})
    new = await held_up.queue(board.path, "new")
    async with Worker(["orders"], concurrency=1):
        await new.result(timeout=20)
    assert board.notes == ["start old 1", "start new 1"]
