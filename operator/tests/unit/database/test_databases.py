"""Databases: asked in batches and seldom, heard of when something has changed, and none holds up another."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from currant.errors import CurrantError, DatabaseUnavailable, SchemaMismatch
from currant_operator.database import connection, definitions, fleet
from currant_operator.database import database as database_module
from currant_operator.database import databases as module
from currant_operator.database.bridge import Times
from currant_operator.database.database import Database
from currant_operator.database.databases import Databases
from currant_operator.plan.kinds import Key
from currant_operator.plan.observations import (
    DatabaseMigrating,
    DatabaseReachable,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    SchemaTooNew,
)

URL = "postgresql://currant:sesame@db.example:5432/orders"
ORDERS, MAIL = Key("WorkerPool", "shop", "orders"), Key("WorkerPool", "shop", "mail")
PROCESS, OTHER = Key("Workflow", "shop", "process"), Key("Workflow", "shop", "other")


class FakeBridge:
    """A database in memory. `error` is raised by every verb; `unblocked` holds every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.queues: dict[str, dict[str, Any]] = {}
        self.workers: list[dict[str, Any]] = []
        self.stats: dict[str, dict[str, Any]] = {}
        self.schedules: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.unblocked = threading.Event()
        self.unblocked.set()
        self.opened: list[str] = []
        self.closed = 0
        self.became_ready = threading.Semaphore(0)

    def open(self, url: str) -> FakeBridge:
        self.opened.append(url)
        return self

    def count(self, verb: str) -> int:
        return [name for name, _ in self.calls].count(verb)

    def arguments(self, verb: str) -> list[Any]:
        return [argument for name, argument in self.calls if name == verb]

    def close(self) -> None:
        self.closed += 1

    def migrate(self) -> int:
        self._call("migrate", None)
        return 7

    def scaling(self, pools: list[dict[str, Any]]) -> dict[str, Any]:
        self._call("scaling", pools)
        nothing = {"ready": 0, "due": 0, "running": 0, "oldest_ready_seconds": 0}
        queues = {pool["key"]: self.queues.get(pool["key"], nothing) for pool in pools}
        return {"now": 0, "schema_version": 7, "pools": queues, "workers": list(self.workers)}

    def fleet(self, pools: list[dict[str, Any]]) -> dict[str, Any]:
        self._call("fleet", pools)
        return {"pools": {pool["key"]: self.queues.get(pool["key"], {}) for pool in pools}}

    def list_schedules(self) -> list[dict[str, Any]]:
        self._call("list_schedules", None)
        return list(self.schedules)

    def end_pods(self, pods: list[tuple[str, str]]) -> None:
        self._call("end_pods", pods)

    def end_containers(self, containers: list[tuple[str, str, int]]) -> None:
        self._call("end_containers", containers)

    def wait_for_work(self, queues: list[str], seconds: float) -> bool:
        self._call("wait_for_work", queues)
        return self.became_ready.acquire(timeout=0.02)

    def ask_to_drain(self, pod_uids: list[str], drain: bool) -> None:
        self._call("ask_to_drain", (pod_uids, drain))

    def apply_definitions(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._call("apply_definitions", items)
        return [self._apply(item) for item in items]

    def delete_definitions(self, owners: list[str]) -> int:
        self._call("delete_definitions", owners)
        return sum(self.rows.pop(owner, None) is not None for owner in owners)

    def list_definitions(self) -> list[dict[str, Any]]:
        self._call("list_definitions", None)
        return list(self.rows.values())

    def definition_stats(self, functions: list[str]) -> dict[str, dict[str, Any]]:
        self._call("definition_stats", functions)
        return {function: self.stats.get(function, {}) for function in functions}

    def _apply(self, item: dict[str, Any]) -> dict[str, Any]:
        owner = next((row["owner"] for row in self.rows.values() if row["function"] == item["function"]), item["owner"])
        status = "applied" if owner == item["owner"] else "taken"
        if status == "applied":
            self.rows[owner] = item
        return {"function": item["function"], "status": status, "owner": owner, "message": ""}

    def _call(self, verb: str, argument: Any) -> None:
        self.unblocked.wait(20)
        self.calls.append((verb, argument))
        if self.error is not None:
            raise self.error


class Bench:
    """Databases over one fake, and what they notified."""

    def __init__(self, times: Times) -> None:
        self.bridge = FakeBridge()
        self.notices: list[tuple[Key, float]] = []
        self.served: list[Key] = []
        self.databases = Databases(
            self.bridge.open, times, lambda key, delay=0.0: self.notices.append((key, delay)), self.served.append
        )

    def notified(self, key: Key) -> int:
        return [name for name, _ in self.notices].count(key)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)

    async def reachable(self, pool: Key = ORDERS) -> Database:
        database = self.databases.use(pool, URL, ["orders"])
        await self.until(lambda: isinstance(database.state, DatabaseReachable) and database.workers(pool) is not None)
        return database


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(database_module, "GATHER", 0.02)
    monkeypatch.setattr(definitions, "FIRST_COUNT", 0.02)
    bench = Bench(Times(fleet=0.02, stats=0.02, backoff=0.02))
    bench.bridge.unblocked.set()
    yield bench
    bench.bridge.unblocked.set()
    await bench.databases.close()


