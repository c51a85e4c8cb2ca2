"""The client, on a core in memory: enqueue, results, signals; from loops, threads and forks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest

from currant import (
    CurrantError,
    ExecutionCancelled,
    ExecutionFailed,
    Handle,
    NotFound,
    NotRunning,
    SerializationError,
    SettingsError,
    client,
    configure,
    context,
    default_client,
    get_handle,
    rust_bridge,
    send_signal,
    send_signal_sync,
    task,
    workflow,
)
from currant._payloads import codec
from currant.rust_bridge import Call, RustBridge
from fake_core import Core, derive_id


@dataclass
class Receipt:
    id: str
    day: date


@task(queue="pay")
async def charge(order_id: str, amount: int = 1) -> Receipt: ...  # type: ignore[empty-body]


@workflow
async def order(order_id: str) -> Receipt: ...  # type: ignore[empty-body]


RECEIPT = Receipt("r-1", date(2020, 1, 2))


async def test_a_handle_names_what_was_enqueued(core: Core) -> None:
    handle = await charge.queue("o-1", amount=5)
    call = core.executions[str(handle)]["call"]
    assert call[:3] == ("task", f"{__name__}.charge", "pay")
    assert charge.decode_args(call[4]) == (("o-1",), {"amount": 5})
    assert await handle.status() == "pending"


def test_queue_sync_needs_no_event_loop(core: Core) -> None:
    handle = charge.queue_sync("o-1")
    assert handle.status_sync() == "pending"
    core.end(handle.id, "completed", codec.encode(RECEIPT))
    assert handle.result_sync(timeout=5) == RECEIPT


async def test_a_result_comes_as_the_annotated_type(core: Core) -> None:
    handle = await charge.queue("o-1")
    waiting = asyncio.create_task(handle.result())
    core.end(handle.id, "completed", codec.encode(RECEIPT))
    assert await waiting == RECEIPT
    assert await get_handle(handle.id, charge).result() == RECEIPT
    assert await get_handle(handle.id).result() == {"id": "r-1", "day": "2020-01-02"}


async def test_a_failed_execution_raises_what_happened(core: Core) -> None:
    handle = await charge.queue("o-1")
    core.end(handle.id, "failed", codec.encode_error(ValueError("no money")))
    with pytest.raises(ExecutionFailed) as caught:
        await handle.result()
    assert (caught.value.id, caught.value.type, caught.value.message) == (handle.id, "ValueError", "no money")
    with pytest.raises(ExecutionFailed, match="no money"):
        handle.result_sync()


async def test_a_cancelled_execution_raises_that(core: Core) -> None:
    handle = await charge.queue("o-1")
    await handle.cancel()
    assert await handle.status() == "cancelled"
    with pytest.raises(ExecutionCancelled, match=handle.id):
        await handle.result()
    with pytest.raises(NotRunning):
        handle.cancel_sync()


async def test_a_result_that_takes_too_long_is_a_timeout_that_says_the_state(core: Core) -> None:
    handle = await charge.queue("o-1")
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.01 s; it is pending"):
        await handle.result(timeout=0.01)
    with pytest.raises(TimeoutError, match="has not ended within 0 s"):
        handle.result_sync(timeout=0)


async def test_an_async_task_does_not_wait_for_a_result_on_the_loop_of_its_worker(core: Core) -> None:
    handle = await charge.queue("o-1")
    core.end(handle.id, "completed", codec.encode(RECEIPT))
    context.attempt.set(context.Attempt("id", 1, None, "orders"))
    with pytest.raises(CurrantError, match=r"block the worker's event loop: in an async task write `await"):
        handle.result_sync()
    assert await asyncio.to_thread(handle.result_sync) == await handle.result()


async def test_waiting_goes_on_beyond_one_slice(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_ASYNC_SLICE", 0.001)
    handle = await charge.queue("o-1")
    waits: list[float] = []
    real = core.wait_execution

    def wait(id: str, timeout: float | None = None, reply: Any = None) -> Any:
        waits.append(timeout or 0)
        if len(waits) == 3:
            core.end(id, "completed", codec.encode(RECEIPT))
        return real(id, timeout, reply)

    monkeypatch.setattr(core, "wait_execution", wait)
    assert await handle.result() == RECEIPT
    assert len(waits) == 3


async def test_a_waiter_that_is_cancelled_leaves_the_others_alone(core: Core) -> None:
    handle = await charge.queue("o-1")
    gone, stays = asyncio.create_task(handle.result()), asyncio.create_task(handle.result())
    await handle.status()
    gone.cancel()
    core.end(handle.id, "completed", codec.encode(RECEIPT))
    assert await stays == RECEIPT
    assert gone.cancelled()


async def test_queue_many_takes_tuples_and_mappings_and_keeps_their_order(core: Core) -> None:
    handles = await charge.queue_many([("a", 1), {"order_id": "b", "amount": 2}, ("c",)])
    stored = [charge.decode_args(core.executions[handle.id]["call"][4]) for handle in handles]
    assert stored == [(("a", 1), {}), ((), {"order_id": "b", "amount": 2}), (("c",), {})]
    assert core.commits == [3]
    assert await charge.queue_many([]) == []
    assert len(charge.queue_many_sync(("x",) for _ in range(2))) == 2


@pytest.mark.parametrize("item", ["o-1", 5, ["o-1"], None])
def test_queue_many_refuses_what_is_neither_before_anything_is_enqueued(core: Core, item: Any) -> None:
    with pytest.raises(TypeError, match="item 1 is a tuple of positional or a dict of keyword arguments"):
        charge.queue_many([("a",), item])
    assert core.executions == {}


@pytest.mark.parametrize("verb", ["queue", "queue_many"])
async def test_an_await_that_is_forgotten_is_told_by_the_name_of_the_function(core: Core, verb: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        getattr(charge, verb)([("o-1",)] if verb == "queue_many" else "o-1")
        messages = [str(warning.message) for warning in told]
        told.clear()  # they hold the coroutine, and with it the one within, of which Python warns too
        gc.collect()
    assert f"coroutine '{charge.name}.{verb}' was never awaited" in messages
    assert core.executions == {}


@pytest.mark.parametrize(("item", "error"), [((), TypeError), (("a", "b"), SerializationError)])
def test_queue_many_says_which_item_cannot_be_enqueued(core: Core, item: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"queue_many: item 2: .*(order_id|amount)"):
        charge.queue_many([("a",), {"order_id": "b"}, item])
    assert core.executions == {}


def test_queue_many_refuses_one_key_for_all(core: Core) -> None:
    with pytest.raises(ValueError, match="queue_many with an idempotency_key"):
        charge.options(idempotency_key="k").queue_many([("a",)])


async def test_a_second_queue_with_a_key_gives_a_handle_on_the_first(core: Core) -> None:
    first = await charge.options(idempotency_key="k").queue("o-1")
    assert await charge.options(idempotency_key="k").queue("o-2") == first
    assert await charge.options(idempotency_key="other").queue("o-1") != first


async def test_signals_are_sent_by_handle_or_id(core: Core) -> None:
    handle = await order.queue("o-1")
    await send_signal(handle, "approved", {"by": "ann"})
    await send_signal(handle.id, "approved")
    send_signal_sync(handle.id.upper(), "approved", date(2020, 1, 2))
    assert core.signals == [
        (handle.id, "approved", b'{"by":"ann"}'),
        (handle.id, "approved", b"null"),
        (handle.id, "approved", b'"2020-01-02"'),
    ]


@pytest.mark.parametrize("id", ["nope", "\ud800", "", 5, None, b"01900000-0000-7000-8000-000000000002"])
def test_a_handle_on_what_is_no_id_is_refused_where_it_is_made(id: Any) -> None:
    """In a workflow the engine would refuse its verbs, and the run would be incompatible."""
    with pytest.raises(NotFound, match="is not the id of an execution"):
        Handle(id)


def test_a_handle_takes_an_id_in_any_spelling() -> None:
    id = uuid4()
    assert {Handle(id), Handle(str(id)), Handle(str(id).upper()), Handle(id.hex)} == {get_handle(id)}


@task
async def greet(self: str) -> str: ...  # type: ignore[empty-body]


async def test_a_parameter_named_self_is_one_like_any_other(core: Core) -> None:
    for handle in (await greet.queue(self="ann"), greet.queue_sync(self="ann")):  # type: ignore[misc]
        assert greet.decode_args(core.executions[handle.id]["call"][4]) == ((), {"self": "ann"})


@pytest.mark.parametrize(
    ("timeout", "error"), [(float("nan"), ValueError), ("1", TypeError), (timedelta(milliseconds=1), TimeoutError)]
)
def test_a_time_out_is_a_number_of_seconds_or_a_timedelta(core: Core, timeout: Any, error: type[Exception]) -> None:
    handle = charge.queue_sync("o-1")
    with pytest.raises(error, match="has not ended within 0.001 s|timeout is seconds or a timedelta"):
        handle.result_sync(timeout=timeout)
    with pytest.raises(error, match="has not ended within 0.001 s|timeout is seconds or a timedelta"):
        asyncio.run(asyncio.wait_for(handle.result(timeout=timeout), 5))


async def test_signals_to_nobody_and_to_the_finished_are_told(core: Core) -> None:
    with pytest.raises(NotFound):
        await send_signal(str(uuid4()), "approved")
    handle = await order.queue("o-1")
    core.end(handle.id, "completed")
    with pytest.raises(NotRunning):
        await send_signal(handle, "approved")


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [("", 1, ValueError), ("n" * 201, 1, ValueError), (5, 1, TypeError), ("approved", {1: 2}, SerializationError)],
)
def test_a_bad_signal_is_refused_at_the_call(core: Core, name: Any, payload: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="signal"):
        send_signal(str(uuid4()), name, payload)


@pytest.mark.parametrize("given", ["nonsense", "", 5, None, "0" * 31])
def test_an_id_that_is_none_is_both_not_found_and_a_value_error(given: Any) -> None:
    with pytest.raises(NotFound, match="is not the id of an execution"):
        get_handle(given)
    with pytest.raises(ValueError, match="is not the id of an execution"):
        get_handle(given)


def test_without_a_database_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKFLOWS_DATABASE_URL", raising=False)
    configure()
    with pytest.raises(
        SettingsError, match=r"WORKFLOWS_DATABASE_URL is not set: .*currant.configure\(database_url="
    ) as caught:
        charge.queue_sync("o-1")
    assert isinstance(caught.value, CurrantError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [{"database_url": "mysql://x"}, {"max_payload_bytes": 0}])
def test_configure_refuses_what_cannot_be_used_and_changes_nothing(given: dict[str, Any]) -> None:
    before = default_client()
    with pytest.raises(SettingsError):
        configure(**given)
    assert default_client() is before


async def test_handles_keep_the_database_they_were_made_for(core: Core) -> None:
    first = await charge.queue("o-1")
    configure(database_url="postgresql://elsewhere/db")
    second = await charge.queue("o-2")
    assert first.id not in rust_bridge.shared_core("postgresql://elsewhere/db").executions  # type: ignore[attr-defined]
    assert await first.status() == await second.status() == "pending"


def test_several_event_loops_in_turn_leave_nothing_open(core: Core) -> None:
    handle = charge.queue_sync("o-1")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert asyncio.run(handle.status()) == "pending"
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # the last loop's mailbox may still be there


def test_event_loops_in_threads_at_the_same_time(core: Core) -> None:
    handles: list[Handle[Receipt]] = []

    async def many() -> None:
        handles.extend(await asyncio.gather(*(charge.queue(f"o-{n}") for n in range(20))))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({handle.id for handle in handles}) == len(core.executions) == 100


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_makes_a_core_of_its_own(core: Core) -> None:
    charge.queue_sync("o-1")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            handle = charge.queue_sync("o-2")
            own = default_client().core
            told = f"{own is not core} {own.process == os.getpid()} {asyncio.run(handle.status())}"  # type: ignore[attr-defined]
        except BaseException as error:
            told = repr(error)
        os.write(writer, told.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000) == b"True True pending"
    assert default_client().core is core
    os.close(reader)
    os.close(writer)


# Inside a workflow


class Run:
    """What verbs in a workflow see of a run."""

    queue = "flows"

    def __init__(self) -> None:
        self.id = str(uuid4())
        self.made: list[tuple[Any, ...]] = []

    def execute(self, call: Call, decode: Any, arguments: Any) -> Any:
        self.made.append(("execute", call))
        return self._give(decode(codec.encode(RECEIPT)))

    def detach(self, call: Call, arguments: Any) -> str:
        self.made.append(("detach", call))
        return derive_id(self.id, str(len(self.made)))

    def enqueue(self, call: Call, key: str, arguments: Any) -> Any:
        self.made.append(("enqueue", call, key))
        return self._give(derive_id(self.id, key))

    def verb(self, verb: str, target: str, name: str, payload: bytes, decode: Any) -> Any:
        self.made.append(("verb", verb, target, name, payload))
        return self._give(decode(b'"running"'))

    async def _give(self, value: Any) -> Any:
        return value


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(context, "active_run", lambda: run)
    return run


async def test_run_is_a_step_in_the_workflows_queue_unless_it_has_its_own(run: Run) -> None:
    assert await charge.run("o-1") == RECEIPT
    step = order.run("o-1")
    step.close()
    assert [call.queue for _, call in run.made] == ["pay", "flows"]


@pytest.mark.parametrize("given", [{"idempotency_key": "k"}, {"connection": object()}])
def test_run_refuses_what_is_for_queue(run: Run, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"are for \.queue\(\)"):
        charge.options(**given).run("o-1")


async def test_queue_in_a_workflow_is_detached_at_the_call(run: Run) -> None:
    coroutine = charge.queue("o-1")
    assert [made[0] for made in run.made] == ["detach"]
    assert (await coroutine).id == derive_id(run.id, "1")
    handles = await charge.queue_many([("a",), ("b",)])
    assert [handle.id for handle in handles] == [derive_id(run.id, "2"), derive_id(run.id, "3")]


async def test_a_keyed_queue_in_a_workflow_is_a_step(run: Run) -> None:
    handle = await charge.options(idempotency_key="k").queue("o-1")
    assert handle.id == derive_id(run.id, "k")
    assert run.made[0][0::2] == ("enqueue", "k")


async def test_the_verbs_of_a_handle_are_steps_in_a_workflow(run: Run) -> None:
    id = str(uuid4())
    assert await get_handle(id).status() == "running"
    assert await get_handle(id).result() == "running"
    await get_handle(id).cancel(force=True)
    await send_signal(id, "go", [1])
    assert run.made == [
        ("verb", "status", id, "", b"null"),
        ("verb", "result", id, "", b"null"),
        ("verb", "cancel", id, "", b"true"),
        ("verb", "signal", id, "go", b"[1]"),
    ]


def test_what_would_block_a_workflow_is_refused(run: Run) -> None:
    handle = get_handle(uuid4())
    verbs: list[Any] = [
        lambda: charge.queue_sync("o-1"),
        lambda: charge.queue_many_sync([("o-1",)]),
        handle.result_sync,
        handle.status_sync,
        handle.cancel_sync,
        lambda: send_signal_sync(handle, "go"),
    ]
    for verb in verbs:
        with pytest.raises(CurrantError, match="would block the workflow"):
            verb()
    assert run.made == []


def test_a_connection_and_a_time_out_for_a_result_are_refused_in_a_workflow(run: Run) -> None:
    with pytest.raises(CurrantError, match="connection= cannot be used inside a workflow"):
        charge.options(connection=object()).queue("o-1")
    with pytest.raises(CurrantError, match=r"asyncio\.timeout"):
        get_handle(uuid4()).result(timeout=3)


# The bridge


def test_the_bridge_works_on_the_class_and_on_an_instance(core: Core) -> None:
    assert RustBridge.migrate() == 1
    assert RustBridge("postgresql://other/db").migrate() == 1


def test_the_seeds_one_item_verbs_are_batches_of_one_with_their_lease(core: Core) -> None:
    bridge = RustBridge()
    id = bridge.create_execution(charge.call(("o-1",), {}))
    claimed = bridge.claim_execution("worker-1", ["pay"])
    assert claimed is not None
    assert (claimed.id, claimed.execution["function"]) == (id, charge.name)
    assert bridge.claim_execution("worker-1", ["pay"]) is None
    with pytest.raises(rust_bridge.LeaseLost, match=id):
        bridge.complete_execution("worker-1", id, claimed.lease + 1, b"1")
    bridge.complete_execution("worker-1", id, claimed.lease, b"1")
    assert bridge.wait_execution(id, 0) == ("completed", b"1")
    assert bridge.get_execution(id)["state"] == "completed"
