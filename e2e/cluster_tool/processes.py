"""Processes that outlive the command that started them, found again by a file with their id."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import ClusterError
from .layout import Cluster


def start(cluster: Cluster, name: str, command: Sequence[str | Path]) -> int:
    """Start `command` in a session of its own; its output goes to `log/NAME.log`, its id to `pids/NAME`."""
    with (cluster.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    remember(cluster, name, process.pid)
    # Nobody waits for the process: `stop` looks into /proc, which tells a zombie from a living process.
    process.returncode = 0
    return process.pid


def remember(cluster: Cluster, name: str, pid: int) -> None:
    """Keep the id with the start time: after a restart of the machine the id alone may belong to another process."""
    (cluster.pids / name).write_text(f"{pid} {_birth(pid)}\n")


def pid_of(cluster: Cluster, name: str) -> int | None:
    """The id of the process if it lives, otherwise None."""
    try:
        pid, birth = (cluster.pids / name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if birth and _birth(int(pid)) == birth else None


def stop(cluster: Cluster, name: str, how: signal.Signals = signal.SIGKILL, patience: float = 10.0) -> None:
    """Send `how`, wait up to `patience` seconds for the end, then kill. Does nothing if the process does not run.

    The end is that of the last thread: only then are its ports free.
    """
    pid = pid_of(cluster, name)
    if pid is not None:
        _end(pid, how, patience)
    (cluster.pids / name).unlink(missing_ok=True)


def start_forking(cluster: Cluster, name: str, command: Sequence[str | Path]) -> None:
    """Start a command that forks and waits, as nsenter does, and keep the id of its child instead.

    Raises ClusterError with its last words when it ends without one.
    """
    outer = start(cluster, name, command)
    wait_for(cluster, name, lambda: bool(_children(outer)), patience=10)
    remember(cluster, name, _children(outer)[0])


def wait_until(condition: Callable[[], bool], patience: float, interval: float = 0.05) -> bool:
    """Poll the condition; whether it came true within `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def wait_for(cluster: Cluster, name: str, condition: Callable[[], bool], patience: float = 120.0) -> None:
    """Wait for `condition`. Raises ClusterError with the end of the log if process `name` ends or takes too long."""
    wait_until(lambda: condition() or pid_of(cluster, name) is None, patience)
    if condition():
        return
    what = f"not ready after {patience:.0f} s" if pid_of(cluster, name) else "ended at once"
    lines = (cluster.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
    raise ClusterError(f"{name}: {what}; its last line: {lines[-1] if lines else 'none'}")


def run(command: Sequence[str | Path], *, stdin: str | None = None) -> str:
    """Run to the end and return the output. Raises ClusterError with what it wrote to stderr."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(words[:3])} ...: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done.stdout


def alive(pid: int) -> bool:
    """Whether a process of this id runs; a zombie does not."""
    return bool(_birth(pid))


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _end(pid: int, how: signal.Signals, patience: float) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, how)
        if not select.select([handle], [], [], patience)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], patience)
    finally:
        os.close(handle)


def _birth(pid: int) -> str:
    """When a living process was started, in the kernel's ticks; empty for one that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
