"""A run is rebuilt from its history exactly, also after an eviction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from currant import context
from currant._payloads import codec
from currant._workflow.run import WorkflowRun
from currant.errors import ExecutionFailed, WorkflowSuspendException
from fake_engine import RUN_ID, STARTED, FakeCall, Main, changed, forever, kinds, running, step, two_steps

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


def test_a_rebuilt_run_goes_on_where_it_was() -> None:
    engine = running(two_steps)
    engine.deliver("0", value="A")
    assert engine.crash() == []
    engine.deliver("1", value="B")
    assert engine.result == ["A", "B"]


def test_an_outcome_that_was_not_committed_is_delivered_again() -> None:
    engine = running(two_steps)
    lost = engine.deliver("0", value="A", lost=True)
    assert engine.crash() == []
    assert engine.deliver("0", value="A") == lost


def test_outcomes_are_given_in_the_recorded_order() -> None:
    async def main() -> Any:
        order = []

        async def branch(name: str) -> None:
            await step(name)
            order.append(name)

        await asyncio.gather(*map(branch, "abc"))
        await step("-".join(order))

    engine = running(main)
    for key in ("2/0", "0/0", "1/0"):
        engine.deliver(key)
    assert kinds(engine.commands[-1]) == [("execute", "0", "c-a-b")]
    assert engine.crash() == []


def test_is_replaying_is_true_only_for_what_was_seen_before() -> None:
    seen = []

    async def main() -> Any:
        seen.append(context.is_replaying())
        await step("a")
        seen.append(context.is_replaying())
        await step("b")
        seen.append(context.is_replaying())

    engine = running(main)
    engine.deliver("0")
    engine.crash()
    engine.deliver("1")
    assert seen == [False, False, True, True, False]


def test_a_cancel_that_is_recorded_is_replayed() -> None:
    async def main() -> Any:
        try:
            await step("ship")
        except asyncio.CancelledError:
            await step("refund")
            raise

    engine = running(main)
    engine.deliver("!cancel", value=b"")
    assert engine.crash() == []
    assert engine.deliver("1") == [("cancelled",)]


def test_a_step_given_up_before_the_crash_is_not_given_up_again() -> None:
    async def main() -> Any:
        task = asyncio.create_task(step("slow"))  # type: ignore[var-annotated]
        await step("quick")
        task.cancel()
        await forever()

    engine = running(main)
    assert engine.deliver("1") == [("cancel", "0")]
    assert engine.crash() == []


def test_a_run_that_is_rebuilt_ends_once() -> None:
    engine = running(two_steps)
    engine.deliver("0")
    engine.deliver("1", lost=True)
    engine.crash()
    assert engine.deliver("1") == [("complete", b"[null,null]")]


# --- versions and side effects


def versioned(minimum: int, maximum: int) -> Main:
    async def main() -> Any:
        version = context.get_version("send-sms", minimum, maximum)
        if version >= 2:
            await step("sms")
        await step("a")
        return [version, context.get_version("send-sms", minimum, maximum)]

    return main


def test_a_run_that_passed_before_the_change_keeps_the_minimum_for_ever() -> None:
    async def unversioned() -> Any:
        await step("a")

    engine = running(unversioned)
    changed(engine, versioned(1, 2))
    assert engine.commands[-1] == []
    changed(engine, versioned(1, 3))
    engine.deliver("0")
    assert engine.result == [1, 1]


def test_a_run_keeps_the_version_it_recorded() -> None:
    engine = running(versioned(1, 2))
    changed(engine, versioned(1, 3))
    engine.deliver("0")
    engine.deliver("1")
    assert engine.result == [2, 2]


def test_a_run_that_comes_to_the_change_later_records_the_newest() -> None:
    async def before() -> Any:
        await step("first")
        await step("a")

    async def after() -> Any:
        await step("first")
        return await versioned(1, 2)()

    engine = changed(running(before), after)
    engine.deliver("0")
    assert engine.commands[-1][0] == ("version", "!version:send-sms", "send-sms", b"2")


def test_a_recorded_version_that_the_code_no_longer_takes_makes_the_run_incompatible() -> None:
    engine = changed(running(versioned(1, 2)), versioned(3, 4))
    assert engine.error["message"].endswith("get_version('send-sms'): recorded is 2, the code takes 3 to 4")


def test_a_side_effect_is_not_called_again() -> None:
    calls: list[int] = []

    async def main() -> Any:
        value = context.side_effect(lambda: len(calls.append(1) or calls))  # type: ignore[func-returns-value]
        await step("a")
        return value

    engine = running(main)
    engine.crash()
    engine.deliver("1")
    assert (engine.result, calls) == (1, [1])


def test_a_recorded_side_effect_that_no_longer_fits_its_type_makes_the_run_incompatible() -> None:
    """It fitted when it was recorded: this worker has other code, which must not fail the run for good."""

    def reading(type: Any) -> Main:
        async def main() -> Any:
            value = context.side_effect(lambda: 5, type=type)
            await step("a")
            return value

        return main

    engine = changed(running(reading(int)), reading(str))
    assert engine.error["type"] == "NonDeterminismError"
    assert "step 0 (side_effect): the value of a side effect does not fit str" in engine.error["message"]
    assert engine.commands[-1][0][0] == "hold"


# --- eviction


def test_eviction_throws_into_everything_that_waits() -> None:
    ended = []

    async def branch(wait: Callable[[], Any], name: str) -> None:
        try:
            await wait()
        except Exception:
            ended.append("caught by except Exception")
        except asyncio.CancelledError:
            ended.append("taken for a cancel")
        finally:
            ended.append(name)

    async def main() -> None:
        event, queue = asyncio.Event(), asyncio.Queue[int]()
        async with asyncio.TaskGroup() as group:
            group.create_task(branch(lambda: step("a"), "step"))
            group.create_task(branch(lambda: asyncio.sleep(60), "timer"))
            group.create_task(branch(lambda: context.wait_for_signal("x"), "signal"))
            group.create_task(branch(event.wait, "event"))
            group.create_task(branch(queue.get, "queue"))
            group.create_task(branch(lambda: asyncio.gather(step("b"), step("c"), return_exceptions=True), "gather"))
            group.create_task(branch(lambda: asyncio.wait_for(step("d"), 60), "wait_for"))
            group.create_task(branch(lambda: asyncio.shield(forever()), "shield"))
            await branch(lambda: step("e"), "main")

    engine = running(main)
    assert engine.evict()
    assert sorted(ended) == sorted("step timer signal event queue gather wait_for shield main".split())


def test_durable_calls_made_while_a_run_unwinds_record_nothing() -> None:
    reached = []

    async def main() -> None:
        for call in (
            lambda: step("a"),
            lambda: asyncio.sleep(5),
            lambda: context.wait_for_signal("x"),
            lambda: step("b"),
        ):
            try:
                await call()
            except BaseException as error:
                reached.append(type(error).__name__)
        context.get_version("x", 1, 2)

    engine = running(main)
    recorded = dict(engine.records)
    assert engine.evict()
    assert reached == ["WorkflowSuspendException"] * 4
    assert engine.records == recorded
    assert engine.crash() == []


def test_a_step_made_before_an_eviction_does_not_start_in_it() -> None:
    reached = []

    async def main() -> None:
        later = step("later")
        try:
            await step("a")
        finally:
            try:
                await later
            except WorkflowSuspendException:
                reached.append("await")
            try:
                context.active_run().detach(FakeCall("task", "mail"))  # type: ignore[union-attr, arg-type]
            except WorkflowSuspendException:
                reached.append("detach")

    assert running(main).evict()
    assert reached == ["await", "detach"]


def test_a_run_that_was_evicted_goes_on_after_a_rebuild() -> None:
    async def main() -> Any:
        try:
            return await step("a")
        finally:
            await step("clean up")

    engine = running(main)
    assert engine.evict()
    assert engine.crash() == []
    assert kinds(engine.deliver("0", value=1)) == [("execute", "1", "clean up")]


def test_what_does_not_end_at_an_eviction_is_kept() -> None:
    stubborn = True

    async def main() -> None:
        while stubborn:
            try:
                await forever()
            except BaseException:
                pass

    engine = running(main)
    run = engine.run
    assert run is not None
    assert not engine.evict()
    assert run.finished
    assert run.endless
    assert run.activate("0", 1, STARTED, "completed", b"1") == []
    assert not run.evict()
    stubborn = False


def test_tasks_that_wait_for_each_other_in_a_circle_are_kept() -> None:
    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None

        async def other() -> None:
            await me

        await asyncio.create_task(other())

    engine = running(main)
    assert not engine.evict()


def test_a_run_may_be_evicted_before_it_started() -> None:
    run = WorkflowRun(RUN_ID, "w", "q", 1, two_steps, codec.encode)
    assert run.evict()
    assert run.finished


def test_async_generators_are_closed_at_an_eviction() -> None:
    ended = []

    async def values() -> Any:
        try:
            yield await step("a")
            yield 2
        finally:
            ended.append("generator")

    async def main() -> None:
        generator = values()
        await anext(generator)
        await step("b")

    engine = running(main)
    engine.deliver("0")
    assert engine.evict()
    assert ended == ["generator"]


def test_a_failed_step_is_the_same_error_after_a_rebuild() -> None:
    async def main() -> Any:
        try:
            await step("a")
        except ExecutionFailed as error:
            await step(error.message)

    engine = running(main)
    engine.deliver("0", "failed", {"type": "ValueError", "message": "bad", "traceback": "", "id": "x"})
    assert engine.crash() == []
