"""What the command line prints: durations, tables in a pipe, a run as a tree."""

from __future__ import annotations

from typing import Any

import pytest

from currant.cli.output import format_duration, parse_time, print_table, print_tree, seconds_between, shorten, state_of
from currant.cli.tree import build

ROOT = "00000000-0000-7000-8000-000000000001"
CHILD = "00000000-0000-7000-8000-000000000002"
GRANDCHILD = "00000000-0000-7000-8000-000000000003"


def execution(id: str, function: str, **values: Any) -> dict[str, Any]:
    """An execution as the bridge gives it."""
    defaults = {
        "id": id,
        "kind": "task",
        "function": function,
        "queue": "orders",
        "state": "completed",
        "attempt": 1,
        "max_attempts": 4,
        "worker_losses": 0,
        "created_at": "2026-01-02T03:04:05+00:00",
        "run_at": None,
        "started_at": "2026-01-02T03:04:06+00:00",
        "finished_at": "2026-01-02T03:04:08.5+00:00",
        "parent_id": None,
        "root_id": ROOT,
        "epoch": 0,
        "step_key": None,
        "worker": "host-1",
        "cancel_requested": False,
        "held": False,
        "error": None,
        "args": {"args": [], "kwargs": {}},
        "result": None,
    }
    return {**defaults, **values}


def step(key: str, kind: str, **values: Any) -> dict[str, Any]:
    """A step that is no execution, as the bridge gives it."""
    defaults = {
        "execution_id": ROOT,
        "epoch": 0,
        "key": key,
        "kind": kind,
        "name": "",
        "state": "waiting",
        "due_at": None,
        "created_at": "2026-01-02T03:04:05+00:00",
        "finished_at": None,
        "payload": None,
    }
    return {**defaults, **values}


@pytest.fixture
def run() -> dict[str, list[dict[str, Any]]]:
    """A run that failed: a retried task, a child workflow with a task, a timer, a signal, one signal too many."""
    error = {"type": "CardDeclined", "message": "the bank said no", "traceback": "..."}
    return {
        "executions": [
            execution(GRANDCHILD, "shop.label", parent_id=CHILD, step_key="0", queue="mail"),
            execution(ROOT, "shop.order", kind="workflow", state="failed", error=error),
            execution(CHILD, "shop.ship", kind="workflow", parent_id=ROOT, step_key="10"),
            execution(
                ROOT[:-1] + "4", "shop.charge", parent_id=ROOT, step_key="2", attempt=3, state="failed", error=error
            ),
        ],
        "steps": [
            step("1", "timer", due_at="2027-01-01T00:00:00+00:00"),
            step("3", "signal", name="approved", state="completed", finished_at="2026-01-02T03:04:07+00:00"),
            step("!version:sms", "version", name="sms", state="completed", payload=2),
        ],
        "signals": [
            {"execution_id": ROOT, "name": "late", "payload": {"by": "ann"}, "created_at": None, "consumed_by": None},
            {"execution_id": ROOT, "name": "approved", "payload": True, "created_at": None, "consumed_by": "3"},
        ],
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "0 ms"),
        (0.0351, "35 ms"),
        (4.24, "4.2 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_time("2026-01-02T03:04:05") == parse_time("2026-01-02T03:04:05+00:00")
    assert seconds_between("2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00") == 0
    assert seconds_between(None, "2026-01-02T03:04:05Z") is None


def test_a_long_value_is_cut_to_its_limit_on_one_line() -> None:
    assert shorten("a\n b", 10) == "a b"
    assert len(shorten({"key": "x" * 300}, 50)) == 50


def test_a_state_says_when_a_run_is_incompatible_or_about_to_be_cancelled() -> None:
    assert state_of(execution(ROOT, "f", state="suspended", held=True)) == "suspended (incompatible)"
    assert state_of(execution(ROOT, "f", state="running", cancel_requested=True)) == "running (cancelling)"
    assert state_of(execution(ROOT, "f", state="cancelled", cancel_requested=True)) == "cancelled"


def test_a_table_in_a_pipe_is_aligned_plain_text_that_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "function"), [(ROOT, "x" * 300), ("short", "f")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{'id':36}  function", f"{ROOT}  {'x' * 300}", f"{'short':36}  f"]


def test_a_run_is_a_tree_of_its_steps_in_the_order_of_their_positions(
    run: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_tree(build(run, ROOT))
    lines = capsys.readouterr().out.splitlines()
    keys = [line.split("]")[0].strip(" [") for line in lines if line.startswith("  [")]
    assert keys == ["1", "2", "3", "10"]
    assert lines[0] == "shop.order  failed  2.5 s after 1.0 s in the queue"
    assert f"    [0]  shop.label  completed  2.5 s after 1.0 s in the queue  queue mail  {GRANDCHILD}" in lines


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"attempt": 2}, "attempt 2 of 4"),
        ({"attempt": 2, "max_attempts": 1, "worker_losses": 1}, "attempt 2 of 2 (1 lost with its worker)"),
        ({"attempt": 4, "max_attempts": 2, "worker_losses": 2}, "attempt 4 of 4 (2 lost with their workers)"),
    ],
)
def test_attempts_that_were_lost_with_their_worker_are_not_counted_against_the_retries(
    values: dict[str, Any], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_tree(build({"executions": [execution(ROOT, "f", **values)], "steps": [], "signals": []}, ROOT))
    assert capsys.readouterr().out.splitlines()[0].endswith(f"  {shown}")


def test_the_tree_shows_attempts_errors_timers_signals_and_versions(
    run: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_tree(build(run, ROOT))
    text = capsys.readouterr().out
    for part in (
        "attempt 3 of 4",
        "error CardDeclined: the bank said no",
        "timer  waiting  due ",
        "signal wait  approved  completed  2.0 s",
        "version of  sms  completed  2",
        'signal  late  not consumed  sent -  {"by": "ann"}',
    ):
        assert part in text
    assert "signal  approved  not consumed" not in text


def test_a_tree_may_begin_below_the_root(run: dict[str, Any]) -> None:
    node = build(run, CHILD)
    assert node.text.startswith("shop.ship")
    assert [child.text.split()[1] for child in node.children if child.text.startswith("[")] == ["shop.label"]
