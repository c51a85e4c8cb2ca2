"""The Rust engine's half of one run, in memory: it records commands, numbers outcomes, rebuilds the run from both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from currant._payloads import codec
from currant._workflow.journal import Command
from currant._workflow.replay_check import ReplayCheck, asked_by
from currant._workflow.run import WorkflowRun
from currant.context import active_run

RUN_ID = "01900000-0000-7000-8000-000000000001"
STARTED = 1_700_000_000_000_000  # microseconds
OTHER = "01900000-0000-7000-8000-000000000002"
FAILURE = {"type": "ValueError", "message": "no money", "traceback": "", "id": OTHER}
ENDS = ("complete", "fail", "cancelled", "hold")

Main = Callable[[], Coroutine[Any, Any, Any]]


class FakeCall(NamedTuple):
    """Stands for rust_bridge.Call, which needs the extension."""

    kind: str
    function: str
    args: bytes = b""


class Open(NamedTuple):
    """A step that the run waits for."""

    kind: str
    name: str
    due: int | None


def step(name: str, kind: str = "task", *args: Any) -> Coroutine[Any, Any, Any]:
    """What `.run(*args)` of a registered function does, for a function that takes and gives any JSON."""
    run = active_run()
    assert run is not None, "step() outside a workflow"
    return run.execute(FakeCall(kind, name, stored(*args) if args else b""), codec.decode)  # type: ignore[arg-type]


def stored(*args: Any, **kwargs: Any) -> bytes:
    """Arguments as they are stored."""
    return json.dumps({"args": args, "kwargs": kwargs}).encode()


class FakeEngine:
    """One run. `commands` has the answer to every activation; `end` the command that ended the run."""

    def __init__(self, main: Main, run_id: str = RUN_ID, replay_check: ReplayCheck = "arguments") -> None:
        self.main = main
        self.run_id = run_id
        self.replay_check = replay_check
        self.records: dict[str, tuple[Any, ...]] = {}
        self.outcomes: list[tuple[str, int, int, str, bytes]] = []
        self.open: dict[str, Open] = {}
        self.commands: list[list[Command]] = []
        self.end: Command | None = None
        self.clock = STARTED
        self.run: WorkflowRun | None = None

    def __del__(self) -> None:
        if self.run is not None:
            self.run.evict()  # so that nothing of it is left to the garbage collector

    # --- what the engine does

    def start(self) -> list[Command]:
        """Give the run to the worker for the first time."""
        self.run = self._new_run()
        return self._commit(self.run.start(STARTED, [], []))

    def deliver(self, key: str, status: str = "completed", value: Any = None, *, lost: bool = False) -> list[Command]:
        """Number this outcome, deliver it, record it with the answer. `lost`: the worker dies before the commit."""
        return self.deliver_batch([(key, status, value)], lost=lost)

    def deliver_batch(self, news: list[tuple[str, str, Any]], *, lost: bool = False) -> list[Command]:
        """Deliver several outcomes in one activation. Of more than one the engine does no such thing (rule a)."""
        assert self.run is not None
        numbered = []
        for key, status, value in news:
            due = self.open[key].due if key in self.open else None
            self.clock = max(self.clock + 1000, due or 0)
            payload = value if isinstance(value, bytes) else json.dumps(value).encode()
            numbered.append((key, len(self.outcomes) + len(numbered) + 1, self.clock, status, payload))
        answer = self._activate_without_running(numbered[:-1]) + self.run.activate(*numbered[-1])
        if lost:
            return answer
        self.outcomes.extend(numbered)
        keys = [key for key, _, _ in news]
        for key in keys:
            self.open.pop(key, None)
        if len(news) > 1:  # one of them may have cancelled what another one is the outcome of
            answer = [command for command in answer if command[0] != "cancel" or command[1] not in keys]
        return self._commit(answer)

    def _activate_without_running(self, outcomes: list[Any]) -> list[Command]:
        assert self.run is not None
        if not outcomes:
            return []
        loop = self.run.loop
        loop.run_ready = lambda: None  # type: ignore[method-assign]
        try:
            return [command for outcome in outcomes for command in self.run.activate(*outcome)]
        finally:
            del loop.run_ready

    def crash(self) -> list[Command]:
        """The worker is gone; another one rebuilds the run. Gives its answer, which nothing is done with."""
        if self.run is not None:
            self.run.evict()  # the objects go, what they do meanwhile counts for nothing
        self.run = self._new_run()
        return self.run.start(STARTED, self.history(), list(self.outcomes))

    def resume(self) -> list[Command]:
        """`crash`, and what was not recorded is from now on: a retried run."""
        return self._commit(self.crash())

    def evict(self) -> bool:
        """Put the run out of memory."""
        assert self.run is not None
        run, self.run = self.run, None
        return run.evict()

    def history(self) -> list[Command]:
        """The records as the engine gives them: in any order."""
        return [(key, *record) for key, record in reversed(self.records.items())]

    # --- what it records

    def _new_run(self) -> WorkflowRun:
        return WorkflowRun(self.run_id, "tests.workflow", "default", 1, self.main, codec.encode, self.replay_check)

    def _commit(self, commands: list[Command]) -> list[Command]:
        self.commands.append(commands)
        for command in commands:
            assert self.end is None, f"{command} after the end {self.end}"
            self._obey(*command)
        return commands

    def _obey(self, command: str, key: Any = "", *rest: Any) -> None:
        if command in ENDS:
            self.end = (command, key) if key else (command,)
        elif command == "cancel":
            assert key in self.open, f"cancel of {key}, which is not open"
            del self.open[key]
        else:
            assert key not in self.records, f"key {key} is used twice"
            self._record(command, key, rest)

    def _record(self, command: str, key: str, rest: tuple[Any, ...]) -> None:
        value = None
        due = None
        if command in ("execute", "detach"):
            kind, name = rest[0].kind if command == "execute" else command, rest[0].function
        elif command == "enqueue":
            kind, name = "verb", "enqueue"
        else:
            kind, name = command, rest[0] if command in ("signal", "version", "verb") else ""
        if command in ("signal", "timer"):
            due = rest[-1]
        if command in ("version", "side_effect"):
            value = rest[-1]
        self.records[key] = (kind, name, value, asked_by((command, key, *rest)))
        if command not in ("detach", "version", "side_effect"):
            self.open[key] = Open(kind, name, due)

    # --- what a test asks

    @property
    def result(self) -> Any:
        """What the run completed with."""
        assert self.end is not None, f"the run has not ended; open: {self.open}"
        assert self.end[0] == "complete", self.end
        return json.loads(self.end[1])

    @property
    def error(self) -> dict[str, Any]:
        """The error that ended the run or made it incompatible."""
        assert self.end is not None, f"the run has not ended; open: {self.open}"
        assert self.end[0] in ("fail", "hold"), self.end
        error: dict[str, Any] = json.loads(self.end[1])
        return error


def running(main: Main) -> FakeEngine:
    """An engine whose run has been started."""
    engine = FakeEngine(main)
    engine.start()
    return engine


def kinds(commands: list[Command]) -> list[tuple[Any, ...]]:
    """Commands without what a call carries: (command, key[, function])."""
    return [(*c[:2], c[2].function) if c[0] in ("execute", "detach") else c for c in commands]


def forever() -> asyncio.Future[Any]:
    """A future of the workflow's loop that nobody sets."""
    return asyncio.get_running_loop().create_future()


def active() -> Any:
    run = active_run()
    assert run is not None
    return run


async def two_steps() -> Any:
    return [await step("a"), await step("b")]


def changed(engine: FakeEngine, main: Main) -> FakeEngine:
    """The same history under other code, rebuilt."""
    engine.main = main
    engine.resume()
    return engine
