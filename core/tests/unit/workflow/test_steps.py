"""Steps of a run: when they start, the keys they get, the signals they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from currant import context
from currant._payloads import codec
from currant.errors import (
    ExecutionCancelled,
    ExecutionFailed,
    SerializationError,
    SignalTimeout,
)
from fake_engine import FAILURE, OTHER, STARTED, FakeCall, active, forever, kinds, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


# --- steps


def test_a_step_is_a_command_and_its_outcome_is_what_await_gives() -> None:
    async def main() -> Any:
        return [await step("a"), await step("b", "workflow")]

    engine = running(main)
    assert engine.commands == [[("execute", "0", FakeCall("task", "a"))]]
    assert engine.deliver("0", value={"n": 1}) == [("execute", "1", FakeCall("workflow", "b"))]
    engine.deliver("1", value=2)
    assert engine.result == [{"n": 1}, 2]


def test_a_step_that_is_never_awaited_makes_no_command() -> None:
    async def main() -> Any:
        step("forgotten")
        return await step("b")

    with pytest.warns(RuntimeWarning, match="'forgotten' was never awaited"):
        engine = running(main)
    assert kinds(engine.commands[0]) == [("execute", "1", "b")]


def test_a_step_starts_when_it_is_awaited_at_the_position_of_its_call() -> None:
    async def main() -> Any:
        first, second = step("first"), step("second")
        return [await second, await first]

    engine = running(main)
    assert kinds(engine.commands[0]) == [("execute", "1", "second")]
    assert kinds(engine.deliver("1", value="s")) == [("execute", "0", "first")]
    engine.deliver("0", value="f")
    assert engine.result == ["s", "f"]


def test_awaiting_a_step_twice_is_an_error_that_says_so() -> None:
    async def main() -> Any:
        once = step("a")
        await once
        await once

    engine = running(main)
    engine.deliver("0")
    assert "was awaited already" in engine.error["message"]


async def gathered() -> Any:
    return await asyncio.gather(step("a"), step("b"))


async def in_tasks() -> Any:
    tasks = [asyncio.create_task(step("a")), asyncio.create_task(step("b"))]  # type: ignore[var-annotated]
    return [await task for task in tasks]


async def in_a_task_group() -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step("a")), group.create_task(step("b"))]
    return [task.result() for task in tasks]


@pytest.mark.parametrize("main", [gathered, in_tasks, in_a_task_group])
def test_steps_run_at_the_same_time_and_end_in_any_order(main: Callable[[], Any]) -> None:
    engine = running(main)
    assert kinds(engine.commands[0]) == [("execute", "0", "a"), ("execute", "1", "b")]
    assert engine.deliver("1", value="B") == []
    engine.deliver("0", value="A")
    assert engine.result == ["A", "B"]


def test_wait_takes_the_first_to_complete() -> None:
    async def main() -> Any:
        tasks = [asyncio.create_task(step(name)) for name in "abc"]  # type: ignore[var-annotated]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return [await task for task in done]

    engine = running(main)
    assert engine.deliver("1", value="B")[-1] == ("complete", b'["B"]')


def test_a_failed_step_raises_execution_failed_which_can_be_caught() -> None:
    async def main() -> Any:
        try:
            await step("charge")
        except ExecutionFailed as error:
            return [error.id, error.type, error.message]

    engine = running(main)
    engine.deliver("0", "failed", FAILURE)
    assert engine.result == [OTHER, "ValueError", "no money"]


def test_a_failed_step_that_is_not_caught_fails_the_workflow_with_the_inner_error() -> None:
    async def main() -> None:
        await step("charge")

    engine = running(main)
    engine.deliver("0", "failed", FAILURE)
    assert engine.error == FAILURE


def test_a_cancelled_step_raises_execution_cancelled() -> None:
    async def main() -> Any:
        try:
            await step("charge")
        except ExecutionCancelled as error:
            return str(error)

    engine = running(main)
    engine.deliver("0", "cancelled", b"")
    assert engine.result == "task 'charge' (step 0) was cancelled"


def test_an_outcome_that_does_not_fit_the_type_makes_the_run_incompatible() -> None:
    """It fitted the function that gave it: this worker has other code, which must not fail the run for good."""

    async def main() -> Any:
        await active().execute(FakeCall("task", "a"), partial(codec.decode, type=int))

    engine = running(main)
    engine.deliver("0", value="not a number")
    assert engine.end is not None
    assert engine.end[0] == "hold"
    assert "step 0 (task a): value does not fit int" in engine.error["message"]


def test_cancelling_a_step_is_a_command_and_its_outcome_is_ignored() -> None:
    async def main() -> Any:
        task = asyncio.create_task(step("slow"))  # type: ignore[var-annotated]
        await step("quick")
        task.cancel()
        return await step("last")

    engine = running(main)
    assert kinds(engine.deliver("1")) == [("cancel", "0"), ("execute", "2", "last")]
    assert engine.deliver("0", value="too late") == []
    engine.deliver("2", value="end")
    assert engine.result == "end"


def test_cancelling_a_step_that_never_started_is_no_command() -> None:
    async def main() -> Any:
        asyncio.create_task(step("never")).cancel()  # type: ignore[var-annotated]
        return await step("other")

    engine = running(main)
    assert kinds(engine.commands[0]) == [("execute", "1", "other")]


def test_cancelling_a_step_twice_or_after_its_outcome_is_no_second_command() -> None:
    async def main() -> Any:
        task = asyncio.create_task(step("a"))  # type: ignore[var-annotated]
        ended = asyncio.create_task(step("b"))  # type: ignore[var-annotated]
        await ended
        task.cancel()
        task.cancel()
        ended.cancel()
        await forever()

    engine = running(main)
    assert engine.deliver("1") == [("cancel", "0")]


# --- keys


def test_keys_come_from_the_branch_that_makes_the_step() -> None:
    async def inner() -> None:
        await asyncio.gather(step("c"), leaf())

    async def leaf() -> None:
        await step("d")

    async def main() -> None:
        await asyncio.gather(step("a"), inner(), step("b"))

    engine = running(main)
    assert sorted(kinds(engine.commands[0])) == [
        ("execute", "0", "a"),
        ("execute", "1", "b"),
        ("execute", "1.1/0", "d"),
        ("execute", "1/0", "c"),
    ]


def test_keys_of_deeply_nested_branches_stay_short() -> None:
    async def nest(depth: int) -> None:
        if depth:
            await asyncio.create_task(nest(depth - 1))
        else:
            await step("deep")

    engine = running(lambda: nest(300))
    (command,) = engine.commands[0]
    assert len(command[1]) < 200
    assert command[1].isascii()


def test_callbacks_that_belong_to_no_task_have_a_branch_of_their_own() -> None:
    async def main() -> None:
        future = forever()
        future.add_done_callback(lambda _: asyncio.create_task(step("in a callback")))
        future.set_result(None)
        await step("in main")

    engine = running(main)
    assert sorted(kinds(engine.commands[0])) == [("execute", "0", "in main"), ("execute", "c/0", "in a callback")]


# --- signals


def test_a_signal_gives_its_payload() -> None:
    async def main() -> Any:
        return await context.wait_for_signal("approved")

    engine = running(main)
    assert engine.commands == [[("signal", "0", "approved", None)]]
    engine.deliver("0", value={"by": "ann"})
    assert engine.result == {"by": "ann"}


def test_a_signal_that_does_not_come_raises_signal_timeout() -> None:
    async def main() -> Any:
        try:
            await context.wait_for_signal("approved", timeout=86_400)
        except TimeoutError as error:
            return [type(error).__name__, str(error)]

    engine = running(main)
    assert engine.commands == [[("signal", "0", "approved", STARTED + 86_400_000_000)]]
    engine.deliver("0", "timeout", b"")
    assert engine.result == [SignalTimeout.__name__, "no signal 'approved' in time"]


def test_a_signals_time_out_counts_from_when_the_wait_starts() -> None:
    async def main() -> Any:
        wait = context.wait_for_signal("go", timeout=1)
        await step("first")
        await wait

    engine = running(main)
    assert engine.deliver("1") == [("signal", "0", "go", engine.clock + 1_000_000)]


@pytest.mark.parametrize(
    ("name", "timeout", "type", "error"),
    [
        (5, None, Any, TypeError("the name of a signal is a string, not 5")),
        ("", None, Any, ValueError("the name of a signal must have 1 to 200 characters, not 0")),
        ("x" * 201, None, Any, ValueError("the name of a signal must have 1 to 200 characters, not 201")),
        ("a\0", None, Any, ValueError("the name of a signal cannot hold a NUL or a lone surrogate: 'a\\x00'")),
        ("\ud800", None, Any, ValueError("the name of a signal cannot hold a NUL or a lone surrogate: '\\ud800'")),
        ("go", "1", Any, TypeError("timeout is seconds or a timedelta, not '1'")),
        ("go", float("nan"), Any, ValueError("timeout is seconds or a timedelta, not nan")),
        ("go", None, "Approval", SerializationError("the payload of signal 'go' cannot be carried as Approval: ")),
        ("go", None, date | datetime, SerializationError("the payload of signal 'go' cannot be carried as datetime.")),
    ],
)
def test_a_wait_that_no_signal_could_end_is_refused_at_the_call(
    name: Any, timeout: Any, type: Any, error: Exception
) -> None:
    """The engine takes no such name, so that the run would be incompatible; after a bad `type` the signal would be gone."""

    async def main() -> Any:
        try:
            context.wait_for_signal(name, timeout, type)
        except Exception as caught:
            return [caught.__class__.__name__, str(caught)]

    told = running(main).result
    assert told[0] == error.__class__.__name__
    assert told[1].startswith(str(error))


def test_waits_take_a_timedelta_too() -> None:
    async def main() -> None:
        await asyncio.gather(context.wait_for_signal("go", timedelta(minutes=1)), context.sleep(timedelta(minutes=1)))

    due = STARTED + 60_000_000
    assert sorted(command[-1] for command in running(main).commands[0]) == [due, due]


@pytest.mark.parametrize("seconds", [None, "1", float("nan")])
def test_what_is_no_time_cannot_be_slept(seconds: Any) -> None:
    async def main() -> Any:
        try:
            await context.sleep(seconds)
        except (TypeError, ValueError) as error:
            return str(error)

    assert "seconds or a timedelta, not" in running(main).result


def test_a_signal_comes_as_the_type_that_was_asked_for() -> None:
    async def main() -> Any:
        when = await context.wait_for_signal("date", type=datetime)
        return when.year

    engine = running(main)
    engine.deliver("0", value="2020-02-29T00:00:00Z")
    assert engine.result == 2020
