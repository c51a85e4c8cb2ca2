"""A run is rebuilt from its history: exactly, or it is incompatible and says where it diverged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from currant import context
from currant._payloads import codec
from currant._workflow.run import WorkflowRun
from currant.errors import ExecutionFailed, WorkflowSuspendException
from fake_engine import RUN_ID, STARTED, FakeCall, FakeEngine, Main, Open, forever, kinds, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


async def two_steps() -> Any:
    return [await step("a"), await step("b")]


def changed(engine: FakeEngine, main: Main) -> FakeEngine:
    """The same history under other code, rebuilt."""
    engine.main = main
    engine.resume()
    return engine


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


# --- divergence


async def other_step() -> Any:
    await step("x")
    await step("b")


async def other_kind() -> Any:
    await step("a", "workflow")


async def timer_instead() -> Any:
    await asyncio.sleep(1)


async def one_more_before() -> Any:
    await step("new")
    await two_steps()


async def none_at_all() -> Any:
    return "nothing"


async def ends_early() -> Any:
    await step("a")


async def fails_after_one() -> Any:
    await step("a")
    raise KeyError("gone")


async def fails_at_once() -> Any:
    raise KeyError("gone")


async def gives_no_more() -> Any:
    await step("a")
    await forever()


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (other_step, "step 0: recorded is task a, the code asks for task x"),
        (other_kind, "step 0: recorded is task a, the code asks for workflow a"),
        (timer_instead, "step 0: recorded is task a, the code asks for timer"),
        (one_more_before, "step 0: recorded is task a, the code asks for task new"),
        (none_at_all, "the workflow ended, but its history goes on with the outcome of step 0"),
        (ends_early, "step 1: recorded is task b, the code no longer asks for it"),
        (
            fails_at_once,
            "the workflow failed with KeyError: 'gone', but its history goes on with the outcome of step 0",
        ),
        (
            fails_after_one,
            "step 1: recorded is task b, the code no longer asks for it: the workflow failed with KeyError: 'gone'",
        ),
        (gives_no_more, "step 1: recorded is task b, the code no longer asks for it"),
    ],
)
def test_code_that_no_longer_fits_the_history_makes_the_run_incompatible_and_says_where(
    main: Main, message: str
) -> None:
    engine = running(two_steps)
    engine.deliver("0")
    changed(engine, main)
    assert engine.end is not None
    assert engine.end[0] == "hold"
    assert engine.error["type"] == "NonDeterminismError"
    assert engine.error["message"].endswith(message)
    assert engine.run is not None
    assert engine.run.finished


def test_a_step_that_is_not_recorded_before_the_last_outcome_makes_the_run_incompatible() -> None:
    async def before() -> Any:
        await asyncio.gather(step("a"), step("b"))

    async def after() -> Any:
        await asyncio.gather(step("a"), step("b"), step("c"))

    engine = running(before)
    engine.deliver("0")
    changed(engine, after)
    assert engine.error["message"].endswith("step 2: nothing is recorded, the code asks for task c")


def test_a_step_that_is_not_recorded_between_two_outcomes_makes_the_run_incompatible() -> None:
    async def branch(*names: str) -> None:
        for name in names:
            await step(name)

    async def before() -> Any:
        await asyncio.gather(branch("a"), branch("b"))
        await step("d")

    async def after() -> Any:
        await asyncio.gather(branch("a", "c"), branch("b"))
        await step("d")

    engine = running(before)
    engine.deliver("0/0")
    engine.deliver("1/0")
    changed(engine, after)
    assert engine.error["message"].endswith("step 0/1: nothing is recorded, the code asks for task c")


async def catches_all() -> Any:
    try:
        context.side_effect(lambda: 1)
    except Exception:
        await step("went on")


async def catches_the_step() -> Any:
    try:
        await step("x")
    except Exception:
        await step("went on")


async def catches_everything() -> Any:
    try:
        await step("x")
    except BaseException:
        return "went on"


async def another_branch_goes_on() -> Any:
    tasks = [asyncio.create_task(step("x")), asyncio.create_task(step("y"))]  # type: ignore[var-annotated]
    await asyncio.wait(tasks)
    return "went on"


@pytest.mark.parametrize("main", [catches_all, catches_the_step, catches_everything, another_branch_goes_on])
def test_no_code_can_catch_a_divergence_and_go_on(main: Main) -> None:
    engine = changed(running(two_steps), main)
    assert [command[0] for command in engine.commands[-1]] == ["hold"]


def test_an_incompatible_run_goes_on_when_code_that_fits_is_deployed() -> None:
    engine = running(two_steps)
    engine.deliver("0", value="A")
    changed(engine, other_step)
    engine.end = None
    changed(engine, two_steps)
    engine.deliver("1", value="B")
    assert engine.result == ["A", "B"]


def test_a_live_run_compares_nothing() -> None:
    engine = running(two_steps)
    engine.deliver("0")
    engine.records["1"] = ("task", "something else", None, b"")
    engine.deliver("1")
    assert engine.result == [None, None]


def test_a_run_that_failed_by_its_code_goes_on_with_mended_code() -> None:
    """`currant retry`: all that is recorded is made again, and behind the last outcome more than that."""

    async def broken() -> Any:
        await step("a")
        raise ValueError("a bug")

    async def fixed() -> Any:
        await step("a")
        slow = asyncio.create_task(step("slow"))  # type: ignore[var-annotated]
        await asyncio.sleep(0)
        slow.cancel()
        return await step("b")

    engine = running(broken)
    engine.deliver("0")
    engine.end = None
    changed(engine, fixed)
    assert kinds(engine.commands[-1]) == [("execute", "1", "slow"), ("cancel", "1"), ("execute", "2", "b")]
    assert engine.crash() == []
    engine.deliver("2", value="B")
    assert engine.result == "B"


# --- arguments


def swapped(*names: str) -> Main:
    async def main() -> Any:
        return [await step("f", "task", name) for name in names]

    return main


def test_two_steps_of_one_function_that_change_places_make_the_run_incompatible() -> None:
    engine = running(swapped("a", "b"))
    engine.deliver("0", value="A")
    engine.deliver("1", value="B", lost=True)
    changed(engine, swapped("b", "a"))
    assert engine.error["type"] == "NonDeterminismError"
    assert (
        'step 0 (task f), the arguments at args[0]: recorded is "a", the code asks for "b"' in engine.error["message"]
    )
    engine.end = None
    changed(engine, swapped("a", "b"))
    engine.deliver("1", value="B")
    assert engine.result == ["A", "B"]


def test_only_the_names_count_where_the_workflow_says_so() -> None:
    engine = FakeEngine(swapped("a", "b"), replay_check="names")
    engine.start()
    engine.deliver("0", value="A")
    changed(engine, swapped("b", "a"))
    engine.deliver("1", value="B")
    assert engine.result == ["A", "B"]


def sleeps(seconds: float, timeout: float | None) -> Main:
    async def main() -> Any:
        await asyncio.sleep(seconds)
        await context.wait_for_signal("go", timeout)

    return main


def test_a_wait_of_another_length_is_told_and_goes_on_as_recorded() -> None:
    engine = running(sleeps(60, None))
    engine.deliver("0", "fired", b"")
    changed(engine, sleeps(30, 5))
    assert engine.run is not None
    assert engine.run.other_times == [
        "step 0 (timer), its length: recorded is 60 s, the code asks for 30 s",
        "step 1 (signal go), its length: recorded is no time-out, the code asks for 5 s",
    ]
    assert engine.open["1"].due is None
    engine.deliver("1")
    assert engine.result is None


def fails_at(*arguments: str, function: str = "f") -> Main:
    async def main() -> Any:
        return await asyncio.gather(step("f", "task", "a"), *[step(function, "task", one) for one in arguments])

    return main


def retried(engine: FakeEngine, *keys: str) -> None:
    """`currant retry`: these steps, which failed, are open again in a new epoch."""
    engine.end = None
    for key in keys:
        kind, name, value, asked, *_ = engine.records[key]
        engine.records[key] = (kind, name, value, asked, True)
        engine.open[key] = Open(kind, name, None)
    engine.outcomes = [outcome for outcome in engine.outcomes if outcome[0] not in keys]


def failed_run() -> FakeEngine:
    engine = running(fails_at("b"))
    engine.deliver("0", value="A")
    engine.deliver("1", "failed", {"type": "ValueError", "message": "bad", "traceback": "", "id": "x"})
    retried(engine, "1")
    return engine


def test_a_step_that_failed_is_made_anew_when_a_retry_asks_for_something_else() -> None:
    engine = failed_run()
    changed(engine, fails_at("c"))
    assert [command[:2] for command in engine.commands[-1]] == [("cancel", "1"), ("execute", "1~")]
    assert engine.crash() == []
    engine.deliver("1~", value="C")
    assert engine.result == ["A", "C"]


def test_a_step_that_failed_may_be_one_of_another_function_in_a_retry() -> None:
    engine = failed_run()
    changed(engine, fails_at("b", function="g"))
    assert [command[:2] for command in engine.commands[-1]] == [("cancel", "1"), ("execute", "1~")]


def test_a_step_that_failed_goes_on_as_it_is_when_a_retry_asks_for_the_same() -> None:
    engine = failed_run()
    changed(engine, fails_at("b"))
    assert engine.commands[-1] == []
    engine.deliver("1", value="B")
    assert engine.result == ["A", "B"]


def test_a_step_that_fails_twice_may_be_made_anew_twice_and_back() -> None:
    engine = failed_run()
    changed(engine, fails_at("c"))
    retried(engine, "1~")
    changed(engine, fails_at("b"))
    assert [command[:2] for command in engine.commands[-1]] == [("cancel", "1~"), ("execute", "1~~")]
    assert engine.crash() == []
    engine.deliver("1~~", value="B")
    assert engine.result == ["A", "B"]


def test_a_step_that_failed_may_be_left_out_in_a_retry() -> None:
    engine = failed_run()
    changed(engine, fails_at())
    assert engine.commands[-1][0] == ("cancel", "1")
    assert engine.result == ["A"]


def test_a_step_that_is_completed_must_be_asked_for_again_in_a_retry() -> None:
    engine = failed_run()

    async def other() -> Any:
        return await asyncio.gather(step("f", "task", "z"), step("f", "task", "b"))

    changed(engine, other)
    assert (
        'step 0 (task f), the arguments at args[0]: recorded is "a", the code asks for "z"' in engine.error["message"]
    )


def typed(type: Any) -> Main:
    async def main() -> Any:
        run = context.active_run()
        assert run is not None
        try:
            value = await run.execute(FakeCall("task", "f"), lambda data: codec.decode(data, type, "the result of f"))  # type: ignore[arg-type]
        except Exception:
            value = "caught"
        await step("b")
        return value

    return main


def test_a_recorded_result_that_no_longer_fits_makes_the_run_incompatible_whatever_its_code_catches() -> None:
    engine = running(typed(str))
    engine.deliver("0", value="12a")
    changed(engine, typed(int))
    assert engine.end is not None
    assert engine.end[0] == "hold"
    assert "step 0 (task f): the result of f does not fit int" in engine.error["message"]
    engine.end = None
    changed(engine, typed(str))
    engine.deliver("1")
    assert engine.result == "12a"


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
