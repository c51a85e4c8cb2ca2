"""Bad input, named: each is one clear line or the typed error, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import math
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import currant
from apps import mistakes
from currant import (
    CurrantError,
    DatabaseUnavailable,
    ExecutionFailed,
    NotRunning,
    SerializationError,
    SettingsError,
    Worker,
)
from currant.decorators import registry
from currant.rust_bridge import RustBridge
from servers import at_port, free_port
from support import WorkerProcess, eventually, eventually_async

Db = psycopg.Connection[dict[str, Any]]
Run = Callable[..., subprocess.CompletedProcess[str]]
StartWorker = Callable[..., WorkerProcess]
NOBODY = "00000000-0000-7000-8000-000000000001"
QUEUE_IT = ("queue", "apps.mistakes.fine")


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """It ended with this code and one line on standard error that says all of this."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
    assert done.stderr.startswith("error: ")
    assert all(text in done.stderr for text in said), done.stderr


async def failure_of(function: Any, *args: Any) -> ExecutionFailed:
    """Enqueue it and run a worker; give how it failed."""
    handle = await function.queue(*args)
    async with Worker(queues=["mistakes"]):
        with pytest.raises(ExecutionFailed) as caught:
            await handle.result(timeout=30)
    return caught.value


# The database


@pytest.fixture
def closed_url(database: str) -> str:
    """A URL where nobody listens."""
    return at_port(database, free_port()) + "?connect_timeout=0.3"


def test_an_unreachable_database_on_the_command_line(closed_url: str, run_currant: Run) -> None:
    for command in (("list",), ("migrate",), ("status", NOBODY), (*QUEUE_IT, "[]")):
        assert_one_line(run_currant(*command, WORKFLOWS_DATABASE_URL=closed_url), 1, "cannot be reached", "127.0.0.1:")


async def test_an_unreachable_database_for_a_client(closed_url: str) -> None:
    currant.configure(database_url=closed_url)
    verbs = (
        lambda: mistakes.fine.queue(),
        lambda: mistakes.fine.options(idempotency_key="k").queue(),
        lambda: currant.get_handle(NOBODY).status(),
        lambda: currant.get_handle(NOBODY).result(),
        lambda: currant.send_signal(NOBODY, "x"),
    )
    for verb in verbs:
        with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1"):
            await verb()


def test_a_database_that_is_not_there_or_refuses_is_said_at_once(database: str, run_currant: Run) -> None:
    missing = database.rpartition("/")[0] + "/no_such_database"
    assert_one_line(run_currant("list", WORKFLOWS_DATABASE_URL=missing), 1, '"no_such_database" does not exist')
    stranger = f"postgresql://no_such_role:secret@{database.rpartition('@')[2]}"
    done = run_currant("list", WORKFLOWS_DATABASE_URL=stranger)
    assert_one_line(done, 1, "no_such_role")
    assert "secret" not in done.stderr


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "localhost", "postgresql://u:secret@h:port/d", "postgres//x"])
def test_a_wrong_url_names_its_variable(url: str, run_currant: Run) -> None:
    done = run_currant("list", WORKFLOWS_DATABASE_URL=url)
    assert done.returncode in (1, 2)
    assert_one_line(done, done.returncode, "URL")
    assert "secret" not in done.stderr
    with pytest.raises(CurrantError, match="URL") as caught:
        use(url)
    assert "secret" not in str(caught.value)


def use(url: str) -> None:
    """Configure this database and enqueue."""
    currant.configure(database_url=url)
    mistakes.fine.queue_sync()


# Names


def test_unknown_names_on_the_command_line_say_what_there_is(run_currant: Run) -> None:
    run_currant(*QUEUE_IT)
    assert_one_line(run_currant("list", "-q", "no-such"), 1, "no queue no-such", "mistakes")
    assert_one_line(run_currant("queue", "apps.mistakes.fin"), 1, "did you mean", "apps.mistakes.fine")
    assert_one_line(run_currant("queue", "os.system", '["true"]'), 1, "no task or workflow os.system")
    assert_one_line(run_currant("worker", "-q", "q", "-m", "apps.no_such"), 2, "no module apps.no_such")
    assert_one_line(run_currant("worker", "-q", "q", "-m", "apps/mistakes.py"), 2, "apps.mistakes")