@pytest.fixture
def quiet_errors(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, "currant_operator")
    return caplog


def definition(function: str, key: Key = PROCESS) -> dict[str, Any]:
    return {"function": function, "owner": f"{key.namespace}/{key.name}", "suspended": False}


async def test_a_database_is_migrated_once_before_anything_else_is_asked_of_it(bench):
    database = await bench.reachable()
    assert database.state == DatabaseReachable(7)
    assert bench.notified(ORDERS) <= 2  # reachable, and its numbers
    assert [verb for verb, _ in bench.bridge.calls][:3] == ["migrate", "list_definitions", "scaling"]
    await bench.until(lambda: bench.bridge.count("scaling") > 3)
    assert bench.bridge.count("migrate") == 1
    assert bench.notified(ORDERS) >= 1


async def test_only_a_migration_that_takes_long_is_reported(bench, monkeypatch):
    monkeypatch.setattr(database_module, "SLOW_MIGRATION", 0.01)
    bench.bridge.unblocked.clear()
    slow = bench.databases.use(MAIL, URL, ["mail"])
    await bench.until(lambda: slow.state == DatabaseMigrating())
    assert bench.notified(MAIL) == 1
    bench.bridge.unblocked.set()
    await bench.until(lambda: isinstance(slow.state, DatabaseReachable))


async def test_pools_with_one_url_share_a_database_and_one_statement_serves_them_all(bench):
    first = bench.databases.use(ORDERS, URL, ["orders"])
    second = bench.databases.use(MAIL, URL, ["mail", "letters"], 35.0)
    assert first is second
    await bench.until(lambda: bench.bridge.count("scaling") >= 1)
    assert bench.bridge.arguments("scaling")[-1] == [
        {"key": "shop/orders", "queues": ["orders"], "horizon": 0.0},
        {"key": "shop/mail", "queues": ["mail", "letters"], "horizon": 35.0},
    ]
    assert set(bench.bridge.opened) == {f"{URL}?connect_timeout=5"}


async def test_a_database_is_waited_for_5_seconds_unless_its_url_says_how_long(bench):
    bench.databases.use(ORDERS, URL, [])
    bench.databases.use(MAIL, f"{URL}?sslmode=require&connect_timeout=9", [])
    await bench.until(lambda: len(bench.bridge.opened) == 2)
    assert sorted(bench.bridge.opened) == [
        f"{URL}?connect_timeout=5",
        f"{URL}?sslmode=require&connect_timeout=9",
    ]


async def test_many_definitions_go_in_few_transactions(bench):
    database = await bench.reachable()
    keys = [Key("Workflow", "shop", f"w{number}") for number in range(300)]
    for key in keys:
        assert database.define(key, definition(f"f.{key.name}", key)) is None
    await bench.until(lambda: all(bench.notified(key) for key in keys))
    assert bench.bridge.count("apply_definitions") <= 2
    assert database.define(keys[0], definition("f.w0", keys[0])).status == "applied"


async def test_a_definition_that_has_changed_is_written_again_and_one_that_has_not_is_not(bench):
    database = await bench.reachable()
    database.define(PROCESS, definition("f"))
    await bench.until(lambda: bench.notified(PROCESS))
    for _ in range(3):
        assert database.define(PROCESS, definition("f")).status == "applied"
    assert bench.bridge.count("apply_definitions") == 1
    assert database.define(PROCESS, {**definition("f"), "priority": 9}) is None
    await bench.until(lambda: bench.bridge.rows["shop/process"].get("priority") == 9)


async def test_what_a_workflow_sees_are_its_own_definition_and_those_of_its_function(bench):
    bench.bridge.rows["shop/other"] = definition("f", OTHER)
    bench.bridge.rows["shop/third"] = definition("g", Key("Workflow", "shop", "third"))
    bench.bridge.rows["shop/process"] = definition("old")
    database = await bench.reachable()
    seen = database.definitions(PROCESS, "f")
    assert [item["owner"] for item in seen] == ["shop/process", "shop/other"]


