"""Workflows at random, as trees that `interpret` runs, and random orders of outcomes for them.

Everything is chosen through `pick(n)`, which gives 0 <= number < n: hypothesis can shrink it, a seed can repeat it. The
name of every step carries a digest of all that the workflow has seen so far, so the slightest difference in order
shows up as another command.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from currant import context
from currant.errors import CurrantError
from fake_engine import FakeCall, FakeEngine, step

Pick = Callable[[int], int]
Node = tuple[Any, ...]

LEAVES = [
    *["step"] * 8,
    *["sleep"] * 3,
    *["signal"] * 3,
    *["verb", "version", "side_effect", "chance", "detach", "yield", "raise"],
]
BRANCHES = [
    "seq",
    "gather",
    "wait",
    "group",
    "spawn",
    "wait_for",
    "timeout",
    "try",
    "as_completed",
    "queue",
    "lock",
    "shield",
    "cancel",
    "generator",
    "event",
    "condition",
    "semaphore",
    "barrier",
    "reschedule",
    "cancel_self",
    "cancel_again",
]
RETURN_WHEN = [asyncio.FIRST_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED]


def make_node(pick: Pick, depth: int) -> Node:
    """A tree of at most this depth."""
    if depth == 0 or pick(5) == 0:
        return (LEAVES[pick(len(LEAVES))], pick(4))
    kind = BRANCHES[pick(len(BRANCHES))]
    children = [make_node(pick, depth - 1) for _ in range(1 + pick(4))]
    return (kind, pick(4), *children)


def make_program(pick: Pick) -> Node:
    """A few trees, one after the other."""
    return ("seq", pick(4), *[make_node(pick, 3) for _ in range(1 + pick(4))])


def make_workflow(node: Node, swapped: dict[int, int] | None = None) -> Callable[[], Coroutine[Any, Any, Any]]:
    """The workflow that interprets this tree and returns all that it saw.

    `swapped`: steps, by the order in which they are called, that have the argument of another one.
    """

    async def workflow() -> Any:
        player = Player(swapped or {})
        await player.play(node)
        return player.trace

    return workflow


class Player:
    """Interprets a tree, and keeps a trace of what happened in which order."""

    def __init__(self, swapped: dict[int, int]) -> None:
        self.swapped = swapped
        self.steps = 0
        self.trace: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []

    def saw(self, *what: Any) -> None:
        self.trace.append([str(part) for part in what])

    def name(self) -> str:
        return f"f{zlib.crc32(repr(self.trace).encode()) % 1000}"

    def step(self, kind: str = "task") -> Coroutine[Any, Any, Any]:
        """A step whose argument is its number."""
        number, self.steps = self.steps, self.steps + 1
        return step(self.name(), kind, self.swapped.get(number, number))

    async def play(self, node: Node) -> Any:
        kind, number, *children = node
        try:
            value = await getattr(self, f"play_{kind}")(number, children)
        except Exception as error:
            self.saw(kind, "raised", type(error).__name__)
            if number < 3:
                return None
            raise
        self.saw(kind, value)
        return value

    # leaves

    async def play_step(self, number: int, children: list[Node]) -> Any:
        return await self.step("workflow" if number == 0 else "task")

    async def play_sleep(self, number: int, children: list[Node]) -> Any:
        return await asyncio.sleep(number, number)

    async def play_signal(self, number: int, children: list[Node]) -> Any:
        return await context.wait_for_signal(f"s{number % 2}", timeout=number or None)

    async def play_version(self, number: int, children: list[Node]) -> Any:
        return context.get_version(f"change-{number}", 1, 1 + number)

    async def play_side_effect(self, number: int, children: list[Node]) -> Any:
        return context.side_effect(lambda: number)

    async def play_chance(self, number: int, children: list[Node]) -> Any:
        return [context.now(), context.uuid4(), context.random()][number % 3]

    async def play_detach(self, number: int, children: list[Node]) -> Any:
        run = context.active_run()
        assert run is not None
        if number == 0:
            return await run.enqueue(FakeCall("task", self.name()), "key")  # type: ignore[arg-type]
        return run.detach(FakeCall("task", self.name()))  # type: ignore[arg-type]

    async def play_verb(self, number: int, children: list[Node]) -> Any:
        run = context.active_run()
        assert run is not None
        return await run.verb("status", "01900000-0000-7000-8000-000000000002", "", b"null", lambda data: data.decode())

    async def play_yield(self, number: int, children: list[Node]) -> Any:
        await asyncio.sleep(0)

    async def play_raise(self, number: int, children: list[Node]) -> Any:
        raise ValueError(self.name())

    # branches

    async def play_seq(self, number: int, children: list[Node]) -> Any:
        for child in children:
            await self.play(child)

    async def play_gather(self, number: int, children: list[Node]) -> Any:
        steps = [self.step() for _ in range(number % 2)]
        values = await asyncio.gather(*steps, *map(self.play, children), return_exceptions=number > 1)
        return [show(value) for value in values]

    async def play_wait(self, number: int, children: list[Node]) -> Any:
        tasks = [asyncio.create_task(self.play(child)) for child in children]
        timeout = [None, None, 1, 2][number]
        done, pending = await asyncio.wait(tasks, timeout=timeout, return_when=RETURN_WHEN[number])
        for task in done:
            self.saw("done", tasks.index(task), "cancelled" if task.cancelled() else show(task.exception()))
        for task in pending:
            if number % 2:
                task.cancel()
            else:
                self.tasks.append(task)
        return len(done)

    async def play_group(self, number: int, children: list[Node]) -> Any:
        async with asyncio.TaskGroup() as group:
            for child in children[1:]:
                group.create_task(self.play(child))
            await self.play(children[0])

    async def play_spawn(self, number: int, children: list[Node]) -> Any:
        tasks = [asyncio.create_task(self.play(child)) for child in children]
        self.tasks += tasks
        if number:
            await tasks[number % len(tasks)]

    async def play_wait_for(self, number: int, children: list[Node]) -> Any:
        return await asyncio.wait_for(self.play(children[0]), [None, 0, 1, 2][number])

    async def play_timeout(self, number: int, children: list[Node]) -> Any:
        async with asyncio.timeout(number or None) as scope:
            for child in children:
                await self.play(child)
        return scope.expired()

    async def play_try(self, number: int, children: list[Node]) -> Any:
        expected = [Exception, CurrantError, asyncio.CancelledError, (Exception, asyncio.CancelledError)][number]
        try:
            await self.play(children[0])
        except expected as error:
            self.saw("caught", type(error).__name__)
            for child in children[1:2]:
                await self.play(child)
        finally:
            for child in children[2:]:
                await self.play(child)

    async def play_as_completed(self, number: int, children: list[Node]) -> Any:
        for earliest in asyncio.as_completed(map(self.play, children), timeout=number or None):
            self.saw("earliest", await earliest)

    async def play_queue(self, number: int, children: list[Node]) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue(number)

        async def produce(child: Node) -> None:
            await queue.put(await self.play(child))

        self.tasks += [asyncio.create_task(produce(child)) for child in children]
        return [str(await queue.get()) for _ in children[1:]]

    async def play_lock(self, number: int, children: list[Node]) -> Any:
        lock = asyncio.Semaphore(1 + number % 2)

        async def guarded(child: Node) -> None:
            async with lock:
                await self.play(child)

        await asyncio.gather(*map(guarded, children))

    async def play_event(self, number: int, children: list[Node]) -> Any:
        event = asyncio.Event()

        async def follow(child: Node) -> None:
            await event.wait()
            await self.play(child)

        self.tasks += [asyncio.create_task(follow(child)) for child in children[1:]]
        try:
            await self.play(children[0])
        finally:
            event.set()

    async def play_condition(self, number: int, children: list[Node]) -> Any:
        condition = asyncio.Condition()

        async def follow(child: Node) -> None:
            async with condition:
                await condition.wait()
                await self.play(child)

        followers = [asyncio.create_task(follow(child)) for child in children]
        self.tasks += followers
        await self.play(children[0])
        async with condition:
            condition.notify(1 + number % 2)
            if number > 1:  # who is notified is cancelled before it goes on
                followers[0].cancel()
        await asyncio.sleep(0)
        async with condition:
            condition.notify()

    async def play_semaphore(self, number: int, children: list[Node]) -> Any:
        """More tasks than permits, of which some are cancelled while they wait."""
        permits = asyncio.Semaphore(number)

        async def guarded(child: Node) -> None:
            async with permits:
                await self.play(child)

        tasks = [asyncio.create_task(guarded(child)) for child in children * 2]
        self.tasks += tasks
        await self.play(children[0])
        for _ in range(3 - number):
            permits.release()
        tasks[number % len(tasks)].cancel()
        await asyncio.sleep(0)
        permits.release()
        done, _ = await asyncio.wait(tasks, timeout=number or None)
        return len(done)

    async def play_barrier(self, number: int, children: list[Node]) -> Any:
        barrier = asyncio.Barrier(len(children))

        async def meet(child: Node) -> Any:
            await self.play(child)
            return await barrier.wait()

        return await asyncio.wait_for(asyncio.gather(*map(meet, children)), number or None)

    async def play_reschedule(self, number: int, children: list[Node]) -> Any:
        now = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(now + 1) as scope:
            for child in children:
                await self.play(child)
                scope.reschedule(None if number == 3 else now + number)
        return scope.expired()

    async def play_cancel_self(self, number: int, children: list[Node]) -> Any:
        """A task that cancels itself, and may take it back before it waits or afterwards."""
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if number == 0:
            task.uncancel()
        try:
            for child in children:
                await self.play(child)
        except asyncio.CancelledError:
            self.saw("cancelled", task.cancelling())
            if number > 1:
                task.uncancel()
            await self.play(children[0])

    async def play_cancel_again(self, number: int, children: list[Node]) -> Any:
        """A group or a time-out in a task that is cancelled once more while it ends."""

        async def fall(child: Node) -> None:
            try:
                await self.play(child)
            finally:
                raise ValueError(self.name())

        async def group() -> None:
            try:
                async with asyncio.timeout(number or None), asyncio.TaskGroup() as group:
                    for child in children:
                        group.create_task(fall(child))
            except* ValueError as error:
                self.saw("fell", len(error.exceptions))
            for child in children:
                await self.play(child)

        task = asyncio.create_task(group())
        self.tasks.append(task)
        await self.play(children[0])
        task.cancel()
        await self.play(children[-1])
        if number > 1:
            task.cancel()
        return show(*await asyncio.gather(task, return_exceptions=True))

    async def play_shield(self, number: int, children: list[Node]) -> Any:
        task = asyncio.create_task(self.play(children[0]))
        self.tasks.append(task)
        return await asyncio.wait_for(asyncio.shield(task), number or None)

    async def play_cancel(self, number: int, children: list[Node]) -> Any:
        task = asyncio.create_task(self.play(children[0]))
        for child in children[1:]:
            await self.play(child)
        if number:
            await asyncio.sleep(0)
        task.cancel()
        return show(*await asyncio.gather(task, return_exceptions=True))

    async def play_generator(self, number: int, children: list[Node]) -> Any:
        async def values() -> AsyncIterator[Any]:
            try:
                for child in children:
                    yield await self.play(child)
            finally:
                self.saw("generator left")
                await self.step()

        async for value in values():
            if number == 0:
                return value


def show(value: Any) -> str:
    """The text of a value. How an exception is shown differs between Python versions: its class is enough."""
    return type(value).__name__ if isinstance(value, BaseException) else str(value)


def choose_outcome(engine: FakeEngine, pick: Pick) -> tuple[str, str, Any]:
    """What happens next to the run: one of the steps it waits for ends, or it is cancelled or times out."""
    own = [key for key in ("!cancel", "!timeout") if all(key != outcome[0] for outcome in engine.outcomes)]
    if own and pick(40) == 0:
        return own[0], "completed", b""
    keys = list(engine.open)
    key = keys[pick(len(keys))]
    waited = engine.open[key]
    if waited.kind == "timer":
        return key, "fired", b""
    if waited.kind == "signal":
        return (key, "timeout", b"") if waited.due is not None and pick(3) == 0 else (key, "completed", {"n": pick(3)})
    end = pick(8)
    if end == 0:
        return key, "failed", {"type": "ValueError", "message": f"m{pick(3)}", "traceback": "", "id": "x"}
    if end == 1 and waited.kind != "verb":
        return key, "cancelled", b""
    return key, "completed", "an-id" if waited.kind == "verb" else pick(3)
