"""A run turns outcomes into commands: timers, cancel and time-out, and how it ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from currant import context
from fake_engine import RUN_ID, STARTED, kinds, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


# --- timers


def test_sleep_is_a_durable_timer_at_the_recorded_clock() -> None:
    async def main() -> Any:
        await context.sleep(1.5)
        await asyncio.sleep(2)
        return asyncio.get_running_loop().time()

    engine = running(main)
    assert engine.commands == [[("timer", "0", STARTED + 1_500_000)]]
    assert engine.deliver("0", "fired", b"") == [("timer", "1", STARTED + 3_500_000)]
    engine.deliver("1", "fired", b"")
    assert engine.result == (STARTED + 3_500_000) / 1e6


def test_a_timer_that_is_cancelled_in_its_activation_costs_nothing() -> None:
    async def main() -> Any:
        async with asyncio.timeout(60):
            pass
        return await step("a")

    engine = running(main)
    assert kinds(engine.commands[0]) == [("execute", "1", "a")]


def test_a_timer_that_is_cancelled_later_is_a_command() -> None:
    async def main() -> Any:
        value = await asyncio.wait_for(step("a"), 60)
        return [value, await step("b")]

    engine = running(main)
    assert kinds(engine.commands[0]) == [("execute", "0", "a"), ("timer", "1", STARTED + 60_000_000)]
    assert kinds(engine.deliver("0")) == [("cancel", "1"), ("execute", "2", "b")]


def test_a_time_out_cancels_what_it_waits_for() -> None:
    async def main() -> Any:
        try:
            await asyncio.wait_for(step("slow"), 60)
        except TimeoutError:
            return "timed out"

    engine = running(main)
    assert engine.deliver("1", "fired", b"") == [("cancel", "0"), ("complete", b'"timed out"')]


def test_no_time_at_all_is_not_a_timer() -> None:
    async def main() -> Any:
        await asyncio.sleep(0)
        await context.sleep(-1)
        return "at once"

    assert running(main).result == "at once"


def test_a_timer_beyond_all_dates_waits_for_ever() -> None:
    engine = running(lambda: asyncio.sleep(float("inf")))
    ((command, _, due),) = engine.commands[0]
    assert (command, datetime.fromtimestamp(due / 1e6, UTC).year) == ("timer", 9999)


def test_a_timer_of_not_a_number_is_refused() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(float("nan"), print)

    assert running(main).error["type"] == "ValueError"


# --- cancel and time-out of the workflow


def test_cancel_ends_a_workflow_that_lets_it() -> None:
    async def main() -> None:
        await step("a")

    engine = running(main)
    assert engine.deliver("!cancel", value=b"") == [("cancel", "0"), ("cancelled",)]


def test_a_cancelled_workflow_may_clean_up_with_steps() -> None:
    async def main() -> Any:
        try:
            await step("ship")
        except asyncio.CancelledError:
            await step("refund")
            raise

    engine = running(main)
    assert kinds(engine.deliver("!cancel", value=b"")) == [("cancel", "0"), ("execute", "1", "refund")]
    assert engine.deliver("1") == [("cancelled",)]


def test_a_cancelled_workflow_that_returns_is_completed() -> None:
    async def main() -> Any:
        try:
            await step("ship")
        except asyncio.CancelledError:
            return "anyway"

    engine = running(main)
    engine.deliver("!cancel", value=b"")
    assert engine.result == "anyway"


def test_a_workflow_that_exceeds_its_time_out_fails() -> None:
    async def main() -> None:
        await step("a")

    engine = running(main)
    engine.deliver("!timeout", value=b"")
    assert (engine.error["type"], engine.error["message"]) == ("TimeoutError", "workflow exceeded its timeout")


def test_a_workflow_that_cancels_itself_fails() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    assert running(main).error["type"] == "CancelledError"


# --- the end


def test_an_error_fails_the_workflow() -> None:
    async def main() -> None:
        raise KeyError("missing")

    error = running(main).error
    assert (error["type"], error["message"], error["id"]) == ("KeyError", "'missing'", RUN_ID)


def test_sys_exit_fails_the_workflow_and_not_the_worker() -> None:
    async def main() -> None:
        raise SystemExit(3)

    assert running(main).error["type"] == "SystemExit"


def test_a_result_that_json_cannot_carry_fails_the_workflow() -> None:
    async def main() -> Any:
        return object()

    assert running(main).error["type"] == "SerializationError"


def test_tasks_left_behind_are_cancelled_and_make_no_commands() -> None:
    ended = []

    async def background() -> None:
        try:
            await step("b")
        finally:
            ended.append(True)
            await step("too late")

    async def main() -> Any:
        task = asyncio.create_task(background())
        await step("a")
        return str(task.done())

    engine = running(main)
    assert engine.deliver("0") == [("complete", b'"False"')]
    assert ended == [True]


def test_an_error_of_a_task_that_nobody_awaits_is_ignored() -> None:
    async def broken() -> None:
        raise ValueError("unseen")

    async def main() -> Any:
        task = asyncio.create_task(broken())
        await step("a")
        return task.done()

    engine = running(main)
    engine.deliver("0")
    assert engine.result is True


def test_outcomes_after_the_end_are_ignored() -> None:
    engine = running(lambda: asyncio.sleep(0))
    assert engine.run is not None
    assert engine.run.finished
    assert engine.run.activate("0", 1, STARTED, "completed", b"1") == []
