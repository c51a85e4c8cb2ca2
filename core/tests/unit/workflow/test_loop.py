"""The loop under a run: asyncio works on it, I/O does not, and it leaves the worker's own loop as it was."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from asyncio import as_completed, gather, wait_for
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from currant import context
from currant._workflow import asyncio_patches
from currant._workflow.loop import WorkflowLoop, install_blocking_guard
from fake_engine import FakeEngine, forever, kinds, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")

OTHER = "01900000-0000-7000-8000-000000000002"


# --- what asyncio offers


def test_event_lock_queue_and_condition_work() -> None:
    async def main() -> Any:
        event, lock, queue, condition = asyncio.Event(), asyncio.Lock(), asyncio.Queue[str](), asyncio.Condition()
        order: list[str] = []

        async def waiter() -> None:
            await event.wait()
            async with lock:
                order.append("waiter")
                await queue.put("item")

        async def notified() -> None:
            async with condition:
                await condition.wait()
                order.append("notified")

        tasks = [asyncio.create_task(waiter()), asyncio.create_task(notified())]
        await step("a")
        async with lock:
            event.set()
            await step("b")
            order.append("main")
        order.append(await queue.get())
        async with condition:
            condition.notify()
        await asyncio.gather(*tasks)
        return order

    engine = running(main)
    engine.deliver("0")
    engine.deliver("1")
    assert engine.result == ["main", "waiter", "item", "notified"]


def test_as_completed_starts_its_awaitables_in_the_order_given() -> None:
    async def main() -> Any:
        return [await earliest for earliest in asyncio.as_completed(step(name) for name in "abcdefgh")]

    engine = running(main)
    assert [command[2].function for command in engine.commands[0]] == list("abcdefgh")
    for key in "73105246":
        engine.deliver(key, value=key)
    assert engine.result == list("73105246")


def test_as_completed_takes_an_async_for_on_every_python_version() -> None:
    async def main() -> Any:
        tasks = [asyncio.create_task(step(name)) for name in "ab"]  # type: ignore[var-annotated]
        return [tasks.index(task) async for task in asyncio.as_completed(tasks)]  # type: ignore[attr-defined]

    engine = running(main)
    engine.deliver("1")
    engine.deliver("0")
    assert engine.result == [1, 0]


def test_as_completed_times_out() -> None:
    async def main() -> Any:
        got = []
        try:
            for earliest in asyncio.as_completed([step("a"), step("b")], timeout=5):
                got.append(await earliest)
        except TimeoutError:
            return got

    engine = running(main)
    (timer,) = [key for key, waited in engine.open.items() if waited.kind == "timer"]
    engine.deliver("0", value="A")
    engine.deliver(timer, "fired", b"")
    assert engine.result == ["A"]


def test_wait_for_makes_no_branch() -> None:
    async def child() -> Any:
        return await step("a")

    async def main() -> Any:
        return await asyncio.wait_for(child(), 60)

    assert sorted(command[1] for command in running(main).commands[0]) == ["0", "1"]


def test_wait_for_without_time_does_not_start() -> None:
    async def main() -> Any:
        try:
            await asyncio.wait_for(step("a"), 0)
        except TimeoutError:
            return "never started"

    engine = running(main)
    assert engine.commands == [[("complete", b'"never started"')]]


def test_gather_can_be_cancelled_and_cancels_its_steps() -> None:
    async def main() -> Any:
        both = asyncio.gather(step("a"), step("b"))
        await step("c")
        both.cancel()
        try:
            await both
        except asyncio.CancelledError:
            return "cancelled"

    engine = running(main)
    assert engine.deliver("2") == [("cancel", "0"), ("cancel", "1"), ("complete", b'"cancelled"')]


def test_gather_raises_the_first_error_or_returns_it() -> None:
    async def fails() -> None:
        raise ValueError("x")

    async def main() -> Any:
        values = await asyncio.gather(fails(), asyncio.sleep(0, 1), return_exceptions=True)
        try:
            await asyncio.gather(fails(), forever())
        except ValueError:
            return [type(value).__name__ for value in values]

    assert running(main).result == ["ValueError", "int"]


def test_sets_of_futures_iterate_in_the_same_order_in_every_process() -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        made: list[Any] = [asyncio.create_task(asyncio.sleep(0)) for _ in range(20)]
        made += [loop.create_future() for _ in range(20)]
        made += [asyncio.gather(loop.create_future()) for _ in range(20)]
        made += [gather(loop.create_future()) for _ in range(20)]  # imported before Currant
        return [made.index(one) for one in set(made)]

    padding = []
    orders = set()
    for _ in range(5):
        padding.append([object() for _ in range(1000)])  # other addresses for what comes
        orders.add(str(running(main).result))
    assert len(orders) == 1


def test_tasks_of_many_runs_have_hashes_of_their_own() -> None:
    hashes = []

    async def main() -> None:
        hashes.append(hash(asyncio.current_task()))

    for n in range(200):
        FakeEngine(main, f"01900000-0000-7000-8000-{n:012}").start()
    assert len({value % 4096 for value in hashes}) > 150


def test_context_variables_go_down_to_tasks_and_not_to_other_runs() -> None:
    import contextvars

    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    async def child() -> str:
        return name.get()

    async def main() -> Any:
        before = name.get()
        name.set("ann")
        return [before, await asyncio.create_task(child())]

    assert [running(main).result, running(main).result] == [["nobody", "ann"]] * 2


def test_an_async_generator_that_is_left_is_closed_in_the_run() -> None:
    closed = []

    async def values() -> Any:
        try:
            yield 1
            yield 2
        finally:
            closed.append(context.active_run() is not None)

    async def main() -> Any:
        async for _ in values():
            break
        await step("a")

    running(main)
    assert closed == [True]


def test_garbage_is_not_collected_during_an_activation() -> None:
    async def main() -> Any:
        return gc.isenabled()

    assert gc.isenabled()
    assert running(main).result is False
    assert gc.isenabled()


# --- the worker's loop


async def test_a_run_can_be_driven_from_a_callback_of_another_loop() -> None:
    async def main() -> Any:
        return [await step("a"), type(asyncio.get_running_loop()).__name__]

    mine = asyncio.get_running_loop()
    done = mine.create_future()

    def drive() -> None:
        engine = running(main)
        engine.deliver("0", value=1)
        done.set_result((engine.result, asyncio.get_running_loop() is mine))

    hooks = sys.get_asyncgen_hooks()
    mine.call_soon(drive)
    assert await done == ([1, "WorkflowLoop"], True)
    assert sys.get_asyncgen_hooks() == hooks


async def test_on_another_loop_asyncio_is_as_it_was() -> None:
    assert await asyncio.wait_for(asyncio.sleep(0, "x"), 1) == "x"
    assert sorted([await one for one in asyncio.as_completed([asyncio.sleep(0, n) for n in range(3)])]) == [0, 1, 2]
    outer = asyncio.gather(asyncio.sleep(0, 1))
    assert hash(outer) == object.__hash__(outer)
    assert await outer == [1]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0)


def test_what_was_imported_from_asyncio_before_is_ours_in_a_workflow() -> None:
    async def main() -> Any:
        futures = [asyncio.ensure_future(asyncio.sleep(0, n)) for n in range(3)]
        waiter = wait_for(asyncio.sleep(0, "x"), 1)
        return [type(gather(*futures)).__module__, type(as_completed(futures)).__module__, await waiter]

    assert running(main).result == ["currant._workflow.asyncio_patches", "currant._workflow.asyncio_patches", "x"]


def test_asyncio_has_its_own_code_back_when_the_last_that_needs_ours_has_ended() -> None:
    functions: Any = (asyncio.gather, asyncio.wait_for, asyncio.as_completed)

    def codes() -> list[Any]:
        methods = (asyncio.Timeout.__aexit__, asyncio.TaskGroup.__aexit__, asyncio.Condition.wait)
        return [function.__code__ for function in (*functions, *methods, asyncio.Semaphore.acquire)]

    asyncio_patches.uninstall()  # the fixture's
    try:
        plain = codes()
        assert {os.path.dirname(code.co_filename) for code in plain} == {os.path.dirname(asyncio.__file__)}
        asyncio_patches.install()
        asyncio_patches.install()
        asyncio_patches.uninstall()
        assert not {code.co_filename for code in plain} & {code.co_filename for code in codes()}
        asyncio_patches.uninstall()
        assert codes() == plain
        with pytest.raises(RuntimeError, match="a workflow runs in a worker"):
            running(forever)  # type: ignore[arg-type]
    finally:
        asyncio_patches.install()
    assert [function.__name__ for function in functions] == ["gather", "wait_for", "as_completed"]


async def test_a_future_of_another_loop_cannot_be_awaited() -> None:
    foreign = asyncio.get_running_loop().create_future()

    async def main() -> None:
        await foreign

    error = running(main).error
    assert error["type"] == "RuntimeError"
    assert "attached to a different loop" in error["message"]


def test_a_future_of_a_workflow_cannot_be_set_from_outside() -> None:
    futures = []

    async def main() -> None:
        futures.append(forever())
        await futures[0]

    engine = running(main)
    with pytest.raises(RuntimeError, match="put it in a task"):
        futures[0].set_result(1)
    errors: list[BaseException] = []

    def other_thread() -> None:
        try:
            futures[0].get_loop().call_soon_threadsafe(print)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert not engine.evict()  # its result was set, and nobody woken


def test_a_run_cannot_be_started_inside_a_workflow() -> None:
    async def main() -> Any:
        running(forever)  # type: ignore[arg-type]

    assert "inside another one's activation" in running(main).error["message"]


def test_a_step_belongs_to_its_run() -> None:
    steps = []

    async def one() -> None:
        steps.append(step("a"))
        await step("b")

    async def other() -> None:
        await steps[0]

    engine = running(one)
    assert "belongs to another workflow" in running(other).error["message"]
    assert engine.evict()


def test_a_run_that_ended_leaves_nothing_to_the_garbage_collector() -> None:
    async def main() -> Any:
        await asyncio.gather(step("a"), asyncio.wait_for(step("b"), 60))
        return [value async for value in values()]

    async def values() -> Any:
        yield 1

    gc.collect()
    gc.disable()
    try:
        engine = running(main)
        assert engine.run is not None
        gone = [weakref.ref(engine.run), weakref.ref(engine.run.loop)]
        engine.deliver("0")
        engine.deliver("1")
        assert engine.end is not None
        del engine
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


# --- I/O

REFUSED: list[Callable[[], Awaitable[Any]]] = [
    lambda: asyncio.to_thread(print),
    lambda: asyncio.open_connection("127.0.0.1", 1),
    lambda: asyncio.start_server(print, "127.0.0.1", 0),
    lambda: asyncio.create_subprocess_exec("true"),
    lambda: asyncio.create_subprocess_shell("true"),
    lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
    lambda: asyncio.get_running_loop().run_in_executor(None, print),
    lambda: asyncio.get_running_loop().sock_recv(None, 1),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_io_raises_at_once_and_says_where_it_belongs(call: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        await call()

    error = running(main).error
    assert error["type"] == "RuntimeError"
    assert error["message"].startswith("I/O in a workflow (loop.")
    assert error["message"].endswith("put it in a task")


def test_every_method_of_a_loop_is_answered() -> None:
    plain = asyncio.AbstractEventLoop
    names = [name for name, value in vars(plain).items() if callable(value) and not name.startswith("_")]
    old = {"get_child_watcher"}
    assert [name for name in names if getattr(WorkflowLoop, name) is getattr(plain, name) and name not in old] == []


async def a_task_factory() -> None:
    asyncio.get_running_loop().set_task_factory(lambda loop, coro: None)  # type: ignore[arg-type, return-value]


async def a_plain_task() -> None:
    async def child() -> None:
        await step("a")

    await asyncio.Task(child())


async def an_own_loop() -> None:
    asyncio.get_running_loop().run_until_complete(forever())


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (a_task_factory, "a task factory cannot be set"),
        (a_plain_task, "make tasks in a workflow with asyncio.create_task"),
        (an_own_loop, "driven by its worker"),
    ],
)
def test_what_would_break_the_order_is_refused(main: Callable[[], Any], message: str) -> None:
    assert message in running(main).error["message"]


BLOCKING: list[Callable[[], Any]] = [
    lambda: time.sleep(0),
    lambda: socket.getaddrinfo("localhost", 1),
    lambda: socket.create_connection(("127.0.0.1", 1)),
    lambda: subprocess.run(["true"], check=False),
]


@pytest.mark.parametrize("call", BLOCKING)
def test_the_guard_finds_blocking_calls_in_workflows_only(call: Callable[[], Any]) -> None:
    async def main() -> None:
        call()

    install_blocking_guard()
    install_blocking_guard()
    assert "put it in a task" in running(main).error["message"]
    time.sleep(0)


async def test_eager_tasks_of_the_worker_change_nothing() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    async def main() -> Any:
        return await asyncio.gather(step("a"), step("b"))

    mine = asyncio.get_running_loop()
    mine.set_task_factory(asyncio.eager_task_factory)
    try:

        async def drive() -> list[Any]:
            return running(main).commands

        assert kinds((await asyncio.create_task(drive()))[0]) == [("execute", "0", "a"), ("execute", "1", "b")]
    finally:
        mine.set_task_factory(None)
