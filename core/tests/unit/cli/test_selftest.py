"""`currant bench`: when it may begin, what it makes of its figures, and how it shows them."""

from __future__ import annotations

import asyncio
import copy
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant.cli.bench import judge, show
from currant.cli.bench.measure import Interrupted, StartTimes, Stop
from currant.cli.bench.model import Figures, Measure, Plan, Report, latency, percentile, rate
from support import CHECKOUT

DOCUMENTATION = (CHECKOUT / "docs" / "reference" / "bench.md").read_text(encoding="utf-8")
KEYS = re.compile(r"`(\w+)`")

HEALTHY: dict[str, Any] = {
    "database": "shop",
    "role": "app",
    "version": "17.2",
    "pooler": False,
    "read_only": False,
    "settings": {
        "autovacuum": "on",
        "default_transaction_isolation": "read committed",
        "fsync": "on",
        "full_page_writes": "on",
        "jit": "on",
        "max_connections": "100",
        "max_wal_size": "1GB",
        "shared_buffers": "128MB",
        "statement_timeout": "0",
        "synchronous_commit": "on",
        "synchronous_standby_names": "",
    },
    "shared_buffers_bytes": 128 << 20,
    "statement_timeout_ms": 0,
    "connections_free": 90,
    "may_create": True,
    "may_remove": True,
    "left_behind": [],
    "oldest_transaction_seconds": None,
    "oldest_prepared_seconds": None,
    "oldest_xmin_age": 3,
    "live_rows": 1_000,
    "dead_rows": 10,
}


def facts(**changes: Any) -> dict[str, Any]:
    """A healthy server but for these; what is a setting goes there."""
    given = copy.deepcopy(HEALTHY)
    for name, value in changes.items():
        (given["settings"] if name in given["settings"] else given)[name] = value
    return given


def report(trip: float = 0.1, commit: float = 0.3, p99: float = 0.6, **changes: Any) -> Report:
    """What was found on a healthy server, but for these."""
    found = Report(facts(**changes), Plan(10_000, 20))
    found.measures["round_trip"].bare = Figures(100, p50=trip, p95=trip, p99=trip)
    found.measures["commit"].bare = Figures(100, p50=commit, p95=commit, p99=p99)
    found.measures["drain"] = Measure("per_second", Figures(100, rate=80_000), Figures(100, rate=20_000))
    found.measures["pick_up"] = Measure("ms", Figures(9, p50=1.5), Figures(9, p50=1.8))
    return found


def keys(found: Report) -> list[str]:
    """Of its notes, in order."""
    return [note.key for note in judge.notes(found)]


# May it begin?


def test_a_healthy_database_is_no_obstacle() -> None:
    assert judge.obstacle(facts(), True) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"read_only": True}, "read-only"),
        ({"may_remove": False}, "role app has no right to delete"),
        ({"connections_free": 7}, "7 of 100 connections are free"),
    ],
)
def test_it_does_not_begin_where_it_could_do_harm_or_leave_something(changes: dict[str, Any], words: str) -> None:
    found = judge.obstacle(facts(**changes), True)
    assert found is not None
    assert words in found


def test_a_pooler_may_share_the_few_connections_that_are_free() -> None:
    assert judge.obstacle(facts(connections_free=2, pooler=True), True) is None


def test_its_worker_does_nothing_of_the_users_unless_the_user_says_yes() -> None:
    found = judge.obstacle(facts(), False)
    assert found is not None
    assert "--yes" in found


def test_schedules_retention_and_dead_workers_are_what_a_worker_sees_to_by_itself() -> None:
    alive, stale, draining = ({"state": state} for state in ("alive", "stale", "draining"))
    active, suspended = {"suspended": False}, {"suspended": True}
    assert not judge.does_by_itself([], [], [])
    assert not judge.does_by_itself([], [suspended], [{"retention": None}, {}])
    assert judge.does_by_itself([], [suspended, active], [])
    assert judge.does_by_itself([draining], [active], [])
    assert judge.does_by_itself([stale], [], [])
    assert judge.does_by_itself([], [], [{"retention": 60.0}])
    assert not judge.does_by_itself([stale, alive], [active], [{"retention": 60.0}])  # another worker does it anyway


def test_only_a_self_test_that_must_have_ended_long_ago_is_taken_for_killed() -> None:
    minute = 60_000 << 80
    now = UUID("01a21100-c73c-7278-9ddd-6ac8d207b66f")
    recent, old = (UUID(int=now.int - minutes * minute) for minutes in (59, 61))
    ((id, until),) = judge.left_behind([recent.hex, old.hex], str(now))
    assert id == str(old)
    assert UUID(until).int - old.int == 60 * minute