USAGE: list[tuple[str, ...]] = [
    ("no-such-command",),
    ("list", "--colour"),
    ("list", "--state", "lost"),
    ("list", "--limit", "0"),
    ("worker",),
    ("worker", "-q", "q", "-m", "apps.mistakes", "--concurrency", "0"),
    ("status",),
    ("status", "not-an-id"),
    (*QUEUE_IT, "{broken"),
    (*QUEUE_IT, "5"),
    (*QUEUE_IT, "[NaN]"),
    (*QUEUE_IT, '["a", "b"]'),
    (*QUEUE_IT, "[5]"),
    (*QUEUE_IT, '{"colour": "red"}'),
]


def test_usage_is_exit_code_2_without_a_traceback_and_nothing_is_stored(run_currant: Run, bridge: RustBridge) -> None:
    for arguments in USAGE:
        done = run_currant(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr, arguments
        assert "Traceback" not in done.stderr, arguments
    assert bridge.list_executions() == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WORKFLOWS_WORKER_HEARTBEAT_INTERVAL", "soon"),
        ("WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT", "0"),
        ("WORKFLOWS_WORKER_POLL_INTERVAL", "-1"),
        ("WORKFLOWS_WORKER_MAX_CONCURRENT", "many"),
        ("WORKFLOWS_WORKER_SHUTDOWN_GRACE", "inf"),
        ("WORKFLOWS_DEFAULT_TIMEOUT", "0"),
        ("WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT", "never"),
        ("WORKFLOWS_DEFAULT_RETRIES", "1.5"),
        ("WORKFLOWS_MAX_PAYLOAD_BYTES", "1MB"),
        ("WORKFLOWS_HTTP_PORT", "http"),
    ],
)
def test_a_bad_setting_names_its_variable_and_value(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable} cannot be '{value}': write"):
        Worker(queues=["mistakes"])


# Values


def test_an_argument_that_json_cannot_carry_is_named_at_the_call(db: Db) -> None:
    for value in (math.nan, math.inf, object(), "\ud800", {5: 1}, {"x": {1, 2j}}, lambda: None):
        for call in (anything.queue, anything.queue_sync, anything.options(connection=db).queue_sync):
            with pytest.raises(SerializationError, match=r"'value' of .*test_bad_input\.anything"):
                call(value)
        with pytest.raises(SerializationError, match="signal 'go'"):
            currant.send_signal(NOBODY, "go", value)
    assert db.execute("select 1 from currant.executions").fetchone() is None


@currant.task(queue="mistakes")
async def anything(value: Any) -> None: ...


def test_what_is_too_large_says_how_large_and_what_to_set(db: Db) -> None:
    large = "x" * 1_048_577
    for call in (anything.queue, anything.queue_sync):
        with pytest.raises(
            SerializationError, match=r"arguments of .*anything.*too large.*WORKFLOWS_MAX_PAYLOAD_BYTES"
        ):
            call(large)
    with pytest.raises(SerializationError, match="too large"):
        currant.send_signal(NOBODY, "go", large)
    assert db.execute("select 1 from currant.executions").fetchone() is None


async def test_a_result_that_cannot_be_carried_fails_the_execution(database: str) -> None:
    for what in ("nan", "object", "large", "keys"):
        error = await failure_of(mistakes.gives, what)
        assert error.type == "SerializationError", what
        assert "the result of apps.mistakes.gives" in error.message


async def test_a_result_that_cannot_be_carried_is_not_tried_again(bridge: RustBridge) -> None:
    error = await failure_of(mistakes.gives_and_would_try_again)
    assert bridge.get_execution(error.id)["attempt"] == 1


