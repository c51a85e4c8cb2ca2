"""A program that forks after it has used its client, as gunicorn and uwsgi do. Prints one JSON line a process."""

from __future__ import annotations

import asyncio
import json
import os

from apps import letters


async def on_a_loop(text: str) -> str:
    return await (await letters.write.queue(text)).result(timeout=30)


def use(text: str) -> list[str]:
    """Both ways of the client."""
    return [letters.write.queue_sync(text).result_sync(timeout=30), asyncio.run(on_a_loop(text))]


def in_child(name: str) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(1, f"{json.dumps([name, *use(name)])}\n".encode())
            code = 0
        finally:
            os._exit(code)
    return pid


def main() -> None:
    use("before")
    children = [in_child("child 1"), in_child("child 2")]
    os.write(1, f"{json.dumps(['parent', *use('parent')])}\n".encode())
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    assert codes == [0, 0], codes


if __name__ == "__main__":
    main()
