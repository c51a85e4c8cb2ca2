"""The worker, on an engine that does what the test says (docs/internals/engine.md)."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, Self
from uuid import uuid4

import pytest

import currant
from currant import Worker, WorkerStopped, current, sleep, task, workflow
from currant._payloads import codec
from currant._worker import tasks
from currant._worker.builds import build_id
from currant._worker.failures import matches
from currant._workflow.run import WorkflowRun
from currant.decorators import Function, registry
from fake_core import Core, Engine
from support import eventually_async as eventually
from worker_items import answer, do, run_item, task_item

caller: ContextVar[str] = ContextVar("caller", default="nobody")
seen: list[str] = []
left: list[AsyncIterator[str]] = []  # async generators that are gone on with by nobody
started = threading.Event()
finish = threading.Event()


class Declined(Exception):
    pass


class VeryDeclined(Declined):
    pass


@task
async def double(n: int) -> int:
    return n * 2


@task
def triple(n: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return n * 3


@task
async def who() -> list[Any]:
    me = current()
    return [me.id, me.attempt, me.workflow_id, me.queue, me.cancelled]


@task
def who_sync() -> list[Any]:
    me = current()
    return [me.id, me.attempt, me.workflow_id, me.queue, me.cancelled]


@task
async def boom(kind: str) -> None:
    raise {
        "value": ValueError("bad\nvalue"),
        "declined": VeryDeclined("no"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "cancelled": asyncio.CancelledError(),
    }[kind]


@task
def boom_sync() -> None:
    raise SystemExit("out")


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as people write them: a `def` around whatever it decorates."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@task
@logged
async def wrapped_async(n: int) -> int:
    await asyncio.sleep(0)
    assert threading.current_thread() is threading.main_thread()
    return n + current().attempt


@task
@logged
async def wrapped_forever() -> None:
    started.set()
    await asyncio.Event().wait()


@task
def gives_a_coroutine() -> Any:
    return double(4)


@task
async def forgot_await() -> Any:
    return double(1)


@task
async def step_in_a_task() -> int:
    return await double.run(1)


@task
async def sleeps_for_a_signal() -> None:
    await currant.wait_for_signal("go")


@task
def enqueues_wrongly() -> None:
    double.queue_sync(1, 2)  # type: ignore[call-arg]


class Shop:
    @task
    @staticmethod
    async def close(n: int) -> int:
        return n - 1


@task
async def wrong_result() -> int:
    return "five"  # type: ignore[return-value]


@task
async def forever() -> None:
    started.set()
    await asyncio.Event().wait()


@task
async def stubborn() -> str:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass
    return f"cancelled: {current().cancelled}"


@task
def blocking() -> str:
    started.set()
    finish.wait(20)
    return f"cancelled: {current().cancelled}"


@task
async def clinging() -> None:
    started.set()
    while not finish.is_set():
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            continue


@workflow
async def quadruple(n: int) -> int:
    return await double.run(await double.run(n))


@workflow
async def gives_a_set() -> Any:
    return {1}


@workflow
async def fails() -> None:
    raise ValueError("no")


@workflow
async def naps() -> str:
    await sleep(3600)
    return "awake"


@workflow
async def clings() -> None:
    while True:
        try:
            await sleep(3600)
        except BaseException:
            continue


MANY: list[int] = []
BY_NAME: dict[str, list[int]] = {"n": []}
SEEN: set[int] = set()


@workflow
async def adds_to_its_defaults(
    a: int = 0, many: list[int] = MANY, *, by_name: dict[str, list[int]] = BY_NAME, seen: set[int] = SEEN
) -> list[int]:
    many.append(1)
    by_name["n"].append(1)
    seen.add(len(seen))
    return [len(many), len(by_name["n"]), len(seen)]


OWN = [
    double,
    triple,
    who,
    who_sync,
    boom,
    boom_sync,
    wrapped_async,
    wrapped_forever,
    gives_a_coroutine,
    forgot_await,
    step_in_a_task,
    sleeps_for_a_signal,
    enqueues_wrongly,
    Shop.close,
    wrong_result,
    forever,
    stubborn,
    blocking,
    clinging,
]
FLOWS: list[Function[..., Any]] = [quadruple, gives_a_set, fails, naps, clings, adds_to_its_defaults]


@pytest.fixture(autouse=True)
def _events() -> None:
    started.clear()
    finish.clear()


@pytest.fixture
async def engine(engines: list[Engine]) -> AsyncIterator[Engine]:
    """The engine of a running worker."""
    async with Worker(["jobs"], concurrency=2, name="w", functions=[*OWN, *FLOWS]):
        yield engines[0]
        finish.set()


# Tasks


async def test_the_engine_is_told_what_the_worker_serves(engine: Engine) -> None:
    assert (engine.name, engine.queues, engine.concurrency) == ("w", ["jobs"], 2)
    assert engine.tasks == [function.name for function in OWN]
    assert engine.workflows == [function.name for function in FLOWS]
    assert engine.build.endswith(f"py3.{sys.version_info.minor}")
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
        (task_item(boom, "declined", non_retryable=[f"{__name__}.Declined"]), "VeryDeclined", "no", False),
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


# Workflows


def commands_of(engine: Engine, id: str) -> list[list[tuple[Any, ...]]]:
    return [given[3] for given in engine.answers if given[:2] == ("commands", id)]


async def test_a_workflow_is_started_and_resumed_in_memory(engine: Engine) -> None:
    id = str(uuid4())
    lease, commands = await do(engine, run_item(quadruple, 3, id=id), "commands")
    ((verb, key, call),) = commands
    assert (lease, verb, call[1], call[2]) == (7, "execute", double.name, "jobs")
    engine.give(("activate", id, key, 1, 2_000_000, "completed", b"6"))
    await eventually(lambda: len(commands_of(engine, id)) == 2)
    engine.give(("activate", id, commands_of(engine, id)[1][0][1], 2, 3_000_000, "completed", b"12"))
    await eventually(lambda: len(commands_of(engine, id)) == 3)
    assert commands_of(engine, id)[2] == [("complete", b"12")]


async def test_an_activation_that_an_answer_gives_back_is_delivered_at_once(engine: Engine) -> None:
    id, step = str(uuid4()), task_item(double, 3)
    await do(engine, run_item(quadruple, 3, id=id), "commands")
    first = commands_of(engine, id)[0][0][1]
    # Completing the task gives its parent's activation; the answer to that gives the next one.
    engine.activations[step[1]] = deque([(id, first, 1, 2_000_000, "completed", b"6")])
    engine.activations[id] = deque([(id, "1", 2, 3_000_000, "completed", b"12")])
    engine.give(step)
    await eventually(lambda: len(commands_of(engine, id)) == 3)
    assert [given[0] for given in engine.answers[-3:]] == ["complete", "commands", "commands"]
    assert commands_of(engine, id)[2] == [("complete", b"12")]


async def test_a_workflow_is_rebuilt_from_its_history(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(quadruple, 3, id=id), "commands")
    key = commands_of(engine, id)[0][0][1]
    engine.give(("evict", id))
    assert await answer(engine, "suspended", id) == (7,)
    engine.answers.clear()
    history = ([(key, "task", double.name, None)], [(key, 1, 2_000_000, "completed", b"6")])
    _, commands = await do(engine, run_item(quadruple, 3, id=id, history=history), "commands")
    assert [command[0] for command in commands] == ["execute"]
    assert double.decode_args(commands[0][2][4]) == ((6,), {})


async def test_what_a_workflow_changes_in_a_default_is_not_the_default_of_the_next_run(engine: Engine) -> None:
    """A replay in another process has the default of the code, and would ask for other steps."""
    for args, result in (((), b"[1,1,1]"), ((), b"[1,1,1]"), ((0, [5]), b"[2,1,1]")):
        _, commands = await do(engine, run_item(adds_to_its_defaults, *args, id=str(uuid4())), "commands")
        assert commands == [("complete", result)]


async def test_a_workflow_that_does_not_fit_its_history_is_incompatible(engine: Engine) -> None:
    id = str(uuid4())
    history = ([("0", "task", triple.name, None)], [("0", 1, 2_000_000, "completed", b"6")])
    _, commands = await do(engine, run_item(quadruple, 3, id=id, history=history), "commands")
    ((verb, error),) = commands
    assert verb == "hold"
    assert codec.decode_error(error).type == "NonDeterminismError"


async def test_a_workflow_that_is_incompatible_is_one_line_in_the_log(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    id = str(uuid4())
    history = ([("0", "task", triple.name, None)], [("0", 1, 2_000_000, "completed", b"6")])
    await do(engine, run_item(quadruple, 3, id=id, history=history), "commands")
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{quadruple.name} {id} is incompatible: NonDeterminismError: workflow ")
    assert "\n" not in record.getMessage()


async def test_a_dropped_workflow_answers_nothing_more(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(naps, id=id), "commands")
    key = commands_of(engine, id)[0][0][1]
    engine.give(("drop", id, 7, "lease lost"), ("activate", id, key, 1, 9_000_000, "fired", b""))
    await do(engine, task_item(double, 1), "complete")
    assert len(commands_of(engine, id)) == 1


async def test_a_drop_of_an_older_lease_leaves_the_workflow_alone(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(naps, id=id), "commands")
    key = commands_of(engine, id)[0][0][1]
    engine.give(("drop", id, 6, "lease lost"), ("activate", id, key, 1, 9_000_000_000, "fired", b""))
    await eventually(lambda: len(commands_of(engine, id)) == 2)
    assert commands_of(engine, id)[1] == [("complete", b'"awake"')]


async def test_a_workflow_that_does_not_end_is_suspended_and_kept(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    id = str(uuid4())
    await do(engine, run_item(clings, id=id), "commands")
    engine.give(("evict", id))
    await answer(engine, "suspended", id)
    assert "does not end; it is kept in memory" in caplog.text


@pytest.mark.parametrize(
    ("function", "args", "verb", "type"),
    [
        ("no.such", (), "hold", "UnknownFunction"),
        (double, (1,), "hold", "UnknownFunction"),
        (quadruple, ("x",), "fail", "SerializationError"),
        (quadruple, (), "fail", "TypeError"),
    ],
)
async def test_a_workflow_that_cannot_be_started_is_answered(
    engine: Engine, function: Any, args: tuple[Any, ...], verb: str, type: str
) -> None:
    _, commands = await do(engine, run_item(function, *args, id=str(uuid4())), "commands")
    assert commands[-1][0] == verb
    assert codec.decode_error(commands[-1][1]).type == type
    assert commands[-1][2:] == ((False,) if verb == "fail" else ())  # it would fail alike


@pytest.mark.parametrize(
    ("function", "type", "more"), [(gives_a_set, "SerializationError", (False,)), (fails, "ValueError", ())]
)
async def test_a_workflow_that_failed_by_a_mistake_is_not_tried_again(
    engine: Engine, function: Any, type: str, more: tuple[Any, ...]
) -> None:
    _, commands = await do(engine, run_item(function, id=str(uuid4())), "commands")
    verb, error, *rest = commands[-1]
    assert (verb, codec.decode_error(error).type, tuple(rest)) == ("fail", type, more)


async def test_a_run_that_cannot_go_on_is_incompatible_not_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(WorkflowRun, "start", start)
    _, commands = await do(engine, run_item(naps, id=str(uuid4())), "commands")
    assert commands[0][0] == "hold"
    assert codec.decode_error(commands[0][1]).message == "a defect"


async def test_an_item_that_cannot_be_handled_does_not_take_the_next_with_it(engine: Engine) -> None:
    good = task_item(double, 1)
    engine.give(("riddle", "id"), good)
    assert await answer(engine, "complete", good[1]) == (1, b"2")


# The worker's own life


async def test_leaving_the_block_drains_then_says_goodbye(engines: list[Engine]) -> None:
    async with Worker(["jobs"], functions=OWN):
        await do(engines[0], task_item(double, 1), "complete")
    assert [given[0] for given in engines[0].answers] == ["start", "complete", "drain", "stop"]


async def test_a_drain_waits_for_what_is_in_hand(engines: list[Engine]) -> None:
    async with Worker(["jobs"], functions=OWN) as serving:
        item = task_item(blocking)
        engines[0].give(item)
        await eventually(started.is_set)
        serving.drain()
        finish.set()
    assert [given[0] for given in engines[0].answers] == ["start", "drain", "complete", "stop"]


async def test_a_drain_waits_until_workflows_are_evicted(engines: list[Engine]) -> None:
    id = str(uuid4())
    async with Worker(["jobs"], functions=FLOWS) as serving:
        await do(engines[0], run_item(naps, id=id), "commands")
        serving.drain()
    assert [given[0] for given in engines[0].answers] == ["start", "commands", "drain", "suspended", "stop"]


async def test_after_the_grace_the_rest_is_cancelled_and_handed_back(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "0")
    async with Worker(["jobs"], functions=[*OWN, *FLOWS]):
        await do(engines[0], run_item(naps, id=str(uuid4())), "commands")
        engines[0].give(task_item(stubborn))
        await eventually(started.is_set)
    # No release, no outcome: what is not answered is handed back by the engine's `stop`.
    assert [given[0] for given in engines[0].answers] == ["start", "commands", "drain", "suspended", "stop"]


def test_a_task_that_ignores_its_end_does_not_keep_the_process_from_ending(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "0")

    async def main() -> None:
        async with Worker(["jobs"], functions=OWN):
            engines[0].give(task_item(clinging))
            await eventually(started.is_set)

    asyncio.run(main())  # returns, although the task never will
    assert engines[0].answers[-1] == ("stop",)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_drains_and_a_second_one_stops_now(engines: list[Engine], number: signal.Signals) -> None:
    before = signal.getsignal(number)
    running = asyncio.create_task(Worker(["jobs"], functions=OWN).run())
    engine = await eventually(lambda: engines and engines[0])
    engine.give(task_item(forever))
    await eventually(started.is_set)
    os.kill(os.getpid(), number)
    await eventually(lambda: ("drain",) in engine.answers)
    assert not running.done()
    os.kill(os.getpid(), number)
    await running
    assert engine.answers[-1] == ("stop",)
    assert signal.getsignal(number) is before


async def test_a_signal_drains_all_workers_of_a_loop_and_the_last_one_puts_back_what_was_there(
    engines: list[Engine],
) -> None:
    program_s: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: program_s.append(number))
    mine = signal.getsignal(signal.SIGTERM)
    workers = [Worker([queue], functions=OWN) for queue in ("jobs", "mail", "trips")]
    runs = [asyncio.create_task(worker.run()) for worker in workers]
    await eventually(lambda: all(not each.closed for each in workers))
    workers[0].drain()
    await asyncio.wait_for(runs[0], 5)
    os.kill(os.getpid(), signal.SIGTERM)  # the first one's end has taken nothing from the others
    _, running = await asyncio.wait(runs, timeout=5)
    for each in workers:
        each.drain()
    after = signal.signal(signal.SIGTERM, before)
    assert (len(running), after, program_s) == (0, mine, [])


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["nohup", "its own"])
async def test_a_hangup_that_the_program_ignores_or_handles_is_not_the_worker_s(
    engines: list[Engine], handler: Any
) -> None:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        only = Worker(["jobs"], functions=OWN)
        running = asyncio.create_task(only.run())
        await eventually(lambda: not only.closed)
        assert signal.getsignal(signal.SIGHUP) is handler
        only.drain()
        await running
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_the_engine_can_stop_the_worker_and_says_why(engines: list[Engine]) -> None:
    running = asyncio.create_task(Worker(["jobs"], functions=OWN).run(signals=False))
    engine = await eventually(lambda: engines and engines[0])
    engine.give(("stop", "the schema is too new"))
    with pytest.raises(WorkerStopped, match="the schema is too new"):
        await running
    assert [given[0] for given in engine.answers] == ["start", "drain", "stop"]


async def test_what_the_engine_has_to_say_goes_to_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.give(("log", "warning", "the database is away"), ("log", "error", "the port is taken"))
    await eventually(lambda: len(caplog.records) == 2)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [("WARNING", "worker w: the database is away"), ("ERROR", "worker w: the port is taken")]


async def test_a_worker_can_run_again_but_not_twice_at_once(engines: list[Engine]) -> None:
    serving = Worker(["jobs"], functions=OWN)
    for _ in range(2):
        async with serving:
            with pytest.raises(currant.CurrantError, match="is running already"):
                async with serving:
                    pass
    assert len(engines) == 2


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Worker([], functions=OWN), ValueError, "at least one queue"),
        (lambda: Worker("jobs", functions=OWN), TypeError, r"write queues=\['jobs'\]"),
        (lambda: Worker([""], functions=OWN), ValueError, "1 to 200 characters"),
        (lambda: Worker(["jobs"], concurrency=0, functions=OWN), ValueError, "concurrency must be from 1"),
        (lambda: Worker(["jobs"], concurrency=2.5, functions=OWN), TypeError, "concurrency is a whole number"),  # type: ignore[arg-type]
        (lambda: Worker(["jobs"], functions=[print]), TypeError, "a list of tasks and workflows, not <built-in"),  # type: ignore[list-item]
        (lambda: Worker(["jobs"], functions=two_of_a_name()), ValueError, "'one' is taken by the task at .*name="),
        (lambda: Worker(["jobs"], functions=[]), ValueError, "no task or workflow is registered"),
    ],
)
def test_a_worker_that_could_do_nothing_is_refused(
    make: Callable[[], Worker], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make()


def two_of_a_name() -> list[Function[..., Any]]:
    @task(name="one")
    async def first() -> None: ...

    registry.pop("one")

    @task(name="one")
    async def second() -> int:
        return 2

    return [first, second]


async def test_a_worker_takes_two_copies_of_one_function(engines: list[Engine]) -> None:
    async with Worker(["jobs"], functions=[double, double.options(priority=1)]):
        assert engines[0].tasks == [double.name]


async def test_a_worker_serves_all_that_is_registered(engines: list[Engine]) -> None:
    async with Worker(["jobs", "jobs", "mail"]):
        assert engines[0].queues == ["jobs", "mail"]
        assert {*engines[0].tasks, *engines[0].workflows} == set(registry)


# Parts


@pytest.mark.parametrize(
    ("names", "matched"),
    [
        ([], False),
        (["Declined"], True),
        (["VeryDeclined"], True),
        ([f"{__name__}.Declined"], True),
        (["other.Declined"], False),
        (["Exception"], True),
        (["ValueError"], False),
    ],
)
def test_an_error_matches_the_names_of_its_classes(names: list[str], matched: bool) -> None:
    assert matches(VeryDeclined(), names) is matched


def test_a_failed_step_matches_by_the_type_of_its_error() -> None:
    error = currant.ExecutionFailed("id", "Declined", "no")
    assert matches(error, ["shop.Declined"])
    assert not matches(error, ["ValueError"])


def test_the_build_is_of_the_workflows_sources_their_versions_and_python(monkeypatch: pytest.MonkeyPatch) -> None:
    one = build_id(FLOWS)
    assert one == build_id([*reversed(FLOWS), double])  # neither order nor tasks count
    monkeypatch.setattr(quadruple, "version", 2)
    assert build_id(FLOWS) != one
    monkeypatch.setenv("WORKFLOWS_BUILD_ID", "v7")
    assert build_id(FLOWS) == f"v7-py3.{sys.version_info.minor}"


async def test_work_waits_for_a_thread_where_the_system_allows_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from currant._worker.threads import Threads

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool, done, gate = Threads(2), threading.Event(), threading.Event()
    pool.submit(lambda: gate.wait(20) and None)
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit(done.set)
    gate.set()
    await eventually(done.is_set)
    monkeypatch.undo()
    pool.submit(lambda: exec("raise SystemExit"))
    done.clear()
    pool.submit(done.set)
    await eventually(done.is_set)
    pool.close()


async def test_threads_are_kept_and_no_more_than_asked_for(core: Core) -> None:
    from currant._worker.threads import Threads

    pool, seen, gate = Threads(2), [], threading.Event()

    def work() -> None:
        gate.wait(20)
        seen.append(threading.current_thread())

    for _ in range(10):
        pool.submit(work)
    gate.set()
    await eventually(lambda: len(seen) == 10)
    assert len(set(seen)) <= 2
    pool.close()
    for thread in set(seen):
        thread.join(20)
        assert not thread.is_alive()
