"""The costs of a turn: statements, bytes of WAL, CPU time, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

JUDGE = "bench_judge"  # the role of the suite's own questions in a candidate's database: they do not count
SENT = """pg_stat_statements s join pg_database d on d.oid = s.dbid
    where d.datname = $1 and s.toplevel and s.userid <> $2::text::regrole"""


async def statements(admin: Any, url: str) -> int:
    """The statements that clients sent to the database of this URL so far, without the suite's own."""
    question = f"select coalesce(sum(s.calls), 0)::bigint from {SENT}"
    return int(await admin.fetchval(question, url.rpartition("/")[2], JUDGE))


async def calls(admin: Any, url: str, texts: Sequence[str]) -> tuple[int, float]:
    """The statements of `statements` that have one of these texts, and the milliseconds that they took in all."""
    row = await admin.fetchrow(
        "select coalesce(sum(s.calls), 0)::bigint, coalesce(sum(s.total_exec_time), 0)::float8"
        f" from {SENT} and s.query like any ($3)",
        url.rpartition("/")[2],
        JUDGE,
        [f"%{text}%" for text in texts],
    )
    return int(row[0]), float(row[1])


async def connections(admin: Any, url: str, processes: Sequence[psutil.Process]) -> list[int]:
    """The connections that each of these processes has to the database of this URL."""
    rows = await admin.fetch(
        "select client_port from pg_stat_activity where datname = $1 and backend_type = 'client backend'",
        url.rpartition("/")[2],
    )
    ports = {row[0] for row in rows}
    return [len(ports & {socket.laddr.port for socket in process.net_connections("tcp")}) for process in processes]


async def wal_bytes(admin: Any) -> int:
    """The bytes of WAL that the server has written so far."""
    return int(await admin.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))


async def postmaster(admin: Any) -> psutil.Process:
    """The server's first process; all others are its children."""
    directory = await admin.fetchval("show data_directory")
    return psutil.Process(int((Path(directory) / "postmaster.pid").read_text().split()[0]))


def cpu_seconds(process: psutil.Process) -> float:
    """The CPU time of a process so far; where the kernel tells by thread in nanoseconds, from there."""
    files = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    nanoseconds = sum(int(file.read_text().split()[0]) for file in files)
    if nanoseconds:
        return nanoseconds / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


def server_cpu_seconds(server: psutil.Process) -> float:
    """The CPU time of all processes of a Postgres server so far, with those that have ended."""
    ended = server.cpu_times()
    total = cpu_seconds(server) + ended.children_user + ended.children_system
    for process in server.children():
        try:
            total += cpu_seconds(process)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            pass
    return float(total)


def memory(process: psutil.Process) -> float:
    """The resident memory of a process in MB, without the board: that one belongs to the suite."""
    board = sum(area.rss for area in process.memory_maps() if area.path.endswith(".board"))
    return float(process.memory_info().rss - board) / 1e6


@dataclass(frozen=True)
class Cost:
    """The use by server and workers up to a moment; the difference of two is the use between them."""

    wal: float
    server: float
    workers: float

    @classmethod
    async def now(cls, admin: Any, server: psutil.Process, pids: list[int]) -> Cost:
        """The reading of this moment."""
        workers = sum(cpu_seconds(psutil.Process(pid)) for pid in pids)
        return cls(await wal_bytes(admin), server_cpu_seconds(server), workers)

    def until(self, later: Cost, items: int) -> dict[str, float]:
        """Bytes of WAL, and microseconds of the server's and the workers' CPU, for each item."""
        return {
            "wal": (later.wal - self.wal) / items,
            "server_cpu": (later.server - self.server) / items * 1e6,
            "worker_cpu": (later.workers - self.workers) / items * 1e6,
        }