async def test_who_was_refused_a_function_hears_when_its_owner_gives_it_up(bench):
    database = await bench.reachable()
    database.define(OTHER, definition("f", OTHER))
    await bench.until(lambda: bench.notified(OTHER))
    database.define(PROCESS, definition("f"))
    await bench.until(lambda: bench.notified(PROCESS) == 1)
    assert database.define(PROCESS, definition("f")).status == "taken"
    assert not database.undefine(OTHER)
    await bench.until(lambda: bench.notified(PROCESS) == 2)
    assert database.undefine(OTHER)
    assert database.define(PROCESS, definition("f")) is None
    await bench.until(lambda: bench.bridge.rows.get("shop/process"))


async def test_only_what_shows_is_reported_and_numbers_alone_not_at_once(bench):
    bench.bridge.workers = [{"id": "w1", "name": "w1", "pool": "shop/orders", "workflows": ["f"]}]
    database = await bench.reachable()
    await bench.until(lambda: bench.served)
    assert [worker.id for worker in database.workers(ORDERS)] == ["w1"]
    notices = len(bench.notices)
    looked = bench.bridge.count("scaling")
    bench.bridge.workers[0] = {**bench.bridge.workers[0], "running": 3, "heartbeat_age_seconds": 1.5}
    await bench.until(lambda: bench.bridge.count("scaling") > looked + 3)
    assert len(bench.notices) == notices
    assert database.workers(ORDERS)[0].running == 3
    bench.bridge.queues["shop/orders"] = {"ready": 9, "due": 0, "running": 1, "oldest_ready_seconds": 0.5}
    await bench.until(lambda: len(bench.notices) > notices)
    key, delay = bench.notices[-1]
    assert key == ORDERS
    assert 5 < delay <= module_interval()
    assert database.queue(ORDERS).ready == 9


def module_interval() -> float:
    return fleet.NUMBERS_INTERVAL


async def test_a_worker_that_begins_to_drain_is_reported_at_once(bench):
    bench.bridge.workers = [{"id": "w1", "name": "w1", "pool": "shop/orders"}]
    await bench.reachable()
    await bench.until(lambda: bench.served)
    bench.served.clear()
    bench.notices.clear()
    bench.bridge.workers = [{"id": "w1", "name": "w1", "pool": "shop/orders", "draining": True}]
    await bench.until(lambda: bench.served)
    assert bench.notices == [(ORDERS, 0.0)]


async def test_runs_are_counted_for_every_function_in_one_statement_and_reported_when_they_change(bench):
    database = await bench.reachable()
    database.define(PROCESS, definition("f"))
    database.define(OTHER, definition("g", OTHER))
    await bench.until(lambda: bench.bridge.count("definition_stats") > 1)
    assert bench.bridge.arguments("definition_stats")[-1] == ["f", "g"]
    process, other = bench.notified(PROCESS), bench.notified(OTHER)
    bench.bridge.stats["f"] = {"pending": 4, "next_schedule": 1_700_000_000_000_000}
    await bench.until(lambda: bench.notified(PROCESS) > process)
    assert bench.notified(OTHER) == other
    assert database.stats("f").pending == 4
    assert database.stats("f").next_schedule.year == 2023


async def test_pods_that_have_ended_are_reported_once_and_after_an_outage_too(bench):
    database = await bench.reachable()
    bench.bridge.error = DatabaseUnavailable("away")
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    database.end_pod("uid-2", "OOMKilled")
    database.end_pod("uid-1", "Deleted")
    bench.bridge.error = None
    await bench.until(lambda: bench.bridge.count("end_pods"))
    looked = bench.bridge.count("scaling")
    await bench.until(lambda: bench.bridge.count("scaling") > looked + 2)
    assert bench.bridge.arguments("end_pods") == [[("uid-1", "Deleted"), ("uid-2", "OOMKilled")]]


async def test_pods_are_asked_to_drain_in_one_call_and_fetched_again_soon(bench):
    database = await bench.reachable()
    database.ask_to_drain({"uid-2": True, "uid-1": True})
    database.ask_to_drain({"uid-3": False})
    await bench.until(lambda: bench.bridge.count("ask_to_drain") == 2)
    assert bench.bridge.arguments("ask_to_drain") == [(["uid-3"], False), (["uid-1", "uid-2"], True)]
    looked = bench.bridge.count("scaling")
    await bench.until(lambda: bench.bridge.count("scaling") > looked + 2)
    assert bench.bridge.count("ask_to_drain") == 2


