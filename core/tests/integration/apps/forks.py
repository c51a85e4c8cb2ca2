"""Tasks that have processes of their own, for test_forks.py. Each gives how its children ended."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import Any

from currant import Worker, task


def _wait() -> None:
    time.sleep(600)


def _double(n: int) -> int:
    return n * 2


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def two_processes(method: str) -> list[int | None]:
    """Two processes of `multiprocessing`, ended at once."""
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=_wait) for _ in range(2)]
    for process in processes:
        process.start()
        process.terminate()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def pool(method: str) -> list[int]:
    """A pool of processes that works and is shut down."""
    context: BaseContext = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        return list(executor.map(_double, range(4)))


def forked(number: int) -> list[int]:
    """Two children of `os.fork`, each sent this signal at once."""
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            _wait()
        os.kill(pid, number)
        pids.append(pid)
    return [_status(pid) for pid in pids]


def commands(prepared: bool) -> list[int]:
    """Two commands, ended at once; `prepared`: forked with a `preexec_fn`."""
    prepare: Callable[[], None] | None = (lambda: None) if prepared else None
    children = [subprocess.Popen(["sleep", "600"], preexec_fn=prepare) for _ in range(2)]
    for child in children:
        child.terminate()
    return [child.wait() for child in children]


def pending() -> list[int]:
    """A child that is sent SIGTERM before it has done anything, and shows what it has of signals."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        wakeup = signal.set_wakeup_fd(-1)
        blocked = len(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        os.write(write, f"{wakeup} {blocked} {signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:d}".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as end:
        told = [int(word) for word in end.read().split()]
    return [*told, _status(pid)]


def client() -> list[Any]:
    """A child that enqueues, and says by its exit code whether it has an id."""
    pid = os.fork()
    if pid == 0:
        os._exit(len(str(plain.queue_sync(7))))
    return [_status(pid)]


async def _work() -> None:
    async with Worker(["child"], functions=[plain]):
        for n in range(2):
            assert await (await plain.options(queue="child").queue(n)).result(timeout=20) == n


def _own_worker() -> None:
    asyncio.run(_work())
    sys.exit(5)  # it has come to its end


def worker() -> list[int | None]:
    """A child that is a worker itself."""
    process = multiprocessing.get_context("fork").Process(target=_own_worker)
    process.start()
    process.join()
    return [process.exitcode]


DOERS: dict[str, Callable[[], list[Any]]] = {
    "fork": lambda: two_processes("fork"),
    "spawn": lambda: two_processes("spawn"),
    "forkserver": lambda: two_processes("forkserver"),
    "pool, fork": lambda: pool("fork"),
    "pool, spawn": lambda: pool("spawn"),
    "os.fork, SIGTERM": lambda: forked(signal.SIGTERM),
    "os.fork, SIGINT": lambda: forked(signal.SIGINT),
    "command": lambda: commands(False),
    "command, preexec_fn": lambda: commands(True),
    "pending": pending,
    "client": client,
    "worker": worker,
}


@task(queue="orders", retries=0)
def plain(n: int) -> int:
    """Work."""
    return n


@task(queue="orders", retries=0)
def in_a_thread(what: str) -> list[Any]:
    """Do this in a thread of the worker."""
    return DOERS[what]()


@task(queue="orders", retries=0)
async def on_the_loop(what: str) -> list[Any]:
    """Do this on the worker's event loop."""
    return DOERS[what]()


def _come_back(how: str, board: str) -> list[int]:
    pid = os.fork()
    if pid == 0:
        if how == "exits":
            sys.exit(7)
        if how == "exits with text":
            sys.exit("no way")
        if how == "raises":
            raise ValueError("in the child")
        return [os.getpid()]
    return [_status(pid)]


@task(queue="orders", retries=0)
def comes_back_in_a_thread(how: str, board: str) -> list[int]:
    """Fork a child whose code comes back to the worker; give its exit code."""
    return _come_back(how, board)


@task(queue="orders", retries=0)
async def comes_back_on_the_loop(how: str, board: str) -> list[int]:
    """The same on the event loop."""
    return _come_back(how, board)


@task(queue="orders")
async def ends_its_worker(board: str) -> None:
    """Do what no task should."""
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(600)


@task(queue="orders", retries=0)
def leaves_a_child() -> int:
    """Fork a child that outlives the worker; give its process id."""
    pid = os.fork()
    if pid == 0:
        _wait()
        os._exit(0)
    return pid
