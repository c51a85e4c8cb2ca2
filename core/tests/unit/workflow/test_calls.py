"""Calls of a workflow's code: versions, side effects, recorded time and random numbers, verbs."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
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
)
from fake_engine import OTHER, RUN_ID, STARTED, FakeCall, FakeEngine, active, kinds, running, step

pytestmark = pytest.mark.usefixtures("asyncio_is_ours")


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
