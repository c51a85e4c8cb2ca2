"""Functions that do what they should not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import urllib.request
from typing import Any

from currant import task, workflow

stuck = threading.Event()  # what `never_returns` waits for


@task(queue="mistakes")
async def fine(text: str = "fine") -> str:
    return text


@task(queue="mistakes", retries=0)
async def gives(what: str) -> Any:
    """A result that JSON cannot carry."""
    return {"nan": float("nan"), "object": object(), "large": "x" * 2_000_000, "keys": {5: 1}}[what]


@task(queue="mistakes")
async def gives_and_would_try_again() -> Any:
    return object()


@workflow(queue="mistakes")
async def carries(what: str) -> Any:
    """A step's argument that JSON cannot carry: the error is raised at the call, and may be caught."""
    try:
        return await fine.run({"nan": float("nan"), "object": object(), "large": "x" * 2_000_000}[what])  # type: ignore[arg-type]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@workflow(queue="mistakes")
async def talks(how: str) -> str:
    """I/O in a workflow."""
    if how == "connection":
        await asyncio.open_connection("127.0.0.1", 9)
    elif how == "server":
        await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    elif how == "subprocess":
        await asyncio.create_subprocess_exec("true")
    elif how == "thread":
        await asyncio.to_thread(len, "x")
    elif how == "lookup":
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    elif how == "urllib":
        urllib.request.urlopen("http://127.0.0.1:9/").close()
    elif how == "socket":
        socket.create_connection(("127.0.0.1", 9)).close()
    return await fine.run()


@task(queue="mistakes", timeout=0.2, retries=0)
async def awaits_for_ever() -> None:
    await asyncio.Event().wait()


@task(queue="mistakes", timeout=0.2, retries=0)
def never_returns() -> None:
    stuck.wait()


@task(queue="mistakes", retries=0, max_worker_losses=0)
async def kills_its_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(queue="mistakes", retries=0)
async def exits() -> None:
    raise SystemExit(3)


@task(queue="mistakes", retries=0)
async def says_a_lot() -> None:
    raise RuntimeError("first line\nsecond line \0 \ud800 " + "x" * 100_000)