async def test_a_steps_argument_that_cannot_be_carried_raises_in_the_workflow(database: str) -> None:
    handles = [await mistakes.carries.queue(what) for what in ("nan", "object", "large")]
    async with Worker(queues=["mistakes"]):
        for handle in handles:
            assert (await handle.result(timeout=30)).startswith("SerializationError: ")


async def test_an_error_of_any_size_and_with_any_character_is_recorded(database: str) -> None:
    error = await failure_of(mistakes.says_a_lot)
    assert (error.type, error.message[:22]) == ("RuntimeError", "first line\nsecond line")
    assert len(error.message) < 20_000


# Workflows


async def test_run_outside_a_workflow_says_what_to_use() -> None:
    with pytest.raises(NotRunning, match=r"outside a workflow.*\.queue\(\)"):
        mistakes.fine.run()
    with pytest.raises(NotRunning, match="outside a workflow"):
        currant.wait_for_signal("x")


async def test_io_in_a_workflow_raises_and_says_put_it_in_a_task(database: str) -> None:
    for how in ("connection", "server", "subprocess", "thread", "lookup"):
        error = await failure_of(mistakes.talks, how)
        assert "put it in a task" in error.message, how


def test_blocking_io_in_a_workflow_is_found_where_the_guard_is_installed(
    database: str, worker_process: StartWorker, tmp_path: Any
) -> None:
    """As in `currant dev`. In a process of its own: an audit hook stays."""
    (tmp_path / "guarded.py").write_text(
        "from currant._workflow.blocking_guard import install_blocking_guard\nfrom apps import mistakes\ninstall_blocking_guard()\n"
    )
    worker_process("mistakes", "guarded", cwd=tmp_path)
    for how in ("urllib", "socket"):
        with pytest.raises(ExecutionFailed, match="put it in a task"):
            mistakes.talks.queue_sync(how).result_sync(timeout=30)


