"""Tasks in a worker, on an engine that does what the test says (docs/internals/engine.md)."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Self
from uuid import uuid4

import pytest

from currant import Worker, WorkerStopped, sleep, task, workflow
from currant._payloads import codec
from currant._worker import tasks
from currant.decorators import Function
from fake_core import Engine
from support import eventually_async as eventually
from worker_app import (
    FLOWS,
    OWN,
    Shop,
    VeryDeclined,
    blocking,
    boom,
    boom_sync,
    caller,
    clinging,
    double,
    enqueues_wrongly,
    finish,
    forever,
    forgot_await,
    gives_a_coroutine,
    left,
    quadruple,
    seen,
    sleeps_for_a_signal,
    started,
    step_in_a_task,
    stubborn,
    triple,
    who,
    who_sync,
    wrapped_async,
    wrapped_forever,
    wrong_result,
)
from worker_items import answer, commands_of, do, run_item, task_item


async def test_the_engine_is_told_what_the_worker_serves(engine: Engine) -> None:
    assert (engine.name, engine.queues, engine.concurrency) == ("w", ["jobs"], 2)
    assert engine.tasks == [function.name for function in OWN]
    assert engine.workflows == [function.name for function in FLOWS]
    assert engine.build.endswith(f"py{platform.python_version()}")
    assert json.loads(engine.functions) == sorted(
        (function.declaration() for function in [*OWN, *FLOWS]), key=lambda said: str(said["function"])
    )


@pytest.mark.parametrize(
    ("function", "result"),
    [(double, b"10"), (triple, b"15"), (wrapped_async, b"7"), (Shop.close, b"4")],
)
async def test_a_task_is_run_and_completed_under_its_lease(
    engine: Engine, function: Function[..., Any], result: bytes
) -> None:
    assert await do(engine, task_item(function, 5, lease=9), "complete") == (9, result)


async def test_a_coroutine_that_a_plain_function_gives_is_awaited(engine: Engine) -> None:
    assert await do(engine, task_item(gives_a_coroutine), "complete") == (1, b"8")


async def test_many_tasks_at_once_are_each_answered_once(engine: Engine) -> None:
    items = [task_item(double, n) for n in range(200)]
    engine.give(*items)
    await eventually(lambda: len(engine.answers) == 201)
    done = {given[1]: given[3] for given in engine.answers if given[0] == "complete"}
    assert done == {item[1]: str(n * 2).encode() for n, item in enumerate(items)}


@pytest.mark.parametrize("function", [who, who_sync])
async def test_current_tells_a_task_about_its_attempt(engine: Engine, function: Function[..., Any]) -> None:
    item = task_item(function)
    _, payload = await do(engine, item, "complete")
    assert json.loads(payload) == [item[1], 2, None, "jobs", False]


@pytest.mark.parametrize(
    ("item", "type", "message", "retryable"),
    [
        (task_item(boom, "value"), "ValueError", "bad\nvalue", True),
        (task_item(boom, "declined"), "VeryDeclined", "no", True),
        (task_item(boom, "declined", non_retryable=["Declined"]), "VeryDeclined", "no", False),
        (
            task_item(boom, "declined", non_retryable=[f"{VeryDeclined.__module__}.Declined"]),
            "VeryDeclined",
            "no",
            False,
        ),
        (task_item(boom, "value", non_retryable=["Declined"]), "ValueError", "bad\nvalue", True),
        (task_item(boom, "value", non_retryable=["ValueError"]), "ValueError", "bad\nvalue", False),
        (task_item(boom, "value", non_retryable=["builtins.ValueError"]), "ValueError", "bad\nvalue", False),
        (task_item(boom, "value", non_retryable=["builtins.Exception"]), "ValueError", "bad\nvalue", False),
        (task_item(boom, "exit"), "SystemExit", "3", True),
        (task_item(boom, "interrupt"), "KeyboardInterrupt", "", True),
        (task_item(boom, "cancelled"), "CancelledError", "", True),
        (task_item(boom_sync), "SystemExit", "out", True),
        (task_item(double, "x"), "SerializationError", "argument 'n'", False),
        (task_item(triple, "x"), "SerializationError", "argument 'n'", False),
        (task_item(wrong_result), "SerializationError", "the result of", False),
        (task_item(forgot_await), "SerializationError", "an `await` is missing", False),
        (task_item(step_in_a_task), "NotRunning", "outside a workflow", False),
        (task_item(sleeps_for_a_signal), "NotRunning", "outside a workflow", False),
        (task_item(enqueues_wrongly), "TypeError", "double(): too many positional arguments", False),
        (task_item("no.such"), "UnknownFunction", "no task no.such is registered", True),
        (task_item(quadruple, 1), "UnknownFunction", "no task", True),
        (task_item(double), "TypeError", "double(): missing a required argument: 'n'", False),
        (task_item(triple, 1, 2), "TypeError", "triple(): too many positional arguments", False),
    ],
)
async def test_a_failed_attempt_is_answered_with_its_error(
    engine: Engine, item: tuple[Any, ...], type: str, message: str, retryable: bool
) -> None:
    lease, error, may_retry = await do(engine, item, "fail")
    stored = codec.decode_error(error)
    assert (lease, stored.id, stored.type, may_retry) == (1, item[1], type, retryable)
    assert message in stored.message


async def test_a_failed_attempt_is_one_line_in_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    item = task_item(boom, "value")
    with caplog.at_level(logging.WARNING, "currant.worker"):
        await do(engine, item, "fail")
    (record,) = caplog.records
    assert record.getMessage() == f"{boom.name} {item[1]} attempt 2 failed: ValueError: bad value"
    assert (record.execution_id, record.function) == (item[1], boom.name)  # type: ignore[attr-defined]


@pytest.mark.parametrize("function", [forever, stubborn, wrapped_forever])
@pytest.mark.parametrize("kind", ["cancel", "drop"])
async def test_an_attempt_that_is_over_is_cancelled_and_only_released(
    engine: Engine, function: Function[..., Any], kind: str
) -> None:
    item = task_item(function, lease=4)
    engine.give(item)
    await eventually(started.is_set)
    engine.give((kind, item[1], 4, "timeout"))
    assert await answer(engine, "release", item[1]) == (4,)
    assert [given[0] for given in engine.answers] == ["start", "release"]


@pytest.mark.parametrize("kind", ["cancel", "drop"])
async def test_an_attempt_that_is_over_before_its_first_turn_is_released(engine: Engine, kind: str) -> None:
    item = task_item(forever, lease=4)
    engine.give(item, (kind, item[1], 4, "timeout"))  # asyncio never enters the coroutine of a task cancelled so early
    assert await answer(engine, "release", item[1]) == (4,)
    await do(engine, task_item(double, 1), "complete")
    assert [given[0] for given in engine.answers] == ["start", "release", "complete"]
    assert not started.is_set()


async def test_a_blocking_task_keeps_its_slot_until_it_returns(engine: Engine) -> None:
    slow, next_one = task_item(blocking), task_item(triple, 1)
    engine.give(slow)
    await eventually(started.is_set)
    engine.give(("cancel", slow[1], 1, "timeout"), next_one)
    await answer(engine, "complete", next_one[1])
    assert not [given for given in engine.answers if given[1:2] == (slow[1],)]
    finish.set()
    assert await answer(engine, "release", slow[1]) == (1,)


async def test_two_attempts_of_one_task_are_told_apart_by_their_leases(engine: Engine) -> None:
    id = str(uuid4())
    engine.give(task_item(blocking, id=id, lease=1))
    await eventually(started.is_set)
    engine.give(("cancel", id, 1, "timeout"), task_item(triple, 2, id=id, lease=2))
    assert await answer(engine, "complete", id) == (2, b"6")
    finish.set()
    assert await answer(engine, "release", id) == (1,)


async def test_a_cancel_for_another_lease_changes_nothing(engine: Engine) -> None:
    item = task_item(blocking, lease=2)
    engine.give(item)
    await eventually(started.is_set)
    engine.give(("cancel", item[1], 1, "timeout"), ("drop", item[1], 1, "lease lost"))
    await do(engine, task_item(double, 1), "complete")
    finish.set()
    assert await answer(engine, "complete", item[1]) == (2, b'"cancelled: False"')


@pytest.mark.parametrize("function", [blocking, clinging])
async def test_when_every_slot_is_stuck_the_worker_stops(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch, function: Function[..., Any]
) -> None:
    monkeypatch.setattr(tasks, "_STUCK", 0.0)
    monkeypatch.setenv("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "0")
    running = asyncio.create_task(Worker(["jobs"], concurrency=1, functions=OWN).run(signals=False))
    engine = await eventually(lambda: engines and engines[0])
    item = task_item(function)
    engine.give(item)
    await eventually(started.is_set)
    engine.give(("cancel", item[1], 1, "timeout"))
    with pytest.raises(WorkerStopped, match="all 1 slots are taken by tasks that timed out"):
        await running
    finish.set()


# Context variables


class Stamped(str):
    """A value that keeps who it was decoded for."""

    def __new__(cls, text: str) -> Self:
        seen.append(f"{text} for {caller.get()}")
        return super().__new__(cls, text)


@task
async def seen_by_task(given: Stamped) -> Stamped:
    before, _ = caller.get(), caller.set("a task")
    return str.__new__(Stamped, before)


@task
def seen_in_thread(given: Stamped) -> str:
    before, _ = caller.get(), caller.set("a task in a thread")
    return before


@workflow
async def seen_by_workflow(given: Stamped) -> str:
    async def values() -> AsyncIterator[str]:
        try:
            yield caller.get()
        finally:
            seen.append(f"closed for {caller.get()}")

    before = [value async for value in values()]
    async for _ in values():
        break
    left.append(values())
    before.append(await anext(left[0]))
    before.append(await seen_by_task.run(Stamped("y")))
    seen.append(f"goes on for {caller.get()}")
    await sleep(3600)
    return before[0]


async def test_neither_tasks_nor_workflows_see_context_variables_of_the_program_or_of_each_other(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "0")
    monkeypatch.setattr(Engine, "drain", lambda _: None)  # so that the workflow is in memory until the end
    caller.set("the program")
    id, child = str(uuid4()), task_item(seen_by_task, "x")
    async with Worker(["jobs"], functions=[seen_by_task, seen_in_thread, seen_by_workflow]):
        engine = engines[0]
        await do(engine, run_item(seen_by_workflow, "x", id=id), "commands")
        engine.activations[child[1]] = deque([(id, "0", 1, 2_000_000, "completed", b'"z"')])
        items = [task_item(function, "x") for function in (seen_by_task, seen_in_thread) for _ in range(2)]
        engine.give(*items, child)
        results = [await answer(engine, "complete", item[1]) for item in [*items, child]]
        assert results == [(1, b'"nobody"')] * 5
        await eventually(lambda: len(commands_of(engine, id)) == 2)
    assert {"x for nobody", "z for nobody", "closed for nobody", "goes on for nobody"} <= {*seen}
    assert not [line for line in seen if line.endswith("for the program")]
    assert {line for line in seen if line.endswith("for a task")} <= {"nobody for a task"}  # its own result
    assert caller.get() == "the program"
