"""A run turns outcomes into commands: steps, signals, timers, cancel, versions, side effects, verbs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from currant import context
from currant._payloads import codec
from currant._workflow.calls import derive_id
from currant.errors import (
    CurrantError,
    ExecutionCancelled,
    ExecutionFailed,
    NotFound,
    NotRunning,
    SerializationError,
    SignalTimeout,
)
from fake_engine import RUN_ID, STARTED, FakeCall, FakeEngine, forever, kinds, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")

OTHER = "01900000-0000-7000-8000-000000000002"
FAILURE = {"type": "ValueError", "message": "no money", "traceback": "", "id": OTHER}


def active() -> Any:
    run = context.active_run()
    assert run is not None
    return run


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


# --- versions, side effects, time and chance


def test_a_new_run_records_the_newest_version() -> None:
    async def main() -> Any:
        return [context.get_version("send-sms", 1, 2), context.get_version("send-sms", 1, 2)]

    engine = running(main)
    assert engine.commands[0][0] == ("version", "!version:send-sms", "send-sms", b"2")
    assert engine.result == [2, 2]


def test_a_version_takes_no_position() -> None:
    async def main() -> Any:
        context.get_version("send-sms", 1, 2)
        await step("a")

    assert kinds(running(main).commands[0])[-1] == ("execute", "0", "a")


@pytest.mark.parametrize(
    ("change_id", "minimum", "maximum"),
    [("x", 2, 1), ("", 1, 2), ("ä", 1, 2), ("x" * 200, 1, 2), ("x", 1, 2.0), ("x", True, 2)],
)
def test_a_bad_version_range_is_refused(change_id: str, minimum: int, maximum: int) -> None:
    async def main() -> Any:
        context.get_version(change_id, minimum, maximum)

    assert running(main).error["type"] == "ValueError"


def test_a_side_effect_is_recorded_and_comes_back_from_json() -> None:
    async def main() -> Any:
        value = context.side_effect(lambda: ("a", 1))
        return [type(value).__name__, value]

    engine = running(main)
    assert engine.commands[0][0] == ("side_effect", "0", b'["a",1]')
    assert engine.result == ["list", ["a", 1]]


def test_a_side_effect_that_raises_raises_the_same_when_replayed() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise OSError("no file")

    async def main() -> Any:
        try:
            context.side_effect(fail)
        except ExecutionFailed as error:
            await step(error.message)

    engine = running(main)
    assert engine.crash() == []
    assert kinds(engine.commands[0])[-1] == ("execute", "1", "no file")
    assert calls == [1]


async def a_step_inside() -> Any:
    return context.side_effect(lambda: step("nested"))


async def a_task_inside() -> Any:
    return context.side_effect(lambda: asyncio.create_task(step("nested")))  # type: ignore[var-annotated]


async def a_coroutine_function() -> Any:
    return context.side_effect(lambda: asyncio.sleep(0))


async def a_reserved_value() -> Any:
    return context.side_effect(lambda: {"!error": 1})


@pytest.mark.parametrize("main", [a_step_inside, a_task_inside, a_coroutine_function, a_reserved_value])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_side_effect_cannot_start_anything(main: Callable[[], Any]) -> None:
    engine = running(main)
    assert engine.end is not None
    assert engine.end[0] == "fail"
    assert all(command[0] != "execute" for command in engine.commands[0])


def test_time_and_chance_are_the_runs_own() -> None:
    async def main() -> Any:
        before = [context.now().isoformat(), str(context.uuid4()), context.random()]
        await step("a")
        return [before, context.now().isoformat(), str(context.uuid4()), context.random()]

    first, second = running(main), running(main)
    first.deliver("0")
    second.crash()
    second.deliver("0")
    assert first.result == second.result
    (now, id_, number), *later = first.result
    assert now == datetime.fromtimestamp(STARTED / 1e6, UTC).isoformat()
    assert uuid.UUID(id_).version == 4
    assert id_ != later[1]
    assert 0 <= number < 1


def test_another_run_has_other_chances() -> None:
    async def main() -> Any:
        return str(context.uuid4())

    other = FakeEngine(main, OTHER)
    other.start()
    assert other.result != running(main).result


# --- verbs


def test_an_unkeyed_enqueue_commits_with_the_activation() -> None:
    async def main() -> Any:
        return active().detach(FakeCall("task", "mail"))

    engine = running(main)
    assert kinds(engine.commands[0])[0] == ("detach", "0", "mail")
    assert engine.result == derive_id(RUN_ID, "0")


def test_a_keyed_enqueue_is_a_step_that_gives_the_effective_id() -> None:
    async def main() -> Any:
        return await active().enqueue(FakeCall("task", "mail"), "key-1")

    engine = running(main)
    new = (derive_id(RUN_ID, "0"), FakeCall("task", "mail"), "key-1", None)
    assert engine.commands == [[("enqueue", "0", new)]]
    engine.deliver("0", value=OTHER)
    assert engine.result == OTHER


def test_a_verb_is_a_step() -> None:
    async def main() -> Any:
        return await active().verb("signal", OTHER, "approved", b"true", codec.decode)

    engine = running(main)
    assert engine.commands == [[("verb", "0", "signal", OTHER, "approved", b"true")]]
    engine.deliver("0", value=None)
    assert engine.result is None


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ({"type": "NotFound", "message": "no such run", "traceback": "", "id": None}, NotFound),
        ({"type": "NotRunning", "message": "it has finished", "traceback": "", "id": None}, NotRunning),
        ({"type": "NotFound", "message": "the target's own", "traceback": "", "id": OTHER}, ExecutionFailed),
        ({"type": "ValueError", "message": "bad", "traceback": "", "id": None}, ExecutionFailed),
    ],
)
def test_a_verb_that_fails_raises_the_engines_error(error: dict[str, Any], raised: type[CurrantError]) -> None:
    async def main() -> Any:
        try:
            await active().verb("status", OTHER, "", b"null", codec.decode)
        except CurrantError as caught:
            return [type(caught) is raised, getattr(caught, "message", str(caught))]

    engine = running(main)
    engine.deliver("0", "failed", error)
    assert engine.result == [True, error["message"]]


def test_a_cancelled_execution_is_named_where_its_result_is_awaited() -> None:
    async def main() -> Any:
        try:
            await active().verb("result", OTHER, "", b"null", codec.decode)
        except ExecutionCancelled as error:
            return str(error)

    engine = running(main)
    engine.deliver("0", "cancelled", b"")
    assert engine.result == f"execution {OTHER} was cancelled"


@pytest.mark.parametrize("change_id", [5, None, b"a"])
def test_a_change_id_is_a_string(change_id: Any) -> None:
    async def main() -> Any:
        try:
            context.get_version(change_id, 1, 2)
        except TypeError as error:
            return str(error)

    assert running(main).result == f"a change id is a string, not {change_id!r}"


# --- outside


@pytest.mark.parametrize(
    "call",
    [
        lambda: context.wait_for_signal("x"),
        lambda: context.get_version("x", 1, 2),
        lambda: context.side_effect(int),
        context.is_replaying,
        context.now,
        context.random,
        context.uuid4,
        context.current,
    ],
)
def test_outside_a_workflow_the_context_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(NotRunning, match="outside a"):
        call()


async def test_outside_a_workflow_sleep_is_asyncios() -> None:
    assert context.active_run() is None
    await context.sleep(0)


def test_a_task_knows_its_attempt() -> None:
    attempt = context.Attempt(OTHER, 2, RUN_ID, "default")
    token = context.attempt.set(attempt)
    try:
        assert context.current() is attempt
        assert not context.current().cancelled
    finally:
        context.attempt.reset(token)


def test_a_workflow_sees_no_context_variable_of_its_worker() -> None:
    async def main() -> Any:
        try:
            context.current()
        except NotRunning as error:
            return str(error)

    token = context.attempt.set(context.Attempt(OTHER, 1, None, "default"))
    try:
        assert "outside a task" in running(main).result
    finally:
        context.attempt.reset(token)


def test_payloads_are_encoded_once() -> None:
    async def main() -> Any:
        return {"a": 1}

    assert running(main).end == ("complete", json.dumps({"a": 1}, separators=(",", ":")).encode())