async def test_code_that_no_longer_fits_its_history_is_incompatible_and_goes_on_with_code_that_fits(
    database: str, bridge: RustBridge, run_currant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is not lost: `list --incompatible` and `show` have it and the step that differs in one line."""

    def release(step: Any) -> list[Any]:
        registry.pop("changing", None)

        @currant.workflow(name="changing", queue="mistakes")
        async def changing() -> str:
            await step.run()
            return await currant.wait_for_signal("go", type=str)

        return [changing, step]

    old, new = release(mistakes.fine), release(anything_else)
    monkeypatch.setenv("WORKFLOWS_BUILD_ID", "old")
    handle = await old[0].queue()
    async with Worker(queues=["mistakes"], functions=old):
        await eventually_async(lambda: bridge.show(str(handle))["steps"])
    await currant.send_signal(handle, "go", "well")
    monkeypatch.setenv("WORKFLOWS_BUILD_ID", "new")
    async with Worker(queues=["mistakes"], functions=new):
        await eventually_async(lambda: bridge.list_executions(held=True))
    for option in ("--incompatible", "--held"):
        (row,) = (line for line in run_currant("list", option).stdout.splitlines() if str(handle) in line)
        assert "apps.mistakes.fine" in row, "what was recorded"
        assert "anything_else" in row, "what the code asks for"
    assert "apps.mistakes.fine" not in run_currant("list", "--roots").stdout
    shown = run_currant("show", str(handle))
    (line,) = (line for line in shown.stdout.splitlines() if "NonDeterminismError" in line)
    assert "apps.mistakes.fine" in line
    assert "anything_else" in line
    monkeypatch.setenv("WORKFLOWS_BUILD_ID", "old")
    async with Worker(queues=["mistakes"], functions=old):
        assert await handle.result(timeout=30) == "well"
    registry.pop("changing")


@currant.task(queue="mistakes")
async def anything_else() -> None: ...


# Tasks that do not end as they should


async def test_a_task_that_never_returns_is_ended_by_its_timeout(database: str) -> None:
    error = await failure_of(mistakes.awaits_for_ever)
    assert "time" in f"{error.type} {error.message}".lower()


async def test_a_def_task_that_never_returns_fails_and_others_go_on(database: str) -> None:
    mistakes.stuck.clear()
    handle, other = await mistakes.never_returns.queue(), await mistakes.fine.queue()
    try:
        async with Worker(queues=["mistakes"], concurrency=2):
            with pytest.raises(ExecutionFailed, match="(?i)time"):
                await handle.result(timeout=30)
            assert await other.result(timeout=30) == "fine"
            assert await (await mistakes.fine.queue()).result(timeout=30) == "fine"
            mistakes.stuck.set()
    finally:
        mistakes.stuck.set()


async def test_a_task_that_exits_fails_alone(database: str) -> None:
    assert (await failure_of(mistakes.exits)).type == "SystemExit"


def test_a_task_that_kills_its_process_fails_as_worker_lost_and_the_others_go_on(
    database: str, worker_process: StartWorker
) -> None:
    victim = worker_process("mistakes", "apps.mistakes")
    handle = mistakes.kills_its_process.queue_sync()
    assert victim.wait() == -9
    worker_process("mistakes", "apps.mistakes")
    with pytest.raises(ExecutionFailed, match="WorkerLost"):
        handle.result_sync(timeout=30)
    assert mistakes.fine.queue_sync().result_sync(timeout=30) == "fine"


def test_an_execution_of_an_unknown_function_says_so_in_the_log_and_fails(
    database: str, worker_process: StartWorker
) -> None:
    worker = worker_process("mistakes", "apps.mistakes")
    with psycopg.connect(database, autocommit=True) as connection:
        options = '{"queue": "mistakes", "retries": 0}'
        row = connection.execute("select currant.enqueue('no.such', '{}', %s)::text", [options]).fetchone()
    assert row is not None
    with pytest.raises(ExecutionFailed, match="UnknownFunction: no task no.such is registered"):
        currant.get_handle(row[0]).result_sync(timeout=30)
    eventually(lambda: "no task no.such is registered" in worker.log)


def test_stored_arguments_that_do_not_fit_fail_the_execution_by_name(
    database: str, worker_process: StartWorker
) -> None:
    worker_process("mistakes", "apps.mistakes")
    with psycopg.connect(database, autocommit=True) as connection:
        for args in ('{"args": [5]}', '{"kwargs": {"colour": 1}}', '{"args": ["a", "b", "c"]}'):
            row = connection.execute(
                'select currant.enqueue(\'apps.mistakes.fine\', %s, \'{"queue": "mistakes", "retries": 0}\')::text',
                [args],
            ).fetchone()
            assert row is not None
            with pytest.raises(ExecutionFailed, match=r"apps\.mistakes\.fine|fine\(\)"):
                currant.get_handle(row[0]).result_sync(timeout=30)


def test_one_bad_enqueue_does_not_harm_those_it_was_joined_with(database: str, bridge: RustBridge) -> None:
    """Enqueues in flight at the same time are joined in one commit: a value that the database refuses fails alone."""

    def enqueue(number: int) -> bool:
        call = mistakes.fine.call((str(number),), {})
        if number % 10 == 3:
            call = call._replace(priority=11)  # past the SDK's checks
        try:
            bridge.create_execution(call)
        except (ValueError, CurrantError):
            return False
        return True

    with ThreadPoolExecutor(30) as threads:
        done = list(threads.map(enqueue, range(60)))
    assert [number for number, good in enumerate(done) if not good] == [3, 13, 23, 33, 43, 53]
    assert len(bridge.list_executions(limit=100)) == 54


async def test_waiting_for_a_cancelled_enqueue_harms_nobody(database: str) -> None:
    given_up = asyncio.ensure_future(mistakes.fine.queue("a"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await (await mistakes.fine.queue("b")).status() == "pending"
