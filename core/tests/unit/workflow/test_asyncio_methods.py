"""Where asyncio differs between versions of Python, also between patch versions, a workflow does the same on all of them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from currant._workflow import asyncio_methods
from fake_engine import FakeEngine, forever, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


async def fail(text: str) -> None:
    raise ValueError(text)


async def fail_when_cancelled() -> None:
    try:
        await forever()
    finally:
        raise ValueError("cancelled")


def test_a_time_out_in_a_task_that_caught_a_cancel_raises_timeout_error() -> None:
    """Python 3.11.2 raises CancelledError."""

    async def main() -> Any:
        try:
            await step("a")
        except asyncio.CancelledError:
            pass
        try:
            async with asyncio.timeout(1):
                await forever()
        except TimeoutError as error:
            return type(error.__cause__).__name__

    engine = running(main)
    engine.deliver("!cancel")
    (timer,) = engine.open
    engine.deliver(timer, "fired", b"")
    assert engine.result == "CancelledError"


def test_a_time_out_can_be_entered_once() -> None:
    """In Python 3.11.2 it can be entered again, and changed before it is entered with an AssertionError."""

    async def main() -> Any:
        messages = []
        scope = asyncio.timeout(1)
        try:
            scope.reschedule(None)
        except RuntimeError as error:
            messages.append(str(error))
        async with scope:
            pass
        try:
            scope.reschedule(None)
        except RuntimeError as error:
            messages.append(str(error))
        try:
            async with scope:
                pass
        except RuntimeError as error:
            messages.append(str(error))
        return messages

    assert running(main).result == [
        "Timeout has not been entered",
        "Cannot change state of finished Timeout",
        "Timeout has already been entered",
    ]


def test_a_cancel_while_a_group_ends_with_errors_is_delivered_at_the_next_wait() -> None:
    """Before Python 3.13 it is lost when the code catches the errors."""

    async def main() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
        except* ValueError:
            pass
        await step("after")

    engine = running(main)
    engine.deliver("!cancel")
    assert engine.end == ("cancelled",)


def test_a_cancel_while_a_group_waits_for_a_task_it_cancelled_itself_is_not_lost() -> None:
    seen = []

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await step("clean up")

    async def main() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(slow_to_end())
                await step("a")
                group.create_task(fail("x"))
                await forever()
        except* ValueError:
            task = asyncio.current_task()
            seen.append(task.cancelling() if task else None)
        await step("after")

    engine = running(main)
    engine.deliver("0")
    engine.deliver("!cancel")
    (clean_up,) = engine.open
    engine.deliver(clean_up)
    assert engine.end == ("cancelled",)
    assert seen == [1]


def test_a_time_out_around_a_group_that_ends_with_errors_leaves_no_cancel_behind() -> None:
    async def main() -> Any:
        try:
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
        except* ValueError:
            pass
        return await step("after")

    engine = running(main)
    (timer,) = engine.open
    engine.deliver(timer, "fired", b"")
    (after,) = engine.open
    engine.deliver(after, value="done")
    assert engine.result == "done"


def test_a_generator_that_is_closed_inside_a_group_ends_without_an_error() -> None:
    """Python 3.13.0 raises an ExceptionGroup with the GeneratorExit."""

    async def values() -> AsyncIterator[int]:
        async with asyncio.TaskGroup():
            yield 1

    async def main() -> Any:
        generator = values()
        first = await anext(generator)
        await generator.aclose()  # type: ignore[attr-defined]
        return first

    assert running(main).result == 1


def test_a_group_keeps_the_order_and_the_errors_of_its_tasks() -> None:
    async def main() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
                group.create_task(fail("first"))
                await step("a")
        except ExceptionGroup as error:
            return [str(each) for each in error.exceptions]

    assert running(main).result == ["first", "cancelled"]


def test_a_notification_goes_to_the_next_waiter_when_its_receiver_is_cancelled() -> None:
    """Before Python 3.13 it is lost."""

    async def main() -> Any:
        condition = asyncio.Condition()

        async def wait(name: str) -> str:
            async with condition:
                await condition.wait()
                return name

        tasks = [asyncio.create_task(wait(name)) for name in ("a", "b")]
        await asyncio.sleep(0)
        async with condition:
            condition.notify()
            tasks[0].cancel()
        return await tasks[1]

    assert running(main).result == "b"


def test_all_free_permits_are_given_at_once() -> None:
    """Before Python 3.13 each task that gets a permit wakes only the next one."""

    async def main() -> Any:
        permits = asyncio.BoundedSemaphore(3)
        served: list[str] = []

        async def work(name: str) -> None:
            await permits.acquire()
            served.append(name)
            await asyncio.sleep(0)
            served.append(f"{name} goes on")

        for _ in range(3):
            await permits.acquire()
        tasks = [asyncio.create_task(work("a"))]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(work("b")))
        for _ in range(3):
            permits.release()
        await work("c")  # waits behind "a", who has a permit and has not seen it yet; so does "b"
        await asyncio.gather(*tasks)
        return served

    assert running(main).result == ["a", "c", "b", "a goes on", "c goes on", "b goes on"]


def cancelled_in_time(engine: FakeEngine) -> bool:
    return engine.end is not None and "the workflow cancelled itself" in engine.error["message"]


def test_a_task_that_cancels_itself_is_cancelled_though_it_calls_uncancel() -> None:
    """From Python 3.13 on `uncancel` takes such a cancel back."""

    async def main() -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        assert (task.cancelling(), task.uncancel(), task.uncancel(), task.cancelling()) == (1, 0, 0, 0)
        await step("a")

    assert cancelled_in_time(running(main))


def test_a_subclass_of_a_group_does_the_same() -> None:
    class Group(asyncio.TaskGroup):
        pass

    async def main() -> Any:
        async def values() -> AsyncIterator[int]:
            async with Group():
                yield 1

        generator = values()
        await anext(generator)
        await generator.aclose()  # type: ignore[attr-defined]
        return "closed"

    assert running(main).result == "closed"


async def test_on_another_loop_methods_are_asyncio_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a workflow's method on another loop")

    monkeypatch.setattr(asyncio_methods, "_stop_timer", refuse)
    monkeypatch.setattr(asyncio_methods, "_group_outcome", refuse)
    monkeypatch.setattr(asyncio_methods, "_acquire_again", refuse)
    monkeypatch.setattr(asyncio_methods, "_give_permits", refuse)
    permits, condition = asyncio.Semaphore(), asyncio.Condition()
    async with asyncio.timeout(None) as scope, asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(0, "x"))
        with pytest.raises(TimeoutError):
            async with permits, condition, asyncio.timeout(0):
                await condition.wait()
        async with permits:
            waiter = group.create_task(permits.acquire())
            await asyncio.sleep(0)
        assert await waiter
    assert task.result() == "x"
    assert not scope.expired()


def test_what_a_group_raises_leaves_nothing_to_the_garbage_collector() -> None:
    async def main() -> Any:
        kept: list[weakref.ref[BaseException]] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail("x"))
        except ExceptionGroup as error:
            kept.append(weakref.ref(error))
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            async with asyncio.TaskGroup():
                await forever()
        except asyncio.CancelledError as error:
            kept.append(weakref.ref(error))
        await asyncio.sleep(0)  # asyncio has the cancel until the task waits
        return [each() is None for each in kept]

    assert running(main).result == [True, True]


def test_a_run_that_is_evicted_inside_a_group_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> Any:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(forever_in_a_group())

    async def forever_in_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step("a"))

    engine = running(main)
    assert engine.evict()
    assert [record.getMessage() for record in caplog.records] == []