def test_without_the_right_to_create_tables_there_is_no_limit() -> None:
    assert judge.no_limit(facts()) is None
    assert "app may not create tables" in (judge.no_limit(facts(may_create=False)) or "")


@pytest.mark.parametrize(("free", "taken"), [(90, 16), (32, 16), (12, 6), (1, 1), (0, 1)])
def test_it_takes_at_most_half_of_the_free_connections(free: int, taken: int) -> None:
    assert judge.in_flight(facts(connections_free=free)) == taken


# What do the figures mean?


def test_a_healthy_server_gets_two_sentences_and_no_warning() -> None:
    first, second = judge.notes(report())
    assert (first.key, second.key) == ("fast_commits", "currant")
    assert first.text.startswith("A commit takes 0.30 ms, the way to the server and back alone 0.10 ms: neither")
    assert second.text == (
        "One worker runs 20,000 tasks a second, 0.25 of what bare SQL does here; "
        "an idle one starts a task 1.8 ms after its enqueue began (bare SQL 1.5 ms)."
    )


def test_a_far_server_is_told_from_a_slow_disk() -> None:
    assert keys(report(trip=5.0, commit=6.0))[0] == "network"
    assert keys(report(trip=0.1, commit=6.0))[0] == "slow_commits"
    assert keys(report(trip=5.0, commit=50.0))[0] == "slow_commits"


def test_a_synchronous_standby_is_told_from_a_slow_disk() -> None:
    standby = report(commit=6.0, synchronous_standby_names="FIRST 1 (b)")
    assert "synchronous standby (FIRST 1 (b))" in judge.notes(standby)[0].text
    local = report(commit=6.0, synchronous_standby_names="FIRST 1 (b)", synchronous_commit="local")
    assert "the disk is slow" in judge.notes(local)[0].text


def test_a_long_tail_of_commits_is_said() -> None:
    assert "uneven_commits" in keys(report(commit=1.0, p99=50.0))
    assert "uneven_commits" not in keys(report(commit=0.1, p99=5.0))  # a hundredfold, but still short
    assert "uneven_commits" not in keys(report(trip=30.0, commit=40.0, p99=90.0))


@pytest.mark.parametrize(
    ("changes", "key", "level"),
    [
        ({"fsync": "off"}, "fsync", "danger"),
        ({"synchronous_commit": "off"}, "synchronous_commit", "danger"),
        ({"full_page_writes": "off"}, "full_page_writes", "danger"),
        ({"autovacuum": "off"}, "autovacuum", "warning"),
        ({"dead_rows": 500_000}, "dead_rows", "warning"),
        ({"oldest_transaction_seconds": 600.0}, "old_transaction", "warning"),
        ({"oldest_prepared_seconds": 600.0}, "old_transaction", "warning"),
        ({"oldest_xmin_age": 2_000_000}, "old_transaction", "warning"),
        ({"connections_free": 20}, "connections", "warning"),
        ({"shared_buffers_bytes": 16 << 20, "shared_buffers": "16MB"}, "shared_buffers", "warning"),
        ({"default_transaction_isolation": "serializable"}, "isolation", "warning"),
        ({"statement_timeout_ms": 500, "statement_timeout": "500ms"}, "statement_timeout", "warning"),
    ],
)
def test_each_thing_that_is_wrong_is_one_note(changes: dict[str, Any], key: str, level: str) -> None:
    found = judge.notes(report(**changes))[2:]
    assert [(note.key, note.level) for note in found] == [(key, level)]


@pytest.mark.parametrize(
    "changes",
    [
        {"dead_rows": 90_000, "live_rows": 0},  # a small table is soon cleaned
        {"dead_rows": 500_000, "live_rows": 900_000},
        {"oldest_transaction_seconds": 5.0},
        {"connections_free": 2, "pooler": True},
        {"statement_timeout_ms": 30_000},
        {"live_rows": None, "dead_rows": None, "oldest_xmin_age": None},  # what the server does not tell
    ],
)
def test_what_is_usual_is_no_note(changes: dict[str, Any]) -> None:
    assert keys(report(**changes)) == ["fast_commits", "currant"]


def test_notifications_that_do_not_come_are_said() -> None:
    found = report()
    found.notifications = False
    assert keys(found)[-1] == "notifications"


