"""Several hosts in the URL: a primary and its stand-by, and whoever has the URL finds the one that takes writes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

import currant
from apps import outage
from apps.board import SLUGGISH
from currant.rust_bridge import RustBridge
from recorded import assert_all_recorded_once, audit
from servers import HOST, OwnPostgres, binaries_like, fetch, free_port, passable_directory
from support import WorkerProcess, eventually, eventually_async

SECRET = "sesame"
StartWorker = Callable[..., WorkerProcess]
RunCurrant = Callable[..., subprocess.CompletedProcess[str]]


def url_of(*ports: int, **parameters: str) -> str:
    """The URL that lists these ports of this machine, in this order."""
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql://currant:{SECRET}@{hosts}/postgres?{query}"


@dataclass
class Pair:
    """A primary and its synchronous stand-by: what the one has committed, the other has."""

    primary: OwnPostgres
    stand_by: OwnPostgres

    def url(self, *, stand_by_first: bool = False, **parameters: str) -> str:
        """The URL that lists both."""
        ports = [self.primary.port, self.stand_by.port]
        return url_of(*ports[:: -1 if stand_by_first else 1], **parameters)


def start_pair(stack: ExitStack, server_url: str) -> Pair:
    """Two servers, migrated, which go with the stack."""
    binaries = binaries_like(server_url)

    def start(primary: OwnPostgres | None = None) -> OwnPostgres:
        server = OwnPostgres(stack.enter_context(passable_directory()), binaries, primary)
        stack.callback(server.stop)
        return server

    primary = start()
    with closing(RustBridge(primary.url)) as bridge:
        bridge.migrate()
    return Pair(primary, start(primary))


@pytest.fixture
def own_pair(server_url: str) -> Iterator[Pair]:
    """Two servers of one test's own, of which one may be killed and the other promoted."""
    with ExitStack() as stack:
        yield start_pair(stack, server_url)


@pytest.fixture(scope="module")
def pair(server_url: str) -> Iterator[Pair]:
    """Two servers that stay what they are."""
    with ExitStack() as stack:
        yield start_pair(stack, server_url)


@pytest.fixture
def start_worker(worker_process: StartWorker, tmp_path: Path) -> StartWorker:
    """Start a worker of `apps.outage` that for hours does nothing by itself: it hears, or it does nothing."""

    def start(url: str) -> WorkerProcess:
        variables = {**SLUGGISH, "WORKFLOWS_DATABASE_URL": url, "JOURNAL": str(tmp_path / "journal")}
        return worker_process("outage", "apps.outage", ready=False, **variables)

    return start


@contextmanager
def sessions_begun(server: OwnPostgres) -> Iterator[Callable[[], int]]:
    """How many sessions others have begun there since, as far as their ends are known."""
    with psycopg.connect(server.url, autocommit=True) as watching:

        def count() -> int:
            row = watching.execute("select sessions from pg_stat_database where datname = 'postgres'").fetchone()
            assert row is not None
            return int(row[0])

        before = count()
        yield lambda: count() - before


def listening(server: OwnPostgres, since: datetime | None = None) -> datetime | None:
    """Until when the worker sleeps that listens there and has nothing to do; None: not yet, or it said so before `since`."""
    sleeping = (
        "select max(sleep_until) as until from currant.workers where stopped_at is null and isfinite(sleep_until)"
    )
    (row,) = fetch(server.url, sleeping)
    until: datetime | None = row["until"]
    if until is None or until <= (since or datetime.now(UTC)):
        return None
    return until