async def test_an_outage_is_logged_once_reported_and_over_by_itself(bench, quiet_errors):
    database = await bench.reachable()
    migrations = bench.bridge.count("migrate")
    bench.bridge.error = DatabaseUnavailable("the database cannot be reached: refused (db.example:5432/orders)")
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    assert database.queue(ORDERS) is None
    assert database.workers(ORDERS) is None
    tries = len(bench.bridge.calls)
    await bench.until(lambda: len(bench.bridge.calls) > tries + 3)
    assert len([record for record in quiet_errors.records if record.levelno >= logging.WARNING]) == 1
    bench.notices.clear()
    bench.bridge.error = None
    await bench.until(lambda: isinstance(database.state, DatabaseReachable))
    assert bench.bridge.count("migrate") > migrations
    assert bench.notified(ORDERS)
    assert quiet_errors.messages[-1].endswith("is reachable again")


async def test_failures_that_take_turns_are_each_logged_once_in_one_line(bench, quiet_errors):
    database = await bench.reachable()
    for _ in range(3):
        for error in (SchemaMismatch("too new"), OSError("no route"), DatabaseUnavailable("away")):
            bench.bridge.error = error
            await bench.until(lambda error=error: str(error) in getattr(database.state, "message", ""))
    records = [record for record in quiet_errors.records if record.levelno >= logging.WARNING]
    assert [record.getMessage().split(": ", 1)[1] for record in records] == [
        "SchemaTooNew: too new",
        "DatabaseUnreachable: no route",
    ]
    assert not any(record.exc_info for record in records)


async def test_a_mistake_of_ours_is_logged_whole_and_once(bench, quiet_errors):
    database = await bench.reachable()
    bench.bridge.error = KeyError("queues")
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    asked = len(bench.bridge.calls)
    await bench.until(lambda: len(bench.bridge.calls) > asked + 1)
    whole = [record for record in quiet_errors.records if record.exc_info]
    assert [record.exc_info[1] for record in whole] == [bench.bridge.error]


async def test_a_definition_asked_for_during_an_outage_is_written_after_it(bench):
    database = await bench.reachable()
    bench.bridge.error = DatabaseUnavailable("away")
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    database.define(PROCESS, definition("f"))
    bench.bridge.error = None
    await bench.until(lambda: "shop/process" in bench.bridge.rows)


async def test_a_database_that_lost_its_definitions_in_an_outage_gets_them_again(bench):
    database = await bench.reachable()
    database.define(PROCESS, definition("f"))
    await bench.until(lambda: "shop/process" in bench.bridge.rows)
    bench.bridge.error = DatabaseUnavailable("away")
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    bench.bridge.rows.clear()
    bench.notices.clear()
    bench.bridge.error = None
    await bench.until(lambda: bench.notified(PROCESS))
    assert database.definitions(PROCESS, "f") == ()
    assert database.define(PROCESS, definition("f")) is None


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SchemaMismatch("the schema is newer"), SchemaTooNew("the schema is newer")),
        (CurrantError("permission denied\n for schema public"), MigrationFailed("permission denied for schema public")),
        (DatabaseUnavailable("refused"), DatabaseUnreachable("refused")),
    ],
)
async def test_what_is_wrong_at_the_first_contact_is_reported_in_one_line(bench, error, state):
    bench.bridge.error = error
    database = bench.databases.use(ORDERS, URL, ["orders"])
    await bench.until(lambda: database.state == state)
    assert bench.notified(ORDERS)


async def test_a_database_that_hangs_holds_up_no_other(bench):
    hanging = bench.bridge
    other = FakeBridge()
    bench.databases._open_bridge = lambda url: other if "mail" in url else hanging
    hanging.unblocked.clear()
    stuck = bench.databases.use(ORDERS, URL, ["orders"])
    well = bench.databases.use(MAIL, URL.replace("/orders", "/mail"), ["mail"])
    await bench.until(lambda: isinstance(well.state, DatabaseReachable))
    assert not isinstance(stuck.state, DatabaseReachable)


async def test_a_call_that_is_never_answered_is_given_up_with_its_connections(bench, monkeypatch):
    monkeypatch.setattr(connection, "CALL_LIMIT", 0.05)
    bench.bridge.unblocked.clear()
    database = bench.databases.use(ORDERS, URL, ["orders"])
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    assert "has not answered" in database.state.message
    await bench.until(lambda: len(bench.bridge.opened) > 1)
    bench.bridge.unblocked.set()
    await bench.until(lambda: isinstance(database.state, DatabaseReachable))


async def test_a_new_url_is_a_new_database_and_the_old_one_is_closed(bench):
    old = await bench.reachable()
    new = bench.databases.use(ORDERS, URL.replace("sesame", "other"), ["orders"])
    assert new is not old
    assert bench.databases.of(ORDERS) is new
    await bench.until(lambda: bench.bridge.closed)