def test_without_bare_sql_only_what_was_measured_is_said() -> None:
    found = report()
    for measure in found.measures.values():
        measure.bare = None
    (note,) = judge.notes(found)
    assert (
        note.text == "One worker runs 20,000 tasks a second; an idle one starts a task 1.8 ms after its enqueue began."
    )


def test_every_note_is_in_the_documentation_and_nothing_else() -> None:
    made = set(re.findall(r'Note\(\s*"(\w+)"', Path(judge.__file__).read_text()))
    section = DOCUMENTATION.partition("## What it may say")[2].partition("\n## ")[0]
    documented = {
        key for line in section.splitlines() if line.startswith("| `") for key in KEYS.findall(line.split("|")[1])
    }
    assert documented == made


def test_every_option_and_measure_is_in_the_documentation() -> None:
    for option in ("--database-url", "--tasks", "--seconds", "--yes", "--json"):
        assert f"| `{option}" in DOCUMENTATION
    for name in report().measures:
        assert name in DOCUMENTATION


# Figures, and how they look


def test_a_ratio_is_currant_by_bare_sql() -> None:
    assert Measure("per_second", Figures(9, rate=200.0), Figures(9, rate=50.0)).ratio == 0.25
    assert Measure("ms", Figures(9, p50=2.0), Figures(9, p50=3.0)).ratio == 1.5
    assert Measure("ms", None, Figures(9, p50=3.0)).ratio is None
    assert Measure("ms", Figures(9, p50=0.0), Figures(9, p50=3.0)).ratio is None


def test_nothing_measured_is_no_figure() -> None:
    assert (rate(0, 1.0), rate(5, 0.0), latency([])) == (None, None, None)
    assert rate(50, 2.0) == Figures(50, rate=25.0)
    assert latency([3.0, 1.0, 2.0]) == Figures(3, p50=2.0, p95=3.0, p99=3.0)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values_and_leaves_that_share_not_above_it(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_the_table_has_a_dash_for_what_was_not_measured() -> None:
    cells = show.rows(report())
    assert cells[1] == ["commit of one row, p50 / p95 / p99", "0.30 / 0.30 / 0.60 ms", "-", "-"]
    assert cells[5] == ["drain by one worker", "80,000/s", "20,000/s", "0.25"]
    assert [row[1:] for row in cells if row[0].startswith("enqueue")] == [["-", "-", "-"]] * 3


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0.181, "0.18 ms"), (2.44, "2.4 ms"), (35.2, "35 ms"), (1_234.5, "1,234 ms")]
)
def test_a_time_has_as_many_digits_as_it_is_worth(milliseconds: float, text: str) -> None:
    assert judge.ms(milliseconds) == text


def test_a_report_as_json_has_the_ratios() -> None:
    data = report().as_json()
    assert data["measures"]["drain"]["ratio"] == 0.25
    assert data["measures"]["drain"]["currant"] == {"count": 100, "rate": 20_000}
    assert data["measures"]["enqueue_bulk"] == {"unit": "per_second", "bare": None, "currant": None, "ratio": None}
    assert data["plan"] == {"tasks": 10_000, "seconds": 20, "in_flight": 16}


def test_the_shares_of_the_time_are_not_more_than_all_of_it() -> None:
    plan = Plan(1_000, 10.0)
    once, twice = plan.share("round_trip"), ("one_by_one", "concurrent", "bulk", "drain", "pick_up")
    assert once + 2 * sum(plan.share(name) for name in twice) == pytest.approx(10.0)
    assert plan.one_by_one + plan.concurrent < plan.tasks


# Ending early


async def test_what_waits_gives_up_once_the_end_is_asked_for() -> None:
    stop = Stop()
    waiting = asyncio.ensure_future(stop.unless(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    stop.ask()
    with pytest.raises(Interrupted):
        await waiting
    with pytest.raises(Interrupted):
        await stop.unless(asyncio.sleep(0))


async def test_until_then_it_gives_what_it_waits_for_and_its_error() -> None:
    async def fail() -> None:
        raise KeyError("x")

    stop = Stop()
    assert await stop.unless(asyncio.sleep(0, "value")) == "value"
    with pytest.raises(KeyError):
        await stop.unless(fail())


async def test_start_times_count_each_task_once() -> None:
    starts = StartTimes()
    starts.note(0)
    first = starts.times[0]
    starts.note(0)
    assert starts.times == {0: first}
    assert await starts.wait(1, 0)
    assert not await starts.wait(2, 0.001)
    waiting = asyncio.ensure_future(starts.wait(2, 30))
    await asyncio.sleep(0)
    starts.note(1)
    assert await waiting
