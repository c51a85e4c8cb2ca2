"""How tasks and tests speak to each other: notes in a file, and gates that open when a file appears."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

NOTES = "notes"

# For the functions under test, which are given the board's directory


def note(board: str, line: str) -> None:
    """Leave a line, whole, whoever else writes at the same time."""
    descriptor = os.open(os.path.join(board, NOTES), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


async def passed(board: str, gate: str) -> None:
    """Wait until the test opens the gate."""
    while not os.path.exists(os.path.join(board, gate)):
        await asyncio.sleep(0.01)


def passed_sync(board: str, gate: str) -> None:
    """As `passed`, in a thread."""
    while not os.path.exists(os.path.join(board, gate)):
        time.sleep(0.01)


# For the tests


class Board:
    """A test's end: `path` goes to the functions as an argument."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.path = str(directory)

    def open(self, gate: str) -> None:
        """Let everybody pass who waits, or will wait, at this gate."""
        (Path(self.path) / gate).touch()

    @property
    def notes(self) -> list[str]:
        """All notes so far, in order."""
        file = Path(self.path) / NOTES
        return file.read_text().splitlines() if file.exists() else []


Connection = psycopg.Connection[dict[str, Any]]
SetEnvironment = Callable[[dict[str, str]], None]  # the fixture set_environment


def row(db: Connection, id: object) -> dict[str, Any]:
    """The row of one execution."""
    found = db.execute("select * from currant.executions where id = %s", [str(id)]).fetchone()
    assert found is not None, f"there is no execution {id}"
    return found


def steps_of(db: Connection, id: object) -> dict[str, dict[str, Any]]:
    """The executions that are steps of a run, by the bare name of their function."""
    rows = db.execute("select * from currant.executions where parent_id = %s order by step_key", [str(id)]).fetchall()
    return {found["function"].rpartition(".")[2]: found for found in rows}


def count(db: Connection, condition: str, *values: object) -> int:
    """How many executions fulfil an SQL condition."""
    query = f"select count(*) as rows from currant.executions where {condition}"
    found = db.execute(query, values).fetchone()  # type: ignore[arg-type]  # the test's own text
    assert found is not None
    return int(found["rows"])


def waits_for_lock(db: Connection) -> bool:
    """Whether some statement of another session waits for a lock."""
    found = db.execute(
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    ).fetchone()
    return found is not None


def asleep(db: Connection) -> bool:
    """Whether there are workers, and every one listens, found nothing to do, and sleeps."""
    found = db.execute(
        "select bool_and(sleep_until > now()) as asleep from currant.workers where stopped_at is null"
    ).fetchone()
    return found is not None and bool(found["asleep"])


def rhythm(heartbeat: float = 0.5, timeout: float = 3.0, poll: float = 1.0, grace: float = 5.0) -> dict[str, str]:
    """The environment of a worker with these intervals, in seconds."""
    return {
        "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": str(heartbeat),
        "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": str(timeout),
        "WORKFLOWS_WORKER_POLL_INTERVAL": str(poll),
        "WORKFLOWS_WORKER_SHUTDOWN_GRACE": str(grace),
    }


# A worker of which nobody believes for hours that it is dead, and which finds by itself nothing that it is not told.
SLUGGISH = rhythm(heartbeat=3600, timeout=7200, poll=3600)
