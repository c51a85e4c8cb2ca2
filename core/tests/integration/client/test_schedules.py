"""Schedules on real workers: each fire time once, by whichever worker is there, on time, as the definition says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from apps import schedules as app
from currant import Worker
from currant.rust_bridge import RustBridge
from support import WorkerProcess, eventually, eventually_async

LocalWorker = Callable[..., Worker]
StartWorker = Callable[..., WorkerProcess]
Db = psycopg.Connection[dict[str, Any]]
EVERY_SECOND = "* * * * * *"
# Nothing but a due time or a notification would make such a worker look within this test's life.
LAZY = {
    "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "50",
    "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "100",
    "WORKFLOWS_WORKER_POLL_INTERVAL": "50",
}


def define(bridge: RustBridge, function: str, cron: str = EVERY_SECOND, **schedule: Any) -> None:
    """Give a function of the application one schedule."""
    definition = schedule.pop("definition", {})
    rules = {"name": "s", "cron": cron, "time_zone": "UTC", "args": {}, "overlap": "Allow", "catch_up": "None"}
    item = {"function": f"apps.schedules.{function}", "owner": "shop/o", "queue": "q", "suspended": False, **definition}
    (answer,) = bridge.apply_definitions([{**item, "schedules": [{**rules, "suspended": False, **schedule}]}])
    assert answer["status"] == "applied", answer


def fire_times(db: Db, state: str = "completed") -> list[datetime]:
    rows = db.execute(
        "select fire_time from currant.executions where state = %s order by fire_time", [state]
    ).fetchall()
    return [row["fire_time"] for row in rows]


def assert_each_second_once(times: list[datetime]) -> None:
    seconds = [times[0] + timedelta(seconds=n) for n in range(len(times))]
    assert times == seconds, "no fire time twice, none left out"


@pytest.mark.parametrize("number", [2, 5, 10])
async def test_each_fire_time_starts_one_run_however_many_workers_there_are(
    number: int, local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    define(bridge, "tick")
    db.execute(
        "update currant.schedules set next_fire_at = date_trunc('second', now()) - interval '3 s', due_at = now()"
    )
    async with AsyncExitStack() as workers:
        for _ in range(number):  # all find it overdue as soon as they are there
            await workers.enter_async_context(local_worker("q", app.tick))
        await eventually_async(lambda: len(fire_times(db)) >= 7)
    assert_each_second_once(sorted(fire_times(db) + fire_times(db, "pending")))


def test_a_worker_killed_between_two_fire_times_is_not_missed(
    worker_process: StartWorker, bridge: RustBridge, db: Db
) -> None:
    first, _ = (worker_process("q", "apps.schedules") for _ in range(2))
    define(bridge, "tick")
    eventually(lambda: len(fire_times(db)) >= 2)
    first.kill()
    before = len(fire_times(db))
    eventually(lambda: len(fire_times(db)) >= before + 3)
    assert_each_second_once(fire_times(db))


async def test_a_schedule_wakes_a_sleeping_worker_that_then_fires_it_without_any_poll(
    local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    async with local_worker("q", app.tick, **LAZY):
        asleep = "select 1 from currant.workers where sleep_until > now()"
        await eventually_async(lambda: db.execute(asleep).fetchone())
        define(bridge, "tick", "0 0 1 1 *")
        define(bridge, "tick")
        await eventually_async(lambda: len(fire_times(db)) >= 3)
        assert_each_second_once(fire_times(db))


async def test_any_worker_fires_it_even_one_that_serves_no_queue_of_its(
    local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    define(bridge, "tick")
    async with local_worker("unrelated", app.tick):
        await eventually_async(lambda: len(fire_times(db, "pending")) >= 2)


async def test_a_run_of_a_schedule_obeys_the_definition_of_its_function(
    local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    rules = {"queue": "special", "priority": 8, "timeout": 12.5, "retry": {"max_attempts": 7}}
    define(bridge, "tick", args={"shop": "a"}, definition=rules)
    async with local_worker("unrelated", app.tick):
        await eventually_async(lambda: fire_times(db, "pending"))
    columns = "queue, priority, options, convert_from(args, 'UTF8') as args"
    run = db.execute(f"select {columns} from currant.executions limit 1").fetchone()
    assert run is not None
    assert json.loads(run.pop("args")) == {"args": [], "kwargs": {"shop": "a"}}
    assert run == {"queue": "special", "priority": 8, "options": {"timeout": 12.5, "retry": {"max_attempts": 7}}}


async def test_what_a_schedule_starts_is_as_its_decorator_says_where_its_definition_does_not(
    local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    # Nobody serves `default`: were it enqueued there, `Forbid` would skip every fire time after the first.
    async with local_worker("main", app.described):
        define(bridge, "described", overlap="Forbid", definition={"queue": None})
        await eventually_async(lambda: len(fire_times(db)) >= 3)
    runs = db.execute("select distinct queue, priority, options from currant.executions").fetchall()
    options = {"timeout": 7, "max_worker_losses": 1, "retry": {"max_attempts": 1}}
    assert runs == [{"queue": "main", "priority": 8, "options": options}]


async def test_forbid_leaves_a_run_alone_and_replace_cancels_it_for_the_next(
    local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    async with local_worker("q", app.long_run):
        define(bridge, "long_run", overlap="Forbid")
        skipped = "select 1 from currant.schedules where last_outcome like 'skipped%'"
        await eventually_async(lambda: db.execute(skipped).fetchone())
        assert len(fire_times(db, "running")) == 1
        define(bridge, "long_run", overlap="Replace")
        await eventually_async(lambda: len(fire_times(db, "cancelled")) >= 2)
        assert len(fire_times(db, "running") + fire_times(db, "pending")) <= 2  # one may be on its way out


async def test_a_suspended_definition_does_not_fire_and_leaves_out_what_passed_meanwhile(
    local_worker: LocalWorker, bridge: RustBridge, db: Db
) -> None:
    async with local_worker("q", app.tick):
        define(bridge, "tick")
        await eventually_async(lambda: fire_times(db))
        define(bridge, "tick", definition={"suspended": True})
        (row,) = bridge.list_schedules()
        assert (row["suspended"], row["next_fire_at"]) == (True, None)
        last = datetime.fromisoformat(row["last_fire_at"])
        passed = "select 1 where now() > %s + interval '3 s'"
        await eventually_async(lambda: db.execute(passed, [last]).fetchone())
        define(bridge, "tick")
        await eventually_async(lambda: [time for time in fire_times(db) if time > last])
        after = min(time for time in fire_times(db) if time > last)
        assert after - last > timedelta(seconds=2), "nothing of the time between"


def test_a_bad_schedule_is_the_definitions_fault_and_told_in_one_line(bridge: RustBridge) -> None:
    bad = [{"name": "s", "cron": "0 25 * * *"}, {"name": "s", "cron": "0 3 * * *", "time_zone": "Berlin"}]
    items = [
        {"function": f"f{n}", "owner": f"o/{n}", "suspended": False, "schedules": [one]} for n, one in enumerate(bad)
    ]
    answers = bridge.apply_definitions(items)
    assert [answer["status"] for answer in answers] == ["invalid", "invalid"]
    assert 'schedule "s": cron "0 25 * * *" cannot be read' in answers[0]["message"]
    assert 'there is no time zone "Berlin"' in answers[1]["message"]
    assert bridge.list_schedules() == []


def test_schedules_are_listed_for_people_and_for_programs(
    bridge: RustBridge, run_currant: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    define(bridge, "tick", "0 3 * * *", time_zone="Europe/Berlin", name="nightly", overlap="Forbid", jitter=30.0)
    (row,) = json.loads(run_currant("schedules", "--json").stdout)
    next_fire_at = datetime.fromisoformat(row.pop("next_fire_at"))
    assert row == {
        "function": "apps.schedules.tick",
        "name": "nightly",
        "owner": "shop/o",
        "cron": "0 3 * * *",
        "time_zone": "Europe/Berlin",
        "overlap": "Forbid",
        "catch_up": "None",
        "starting_deadline": None,
        "jitter": 30.0,
        "suspended": False,
        "last_fire_at": None,
        "last_outcome": None,
        "missed": 0,
    }
    assert (next_fire_at.hour, next_fire_at.minute, next_fire_at.second) in [(1, 0, 0), (2, 0, 0)]  # summer, winter
    head, line = run_currant("schedules").stdout.splitlines()
    assert head.split() == "function name cron zone next last outcome missed overlap suspended owner".split()
    assert line.startswith("apps.schedules.tick  nightly  0 3 * * *  Europe/Berlin  ")
    assert line.endswith("Forbid   no         shop/o")
    stats = bridge.definition_stats(["apps.schedules.tick"])["apps.schedules.tick"]
    assert (stats["last_schedule"], stats["next_schedule"]) == (None, int(next_fire_at.timestamp() * 1e6))