async def test_a_fail_over_to_the_second_host_goes_unnoticed(
    own_pair: Pair, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The first host is killed while a run waits for a signal, and the second promoted."""
    url = own_pair.url(target_session_attrs="read-write")
    audit(own_pair.primary.url)
    currant.configure(database_url=url)
    worker = start_worker(url)
    handle = await outage.step_after_signal.queue("before")
    waits = "select 1 from currant.steps where kind = 'signal'"
    await eventually_async(lambda: fetch(own_pair.primary.url, waits), timeout=60)
    asleep = await eventually_async(lambda: listening(own_pair.primary), timeout=60)
    waiting = asyncio.ensure_future(handle.result(timeout=100))

    with sessions_begun(own_pair.stand_by) as begun:
        own_pair.primary.kill()
        signal = asyncio.ensure_future(currant.send_signal(handle, "go on", 2))
        # Meanwhile they ask the stand-by, which will not do.
        await eventually_async(lambda: begun() >= 8, timeout=60)
    assert not signal.done()
    assert not waiting.done()
    own_pair.stand_by.promote()

    await signal
    await eventually_async(lambda: listening(own_pair.stand_by, asleep), timeout=40)
    assert await waiting == [0, 1, 2]
    after = await outage.three_steps.queue("after")  # only a notification can tell the worker
    assert await after.result(timeout=60) == [0, 1, 2]
    assert worker.running
    assert "Traceback" not in worker.log
    assert SECRET not in worker.log
    assert_all_recorded_once(own_pair.stand_by.url, {str(handle), str(after)}, tmp_path / "journal")
    attempts = fetch(own_pair.stand_by.url, "select distinct attempt, worker_losses from currant.executions")
    assert attempts == [{"attempt": 1, "worker_losses": 0}]


def test_a_worker_listens_again_at_once_after_a_fail_over(own_pair: Pair, start_worker: StartWorker) -> None:
    """What it had in its pool leads to a server that is gone, and nobody but itself sends it a notification."""
    currant.configure(database_url=own_pair.url())
    start_worker(own_pair.url())
    asleep = eventually(lambda: listening(own_pair.primary), timeout=60)
    own_pair.primary.kill()
    own_pair.stand_by.promote()
    # A worker that does not hear itself tries again after a minute.
    eventually(lambda: listening(own_pair.stand_by, asleep), timeout=40)
    assert outage.three_steps.queue_sync("after").result_sync(timeout=60) == [0, 1, 2]


# Several hosts without the parameter are `read-write`.
@pytest.mark.parametrize("wanted", [{}, {"target_session_attrs": "read-write"}, {"target_session_attrs": "primary"}])
def test_a_stand_by_that_is_listed_first_is_passed_by(
    pair: Pair, start_worker: StartWorker, wanted: dict[str, str]
) -> None:
    url = pair.url(stand_by_first=True, **wanted)
    currant.configure(database_url=url)
    worker = start_worker(url)
    eventually(lambda: listening(pair.primary) or not worker.running, timeout=60)
    assert worker.running, worker.log
    assert outage.three_steps.queue_sync("one").result_sync(timeout=60) == [0, 1, 2]
    there = "select pid from pg_stat_activity where application_name = 'currant'"
    eventually(lambda: not fetch(pair.stand_by.url, there))
    workers = fetch(pair.primary.url, "select pid from currant.workers where stopped_at is null")
    assert workers == [{"pid": worker.pid}], fetch(pair.primary.url, "select * from currant.workers")
    worker.terminate()
    assert worker.wait(30) == 0


def listed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The ids that `currant list --json` printed."""
    assert (done.returncode, done.stderr) == (0, ""), done
    return [row["id"] for row in json.loads(done.stdout)]


def test_the_commands_pass_by_a_host_that_is_down(pair: Pair, run_currant: RunCurrant) -> None:
    url = url_of(free_port(), pair.stand_by.port, pair.primary.port)
    currant.configure(database_url=url)
    handle = outage.step.options(queue="nobody").queue_sync("one", 1)
    assert str(handle) in listed(run_currant("list", "--json", WORKFLOWS_DATABASE_URL=url))
    done = run_currant("cancel", str(handle), WORKFLOWS_DATABASE_URL=url)
    assert (done.returncode, done.stderr) == (0, ""), done
    doctor = run_currant("doctor", WORKFLOWS_DATABASE_URL=url)
    assert (doctor.returncode, doctor.stderr) == (0, ""), doctor
    assert "\nok " in doctor.stdout
    assert SECRET not in doctor.stdout


def test_commands_that_read_may_use_the_stand_by(pair: Pair, run_currant: RunCurrant) -> None:
    currant.configure(database_url=pair.primary.url)
    handle = outage.step.options(queue="nobody").queue_sync("one", 1)
    url = pair.url(target_session_attrs="standby")
    assert str(handle) in listed(run_currant("list", "--json", WORKFLOWS_DATABASE_URL=url))


@pytest.mark.parametrize("command", [["list"], ["doctor"], ["doctor", "--json"], ["migrate"]])
def test_where_all_hosts_are_down_a_command_says_so_in_one_line(run_currant: RunCurrant, command: list[str]) -> None:
    ports = [free_port(), free_port()]
    done = run_currant(*command, WORKFLOWS_DATABASE_URL=url_of(*ports))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith("error: ")
    for port in ports:
        assert f"{HOST}:{port}/postgres" in done.stderr
    assert SECRET not in done.stderr


def test_where_only_a_stand_by_answers_a_command_says_so_in_one_line(pair: Pair, run_currant: RunCurrant) -> None:
    port = free_port()
    done = run_currant("list", WORKFLOWS_DATABASE_URL=url_of(port, pair.stand_by.port))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert f"the database at {HOST}:{pair.stand_by.port}/postgres will not do: it is a stand-by" in done.stderr
    assert f"{HOST}:{port}/postgres" in done.stderr
    assert SECRET not in done.stderr
