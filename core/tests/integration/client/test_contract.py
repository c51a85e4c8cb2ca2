"""What no other test has of all that the SDK offers: each name is there, and does what it says on a real database."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

import currant
from apps import contract
from currant import ExecutionFailed, Worker
from currant.rust_bridge import RustBridge
from support import eventually_async

Db = psycopg.Connection[dict[str, Any]]
NAMES = """task workflow Retry sleep wait_for_signal send_signal send_signal_sync get_version get_handle configure Worker
    current is_replaying now uuid4 random side_effect Handle RustBridge"""
ERRORS = """ExecutionFailed ExecutionCancelled SignalTimeout NonDeterminismError SerializationError NotFound NotRunning
    UnknownFunction LeaseLost SchemaMismatch DatabaseUnavailable"""


async def result_of(function: Any, *args: Any, queues: tuple[str, ...] = ("contract",), **kwargs: Any) -> Any:
    """Enqueue it, run a worker, give the result."""
    handle = await function.queue(*args, **kwargs)
    async with Worker(queues=queues, concurrency=20):
        return await handle.result(timeout=30)


def test_the_names_of_the_contract_can_be_imported() -> None:
    missing = [name for name in [*NAMES.split(), *ERRORS.split()] if name not in currant.__all__]
    assert missing == []
    assert all(hasattr(currant, name) for name in currant.__all__)


def test_every_error_is_a_currant_error_but_the_suspend_which_nobody_catches() -> None:
    assert all(issubclass(getattr(currant, name), currant.CurrantError) for name in ERRORS.split())
    assert issubclass(currant.SignalTimeout, TimeoutError)
    assert not issubclass(currant.WorkflowSuspendException, Exception)
    assert issubclass(currant.WorkflowSuspendException, BaseException)


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("currant").joinpath("py.typed").is_file()
    assert files("currant").joinpath("_core.pyi").is_file()


async def test_values_come_back_as_their_annotated_types(database: str) -> None:
    given = (
        contract.Parcel(Decimal("1.50"), contract.Colour.RED, ["a", "ü"]),
        contract.Label("x\0y", datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        contract.Address(street="Elm", since=date(1999, 12, 31)),
        UUID(int=5),
        timedelta(hours=30, microseconds=1),
        b"\x00\xff",
        Decimal("0.1") + Decimal("1e-20"),
    )
    assert await result_of(contract.same_types, *given) == given


async def test_big_integers_and_nul_pass(database: str) -> None:
    assert await result_of(contract.number, 2**62) == 2**62


async def test_a_task_knows_its_attempt(database: str) -> None:
    handle = await contract.who.queue()
    run = await contract.knows_its_task.queue()
    async with Worker(queues=["contract"]):
        assert await handle.result(timeout=30) == [str(handle), 1, None, "contract", False]
        id, attempt, workflow_id, queue, cancelled = await run.result(timeout=30)
    assert (attempt, workflow_id, queue, cancelled) == (1, str(run), "contract", False)
    assert id not in (str(handle), str(run))


async def test_a_def_task_runs_in_a_thread(database: str) -> None:
    handle = await contract.in_a_thread.queue()
    async with Worker(queues=["contract"]):
        assert await handle.result(timeout=30) == [False, str(handle), 1]


async def test_retries_and_non_retryable(database: str, bridge: RustBridge) -> None:
    assert await result_of(contract.third_time) == 3
    handle = await contract.never_again.queue()
    async with Worker(queues=["contract"]):
        with pytest.raises(ExecutionFailed, match="KeyError"):
            await handle.result(timeout=30)
    assert bridge.get_execution(str(handle))["attempt"] == 1


async def test_a_step_runs_in_its_own_queue_else_the_workflows(database: str) -> None:
    steps = await result_of(contract.queues_of_steps, queues=("contract", "other"))
    assert steps == ["contract", "other", "contract"]
    assert await result_of(contract.where, queues=("default",)) == "default"


async def test_what_the_decorators_say_is_stored_with_the_execution(bridge: RustBridge) -> None:
    row = bridge.get_execution(str(await contract.queues_of_steps.queue()))
    assert (row["kind"], row["queue"], row["timeout"], row["max_attempts"], row["priority"]) == (
        "workflow", "contract", 600, 1, 5,
    )  # fmt: skip
    row = bridge.get_execution(str(await contract.who.queue()))
    assert (row["kind"], row["function"], row["timeout"], row["max_attempts"]) == ("task", "apps.contract.who", 300, 4)


async def test_the_tools_of_asyncio_work_with_steps(database: str) -> None:
    assert await result_of(contract.combinators) == {
        "gather": [1, 2],
        "wait": [1],
        "wait_for": "timeout",
        "timeout": "timeout",
        "task_group": [0, 1, 2],
        "as_completed": [5, 6],
        "queue": 7,
        "locked": False,
    }


async def test_time_and_chance_are_the_same_after_a_replay(database: str, bridge: RustBridge, db: Db) -> None:
    handle = await contract.time_and_chance.queue()
    async with Worker(queues=["contract"]):
        await eventually_async(lambda: db.execute("select 1 from currant.steps where kind = 'signal'").fetchone())
    effect = db.execute("select payload from currant.steps where kind = 'side_effect'").fetchone()
    started = db.execute("select started_at from currant.executions").fetchone()
    assert await handle.status() == "suspended"
    await currant.send_signal(handle, "go")
    async with Worker(queues=["contract"]):
        moment, random_id, chance, recorded, replaying, at_the_end, version = await handle.result(timeout=30)
    assert effect is not None
    assert started is not None
    assert recorded == bytes(effect["payload"]).decode()
    assert datetime.fromisoformat(moment) == started["started_at"]
    assert UUID(random_id).version == 4
    assert 0 <= float(chance) < 1
    assert (replaying, at_the_end, version) == ([True], False, 2)


async def test_a_signal_wait_that_times_out_is_a_timeout_error(database: str) -> None:
    assert await result_of(contract.waits_for_nobody) == "True"


async def test_a_workflow_starts_others_once_and_asks_for_them(database: str, db: Db) -> None:
    detached, first, second, result, status, kind = await result_of(contract.starts_others)
    assert first == second != detached
    assert (result, status, kind) == ("1", "completed", "KeyError")
    roots = db.execute("select id::text as id from currant.executions where parent_id is null").fetchall()
    assert {detached, first} < {row["id"] for row in roots}
    assert len(roots) == 3


async def test_what_a_workflow_must_not_do_is_refused_with_what_to_write(database: str) -> None:
    refusals = dict.fromkeys(("queue_sync", "result_sync", "send_signal_sync"), "would block the workflow")
    refusals["connection"] = "connection= cannot be used inside a workflow"
    for which, said in refusals.items():
        assert said in await result_of(contract.breaks_the_rules, which)


async def test_worker_run_ends_when_it_is_told_to_drain(database: str) -> None:
    worker = Worker(queues=["contract"], concurrency=2, name="in a program")
    running = asyncio.create_task(worker.run(signals=False))
    assert await (await contract.number.queue(3)).result(timeout=30) == 3
    assert [(row["name"], row["concurrency"]) for row in RustBridge.workers()] == [("in a program", 2)]
    worker.drain()
    await asyncio.wait_for(running, 30)
    assert RustBridge.workers() == []


async def test_a_worker_can_be_used_again_but_not_twice_at_once(database: str) -> None:
    worker = Worker(queues=["contract"])
    for value in (1, 2):
        async with worker:
            assert await (await contract.number.queue(value)).result(timeout=30) == value
            with pytest.raises(currant.CurrantError, match="running already"):
                async with worker:
                    pass


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"queues": "contract"}, TypeError, r"queues=\['contract'\]"),
        ({"queues": []}, ValueError, "at least one queue"),
        ({"queues": ["q"], "concurrency": 0}, ValueError, "concurrency"),
        ({"queues": ["q"], "concurrency": "5"}, TypeError, "concurrency"),
        ({"queues": ["q"], "functions": []}, ValueError, "no task or workflow is registered"),
    ],
)
def test_a_worker_that_makes_no_sense_is_refused(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Worker(**given)


async def test_workflow_code_that_catches_everything_does_not_catch_the_suspend(database: str, db: Db) -> None:
    """`except Exception` around a wait: the run is evicted from memory, comes back, and ends as if nothing had been."""
    handle = await catches_all.queue()
    async with Worker(queues=["contract"]):
        await eventually_async(lambda: db.execute("select 1 from currant.steps where kind = 'signal'").fetchone())
    assert await handle.status() == "suspended"
    await currant.send_signal(handle, "go", "went")
    async with Worker(queues=["contract"]):
        assert await handle.result(timeout=30) == ["went"]


@currant.workflow(queue="contract")
async def catches_all() -> list[str]:
    caught = []
    try:
        caught.append(await currant.wait_for_signal("go"))
    except Exception as error:
        caught.append(type(error).__name__)
    return caught
