"""Code that does not fit its history makes the run incompatible, and says where it diverged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from currant import context
from currant._payloads import codec
from fake_engine import FakeCall, FakeEngine, Main, Open, changed, forever, kinds, running, step, two_steps

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


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


def test_a_run_that_failed_by_its_code_goes_on_with_fixed_code() -> None:
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
