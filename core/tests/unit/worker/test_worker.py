"""The life of a worker: start, drain, signals, end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

import currant
from currant import Worker, WorkerStopped, task
from currant.decorators import Function, registry
from fake_core import Engine
from support import eventually_async as eventually
from worker_app import FLOWS, OWN, blocking, clinging, double, finish, forever, naps, started, stubborn
from worker_items import do, run_item, task_item


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