async def test_the_database_of_a_pool_that_is_gone_is_remembered_until_it_is_released(bench):
    database = await bench.reachable()
    database.define(PROCESS, definition("f"))
    await bench.until(lambda: bench.notified(PROCESS))
    bench.databases.leave(ORDERS)
    assert bench.databases.of(ORDERS) is database
    assert not database.undefine(PROCESS)
    await bench.until(lambda: database.undefine(PROCESS))
    bench.databases.release(ORDERS)
    assert bench.databases.of(ORDERS) is None
    await bench.until(lambda: bench.bridge.closed)


async def test_no_password_is_ever_logged(bench, quiet_errors):
    quiet_errors.set_level(logging.DEBUG)
    bench.bridge.error = RuntimeError("something unforeseen")
    database = bench.databases.use(ORDERS, URL, ["orders"])
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    assert quiet_errors.text
    assert "sesame" not in quiet_errors.text
    assert "db.example" not in quiet_errors.text


def test_nothing_is_known_of_a_database_before_it_is_asked():
    times, nothing = Times(), lambda *_: None
    database = Database("id", FakeBridge, times, nothing, nothing)
    assert database.state == DatabaseUnknown()
    assert database.queue(ORDERS) is database.workers(ORDERS) is database.definitions(PROCESS, "f") is None


def test_a_digest_of_a_url_is_another_in_each_process(monkeypatch):
    here = module._digest(URL)
    monkeypatch.setattr(module, "_SALT", b"another process")
    assert module._digest(URL) != here


async def test_who_listens_on_the_queues_of_a_pool_at_zero_is_woken_and_the_queues_are_fetched(bench):
    database = bench.databases.use(ORDERS, URL, ["orders"], 30.0)
    bench.databases.use(MAIL, URL, ["mail"])  # not sized by its queues
    await bench.until(lambda: bench.bridge.arguments("wait_for_work") == [["orders"]] * 2)
    database._times = Times(fleet=3600)
    await bench.until(lambda: database._fleet_due > time.monotonic() + 1000)
    looks = bench.bridge.count("scaling")
    bench.bridge.queues["shop/orders"] = {"ready": 2, "due": 0, "running": 0, "oldest_ready_seconds": 0}
    bench.bridge.became_ready.release()
    await bench.until(lambda: database.queue(ORDERS).ready == 2)
    assert bench.bridge.count("scaling") == looks + 1
    # Ready work is known already: nothing has to listen for it.
    assert database._fleet.idle_queues() == ()


async def test_nobody_sleeps_on_queues_that_a_worker_serves(bench):
    worker = {"id": "1", "name": "w", "pool": "shop/orders"}
    bench.bridge.workers.append(worker)
    bench.databases.use(ORDERS, URL, ["orders"], 30.0)
    await bench.until(lambda: bench.bridge.count("scaling") > 3)
    assert bench.bridge.count("wait_for_work") == 0
    bench.bridge.workers.clear()
    await bench.until(lambda: bench.bridge.count("wait_for_work"))


async def test_a_container_that_ended_is_reported_until_the_database_has_heard_it(bench):
    database = await bench.reachable()
    bench.bridge.error = DatabaseUnavailable("away")
    database.end_container("u1", "OOMKilled", 5)
    await bench.until(lambda: isinstance(database.state, DatabaseUnreachable))
    bench.bridge.error = None
    await bench.until(lambda: not database._messages._ended_containers)
    assert bench.bridge.arguments("end_containers")[-1] == [("u1", "OOMKilled", 5)]


async def test_a_queue_of_two_pools_is_asked_for_once_by_its_own_name(bench):
    bench.bridge.queues = {"orders": {"ready": 3, "due": 0, "running": 1, "oldest_ready_seconds": 2.0}}
    await bench.reachable()
    bench.databases.use(MAIL, URL, ["mail", "orders"])
    wanted = [{"key": name, "queues": [name]} for name in ("mail", "orders")]
    await bench.until(lambda: wanted in bench.bridge.arguments("fleet"))
    name = "db.example:5432/orders"
    # Not by the gauge: to ask it for a series makes one.
    await bench.until(lambda: f'database="{name}",queue="mail"' in module.metrics.page().decode())
    assert module.metrics.QUEUE_READY.labels(name, "mail")._value.get() == 0
    assert module.metrics.QUEUE_READY.labels(name, "orders")._value.get() == 3
    await bench.databases.close()
    await bench.until(lambda: name not in module.metrics.page().decode())
