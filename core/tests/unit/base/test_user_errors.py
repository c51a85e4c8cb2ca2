"""Whatever users' exceptions, values, logging and tracing do, each attempt is answered, logged, and its slot is free."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from uuid import uuid4

import pydantic
import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from currant import Worker, side_effect, sleep, task, tracing, wait_for_signal
from currant import workflow as workflow
from currant._base.user_errors import SafeLogger, interrupted
from currant._payloads import codec
from currant._worker.failures import matches
from currant.errors import ExecutionFailed
from fake_core import Engine
from fake_engine import FakeEngine, running
from hostile_errors import HOSTILE, leave
from support import eventually_async as eventually
from worker_items import do, run_item, task_item

NAMES = ["shop.CardDeclined", "CardDeclined"]
every_error = pytest.mark.parametrize("name", HOSTILE)


class Left(str):
    """A type whose values cannot be made: `exit()` is called where one is decoded."""

    __new__ = leave  # type: ignore[assignment]


class Model(pydantic.BaseModel):
    """A result that calls `exit()` where it is encoded."""

    n: int = 1

    def model_dump(self, **_: Any) -> NoReturn:  # type: ignore[override]
        raise SystemExit("encoded")


@task
async def raises(name: str) -> None:
    await asyncio.sleep(0)
    raise HOSTILE[name]()


@task
def raises_in_a_thread(name: str) -> None:
    raise HOSTILE[name]()


@task
def stops_iterating() -> None:
    raise StopIteration("as a value")


@task
async def takes(value: Left) -> None:
    """Never called."""


@task
def takes_in_a_thread(value: Left) -> None:
    """Never called."""


@task
async def gives() -> Model:
    return Model()


@task
def gives_in_a_thread() -> Model:
    return Model()


@task
async def fine(n: int) -> int:
    return n


@task
def fine_in_a_thread(n: int) -> int:
    return n


@task
async def waits_badly() -> None:
    class Future(asyncio.Future[None]):
        def cancel(self, msg: Any = None) -> bool:
            raise SystemExit("cancel() left")

    await Future()


@workflow
async def flow_raises(name: str) -> None:
    raise HOSTILE[name]()


@workflow
async def flow_raises_in_a_branch(name: str) -> None:
    async def branch() -> None:
        raise HOSTILE[name]()

    await asyncio.gather(branch())


@workflow
async def flow_raises_in_a_callback(name: str) -> str:
    class Callback:
        __repr__ = leave

        def __call__(self) -> None:
            raise HOSTILE[name]()

    asyncio.get_running_loop().call_soon(Callback())
    await asyncio.sleep(0)
    return "goes on"


@workflow
async def flow_takes(value: Left) -> None:
    """Never called."""


@workflow
async def flow_gives() -> Model:
    return Model()


@workflow
async def flow_waits() -> Any:
    return await wait_for_signal("go", type=Left)


@workflow
async def naps() -> None:
    await wait_for_signal("go")
    await sleep(3600)


TASKS = [
    raises, raises_in_a_thread, stops_iterating, takes, takes_in_a_thread, gives, gives_in_a_thread, fine,
    fine_in_a_thread, waits_badly,
]  # fmt: skip
FLOWS = [flow_raises, flow_raises_in_a_branch, flow_raises_in_a_callback, flow_takes, flow_gives, flow_waits, naps]


@pytest.fixture
async def engine(engines: list[Engine]) -> AsyncIterator[Engine]:
    """The engine of a running worker with one slot."""
    async with Worker(["jobs"], concurrency=1, name="w", functions=[*TASKS, *FLOWS]):
        yield engines[0]


async def works_on(engine: Engine) -> None:
    """The worker takes and answers the next tasks."""
    for function in (fine, fine_in_a_thread):
        assert await do(engine, task_item(function, 7), "complete") == (1, b"7")


# Tasks


@every_error
@pytest.mark.parametrize("function", [raises, raises_in_a_thread])
async def test_any_error_of_a_task_is_answered_and_logged(
    engine: Engine, name: str, function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    item = task_item(function, name, non_retryable=NAMES)
    _, error, retryable = await do(engine, item, "fail")
    told = codec.decode_error(error)
    assert told.type
    assert retryable
    assert len(error) < 500_000
    assert any(item[1] in record.getMessage() and " failed: " in record.getMessage() for record in caplog.records)
    await works_on(engine)


@pytest.mark.parametrize(
    ("item", "type"),
    [
        (task_item(stops_iterating), "StopIteration"),
        (task_item(takes, "x"), "SystemExit"),
        (task_item(takes_in_a_thread, "x"), "SystemExit"),
        (task_item(gives), "SystemExit"),
        (task_item(gives_in_a_thread), "SystemExit"),
    ],
)
async def test_arguments_and_results_that_exit_are_the_attempts_failure(
    engine: Engine, item: tuple[Any, ...], type: str
) -> None:
    _, error, _ = await do(engine, item, "fail")
    assert codec.decode_error(error).type == type
    await works_on(engine)


async def test_where_no_thread_can_be_started_the_attempt_fails(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        _, error, retryable = await do(engine, task_item(fine_in_a_thread, 1), "fail")
    assert (codec.decode_error(error).message, retryable) == ("can't start new thread", True)
    await works_on(engine)


async def test_a_task_that_cannot_be_cancelled_keeps_nothing_else_from_ending(engines: list[Engine]) -> None:
    async with Worker(["jobs"], concurrency=1, functions=TASKS) as worker:
        item = task_item(waits_badly)
        engines[0].give(item)
        await eventually(lambda: worker._tasks)
        await asyncio.sleep(0)
        engines[0].give(("cancel", item[1], 1, "timeout"))
        await works_on(engines[0])
        worker._now.set()
    assert engines[0].answers[-1] == ("stop",)


async def test_an_answer_that_the_engine_does_not_take_is_given_as_an_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(*_: Any) -> NoReturn:
        raise ValueError("no such result")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "complete", complete)
        _, error, _ = await do(engine, task_item(fine, 1), "fail")
    assert codec.decode_error(error).message == "no such result"
    await works_on(engine)


# Workflows


@every_error
@pytest.mark.parametrize("function", [flow_raises, flow_raises_in_a_branch])
async def test_any_error_of_a_workflow_ends_it_and_not_the_worker(
    engine: Engine, name: str, function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    id = str(uuid4())
    _, commands = await do(engine, run_item(function, name, id=id), "commands")
    assert [command[0] for command in commands] == ["fail"]
    assert codec.decode_error(commands[0][1]).type
    assert any(record.getMessage().startswith(f"{function.name} {id} failed: ") for record in caplog.records)
    await works_on(engine)


@every_error
async def test_any_error_of_a_workflows_callback_is_logged_and_no_more(engine: Engine, name: str) -> None:
    _, commands = await do(engine, run_item(flow_raises_in_a_callback, name, id=str(uuid4())), "commands")
    assert commands == [("complete", b'"goes on"')]
    await works_on(engine)


@pytest.mark.parametrize("item", [run_item(flow_takes, "x", id="1"), run_item(flow_gives, id="2")])
async def test_arguments_and_results_that_exit_fail_the_workflow(engine: Engine, item: tuple[Any, ...]) -> None:
    _, commands = await do(engine, item, "commands")
    assert commands[0][0] == "fail"
    assert codec.decode_error(commands[0][1]).type == "SystemExit"
    await works_on(engine)


async def test_a_signal_whose_payload_exits_fails_the_workflow(engine: Engine) -> None:
    id = str(uuid4())
    await do(engine, run_item(flow_waits, id=id), "commands")
    engine.give(("activate", id, "0", 1, 2_000_000, "completed", b'"x"'))
    await eventually(lambda: len([given for given in engine.answers if given[:2] == ("commands", id)]) == 2)
    verb, error = engine.answers[-1][3][0]
    assert (verb, codec.decode_error(error).type) == ("fail", "SystemExit")
    await works_on(engine)


@pytest.mark.usefixtures("asyncio_is_ours")
@pytest.mark.parametrize(
    "name", ["KeyboardInterrupt", "SystemExit", "GeneratorExit", "str exits", "a metaclass raises"]
)
def test_a_side_effect_that_ends_with_any_error_is_recorded(name: str) -> None:
    called = []

    def effect() -> None:
        called.append(1)
        raise HOSTILE[name]()

    async def main() -> Any:
        try:
            side_effect(effect)
        except ExecutionFailed as error:
            await sleep(1)
            return error.type

    engine: FakeEngine = running(main)
    engine.crash()
    engine.deliver("1", "fired")
    assert (bool(engine.result), called) == (True, [1])


async def test_commands_that_the_engine_does_not_take_make_the_run_incompatible(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = engine.commands

    def commands(id: str, lease: int, commands: list[Any]) -> Any:
        if commands[0][0] == "timer":
            raise ValueError("no such command")
        return plain(id, lease, commands)

    monkeypatch.setattr(engine, "commands", commands)
    id = str(uuid4())
    await do(engine, run_item(naps, id=id), "commands")
    engine.give(("activate", id, "0", 1, 2_000_000, "completed", b"null"))
    await eventually(lambda: len([given for given in engine.answers if given[:2] == ("commands", id)]) == 2)
    verb, error = engine.answers[-1][3][0]
    assert (verb, codec.decode_error(error).message) == ("hold", "no such command")


# What the program has put around the worker


@pytest.mark.parametrize("broken", [leave, HOSTILE["str raises"]])
async def test_logging_that_raises_costs_no_answer(
    engine: Engine, broken: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def about(record: logging.LogRecord) -> bool:
        raise HOSTILE["SystemExit"]() if broken is leave else broken()

    logger = logging.getLogger("currant.worker")
    logger.addFilter(about)
    try:
        item = task_item(raises, "SystemExit")
        await do(engine, item, "fail")
        _, commands = await do(engine, run_item(flow_raises, "SystemExit", id=str(uuid4())), "commands")
        assert commands[0][0] == "fail"
        await works_on(engine)
    finally:
        logger.removeFilter(about)
    assert f"{raises.name} {item[1]} attempt 2 failed: SystemExit: 3" in capsys.readouterr().err


class Broken(SpanProcessor):
    """An exporter of the program that raises whenever it is called."""

    on_start = on_end = leave  # type: ignore[assignment]


async def test_tracing_that_raises_costs_no_work(engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    traced = tracing.Tracing()
    traced._tracer = provider.get_tracer("currant")
    monkeypatch.setattr(tracing, "active", lambda: traced)
    async with Worker(["jobs"], functions=[*TASKS, *FLOWS]):
        engine = engines[0]
        await do(engine, task_item(raises, "str exits"), "fail")
        await works_on(engine)
        _, commands = await do(engine, run_item(naps, id=str(uuid4())), "commands")
        assert [command[0] for command in commands] == ["signal"]
        _, commands = await do(engine, run_item(flow_raises, "ten megabytes", id=str(uuid4())), "commands")
        assert commands[-1][0] == "fail"


@every_error
async def test_an_error_that_cannot_be_shown_is_traced(name: str) -> None:
    traced = tracing.Tracing()
    traced._tracer = TracerProvider().get_tracer("currant")
    span = traced.attempt("f", "i", 1, "q", None)
    assert span is not None
    traced.end(span, HOSTILE[name](), "failed")
    assert span.end_time is not None  # type: ignore[attr-defined]
    assert [event.name for event in span.events] == ["exception"]  # type: ignore[attr-defined]


# Parts


@every_error
def test_any_error_can_be_stored(name: str) -> None:
    data = codec.encode_error(HOSTILE[name](), "id")
    told = json.loads(data)
    assert set(told) == {"type", "message", "traceback", "id"}
    assert all(isinstance(value, str) for value in told.values())


@every_error
def test_any_error_can_be_matched(name: str) -> None:
    assert not matches(HOSTILE[name](), ["shop.Declined"])
    assert matches(HOSTILE[name](), ["BaseException"])


def test_what_cannot_be_shown_says_so() -> None:
    told = codec.decode_error(codec.encode_error(HOSTILE["str raises"]()))
    assert (told.type, told.message) == ("NoStr", "(its message cannot be shown: ValueError)")
    told = codec.decode_error(codec.encode_error(HOSTILE["__notes__ raises"]()))
    assert told.traceback.endswith("NoNotes: ")
    told = codec.decode_error(codec.encode_error(HOSTILE["a metaclass raises"]()))
    assert told.type == "OddMeta"


def test_ctrl_c_of_the_program_is_told_from_one_that_code_raises() -> None:
    assert not interrupted(KeyboardInterrupt())
    seen = []

    async def main() -> None:
        runner_handler = asyncio.Runner._on_sigint  # type: ignore[attr-defined]
        running_task = asyncio.current_task()
        for _ in range(2):  # the second Ctrl-C
            try:
                runner_handler(runner, 2, None, running_task)
            except KeyboardInterrupt as error:
                seen.append(interrupted(error))
        running_task.uncancel()  # type: ignore[union-attr]

    # In 3.13 `uncancel` takes the request back.
    with asyncio.Runner() as runner, contextlib.suppress(asyncio.CancelledError):
        runner.get_loop().run_until_complete(main())
    assert seen == [True]


def test_a_safe_logger_names_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    log = SafeLogger(logging.getLogger("currant.test"))
    log.warning("w")
    log.log(logging.ERROR, "l")
    log.failure(ValueError("v"), "f")
    assert {record.funcName for record in caplog.records} == {"test_a_safe_logger_names_its_caller"}
