"""An extension in memory, by docs/internals/engine.md: a core without a database, and an engine that does what a test says."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import types
import uuid
from collections import deque
from typing import Any

TERMINAL = ("completed", "failed", "cancelled")


def _error(name: str, message: str) -> Exception:
    # Looked up at the last moment: `currant` imports the extension, so this module comes first.
    return getattr(importlib.import_module("currant.errors"), name)(message)  # type: ignore[no-any-return]


class Mailbox:
    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._lock = threading.Lock()
        self._letters: list[tuple[int, Any, BaseException | None]] = []
        self._open = True

    def fileno(self) -> int:
        return self._reader

    def put(self, letter: tuple[int, Any, BaseException | None]) -> None:
        with self._lock:
            self._letters.append(letter)
            if len(self._letters) == 1:
                os.write(self._writer, b"x")

    def take(self) -> list[tuple[int, Any, BaseException | None]]:
        with self._lock:
            letters, self._letters = self._letters, []
            if letters:
                os.read(self._reader, 1)
            return letters

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._reader)
            os.close(self._writer)

    def __del__(self) -> None:
        self.close()


class Core:
    """Executions in a dict. `end` plays the worker; verbs given a reply answer from another thread, as the real one."""

    def __init__(self, url: str, max_connections: int = 4) -> None:
        self.url = url
        self.process = os.getpid()
        self.executions: dict[str, dict[str, Any]] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.signals: list[tuple[str, str, bytes]] = []
        self.commits: list[int] = []  # how many executions each enqueue committed
        self._changed = threading.Condition()

    def close(self) -> None:
        pass

    def end(self, id: str, state: str, payload: bytes = b"null") -> None:
        with self._changed:
            self.executions[id].update(state=state, payload=payload)
            self._changed.notify_all()

    def create_executions(self, items: list[Any], reply: Any = None) -> Any:
        return self._answer(reply, self._create, items)

    def get_execution(self, id: str, reply: Any = None) -> Any:
        return self._answer(reply, lambda: json.dumps({"id": id, "state": self._find(id)["state"]}).encode())

    def wait_execution(self, id: str, timeout: float | None = None, reply: Any = None) -> Any:
        return self._answer(reply, self._wait, id, timeout)

    def cancel_execution(self, id: str, force: bool = False, reply: Any = None) -> Any:
        return self._answer(reply, self._cancel, id)

    def send_signal(self, id: str, name: str, payload: bytes, dedup_key: str | None = None, reply: Any = None) -> Any:
        return self._answer(reply, self._signal, id, name, payload)

    def migrate(self, reply: Any = None) -> Any:
        return self._answer(reply, lambda: b'{"version": 1, "functions": [], "newer": null}')

    def claim_executions(self, worker_id: str, queues: list[str], limit: int, reply: Any = None) -> Any:
        ready = [(id, e) for id, e in self.executions.items() if e["state"] == "pending" and e["queue"] in queues]
        for _, execution in ready[:limit]:
            execution.update(state="running", lease=execution["lease"] + 1)
        return [(id, e["lease"], json.dumps({"function": e["function"]}).encode()) for id, e in ready[:limit]]

    def complete_executions(self, worker_id: str, items: list[tuple[str, int, bytes]], reply: Any = None) -> Any:
        refused = [id for id, lease, _ in items if self.executions[id]["lease"] != lease]
        for id, _, payload in items:
            if id not in refused:
                self.end(id, "completed", payload)
        return refused

    def _answer(self, reply: Any, verb: Any, *args: Any) -> Any:
        if reply is None:
            return verb(*args)
        mailbox, token = reply

        def work() -> None:
            try:
                mailbox.put((token, verb(*args), None))
            except Exception as error:
                mailbox.put((token, None, error))

        threading.Thread(target=work, daemon=True).start()
        return None

    def _create(self, items: list[Any]) -> list[str]:
        ids = []
        for id, call, key, _checked in items:
            winner = id if key is None else self.keys.setdefault((call[1], key), id)
            if winner == id:
                self.executions[id] = {
                    "state": "pending",
                    "call": call,
                    "function": call[1],
                    "queue": call[2],
                    "lease": 0,
                }
            ids.append(winner)
        self.commits.append(len(items))
        return ids

    def _wait(self, id: str, timeout: float | None) -> tuple[str, bytes]:
        limit = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._find(id)["state"] not in TERMINAL:
                left = None if limit is None else limit - time.monotonic()
                if left is not None and left <= 0:
                    return self._find(id)["state"], b""
                self._changed.wait(left)
            found = self._find(id)
            return found["state"], b"" if found["state"] == "cancelled" else found["payload"]

    def _cancel(self, id: str) -> None:
        if self._find(id)["state"] in TERMINAL:
            raise _error("NotRunning", f"execution {id} has ended")
        self.end(id, "cancelled", b"")

    def _signal(self, id: str, name: str, payload: bytes) -> None:
        if self._find(id)["state"] in TERMINAL:
            raise _error("NotRunning", f"execution {id} has ended")
        self.signals.append((id, name, payload))

    def _find(self, id: str) -> dict[str, Any]:
        if id not in self.executions:
            raise _error("NotFound", f"no execution {id}")
        return self.executions[id]


class Engine:
    """Gives a worker what a test puts in with `give`, and keeps every answer in `answers`.

    `activations`: what `complete`, `fail` and `commands` give back, by the id that was answered.
    """

    made: list[Engine] = []

    def __init__(
        self,
        core: Core,
        name: str,
        queues: list[str],
        tasks: list[str],
        workflows: list[str],
        *rest: Any,
        **options: Any,
    ) -> None:
        self.core, self.name, self.queues, self.tasks, self.workflows = core, name, queues, tasks, workflows
        self.functions, self.build, self.concurrency, *_ = rest
        self.worker_id = str(uuid.uuid4())
        self.answers: list[tuple[Any, ...]] = []
        self.activations: dict[str, deque[tuple[Any, ...]]] = {}
        self._items: deque[tuple[Any, ...]] = deque()
        self._hot: set[str] = set()  # workflows in the worker's memory
        self._reader, self._writer = os.pipe()
        Engine.made.append(self)

    def start(self) -> None:
        self.answers.append(("start",))

    def fileno(self) -> int:
        return self._reader

    def give(self, *items: tuple[Any, ...]) -> None:
        self._items.extend(items)
        os.write(self._writer, b"x")

    def pull(self, limit: int) -> list[tuple[Any, ...]]:
        taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
        self._hot |= {item[1] for item in taken if item[0] == "run"}
        self._hot -= {item[1] for item in taken if item[0] == "drop"}
        if not taken:
            os.set_blocking(self._reader, False)
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass
        return taken

    def complete(self, id: str, lease: int, payload: bytes) -> Any:
        return self._answered("complete", id, lease, payload)

    def fail(self, id: str, lease: int, error: bytes, retryable: bool) -> Any:
        return self._answered("fail", id, lease, error, retryable)

    def release(self, id: str, lease: int) -> None:
        self._answered("release", id, lease)

    def commands(self, run_id: str, lease: int, commands: list[tuple[Any, ...]]) -> Any:
        if commands and commands[-1][0] in ("complete", "fail", "cancelled", "hold"):
            self._hot.discard(run_id)
        return self._answered("commands", run_id, lease, commands)

    def suspended(self, run_id: str, lease: int) -> None:
        self._hot.discard(run_id)
        self._answered("suspended", run_id, lease)

    def drain(self) -> None:
        self.answers.append(("drain",))
        self.give(*(("evict", id) for id in self._hot))

    def stop(self, timeout: float, reply: Any = None) -> None:
        self.answers.append(("stop",))
        mailbox, token = reply
        mailbox.put((token, None, None))

    def _answered(self, *answer: Any) -> Any:
        self.answers.append(answer)
        waiting = self.activations.get(answer[1])
        return waiting.popleft() if waiting else None


def new_id() -> str:
    return str(uuid.uuid4())


def derive_id(run_id: str, key: str) -> str:
    """As core/src/base/ids.rs: the run's time stamp, the position, then a hash."""
    run = uuid.UUID(run_id)
    last = key.rpartition("/")[2].rpartition(":")[2]
    position = min(int(last), 0xFFF) if last.isdecimal() else 0
    hashed = uuid.uuid5(run, key).bytes
    return str(uuid.UUID(bytes=run.bytes[:6] + (0x7000 | position).to_bytes(2, "big") + hashed[8:]))


def after_fork() -> None:
    pass


def install() -> None:
    """Stand in for the extension where it is not built: unit tests of Python need no Rust."""
    module = types.ModuleType("currant._core")
    for thing in (Mailbox, Core, Engine, new_id, derive_id, after_fork):
        setattr(module, thing.__name__, thing)
    sys.modules["currant._core"] = module
