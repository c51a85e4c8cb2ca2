"""Options: what each takes, what it refuses, and what the decorators and `.options` make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from currant import Retry, task, workflow
from currant._calls.options import Call, Options


class Declined(Exception):
    pass


@task
async def charge(order_id: str) -> str:
    return order_id


def stored(call: Call) -> dict[str, Any]:
    """The options of a call that are stored as JSON."""
    options: dict[str, Any] = json.loads(call.options)
    return options


def attempts(call: Call) -> int:
    number: int = stored(call)["retry"]["max_attempts"]
    return number


BAD = [
    ({"colour": "red"}, TypeError, "there is no option 'colour'; there are queue, priority"),
    ({"retry": Retry(), "retries": 2}, ValueError, "retry or retries, not both"),
    ({"delay": 1, "run_at": datetime.now(UTC)}, ValueError, "delay or run_at, not both"),
    ({"queue": ""}, ValueError, "queue must have 1 to 200 characters"),
    ({"queue": "q" * 201}, ValueError, "queue must have 1 to 200 characters"),
    ({"queue": "a\0"}, ValueError, "queue cannot hold a NUL"),
    ({"queue": 5}, TypeError, "queue is a string, not 5"),
    ({"priority": 11}, ValueError, "priority must be from 0 to 10, not 11"),
    ({"priority": -1}, ValueError, "priority must be from 0 to 10, not -1"),
    ({"priority": True}, TypeError, "priority is a whole number"),
    ({"priority": "5"}, TypeError, "priority is a whole number"),
    ({"priority": None}, TypeError, "priority is a whole number"),
    ({"timeout": 0}, ValueError, "timeout must be above 0"),
    ({"timeout": -1.5}, ValueError, "timeout must be above 0"),
    ({"timeout": float("nan")}, ValueError, "timeout must be above 0"),
    ({"timeout": float("inf")}, ValueError, "timeout must be above 0"),
    ({"timeout": "30"}, TypeError, "timeout is a number"),
    ({"retry": 3}, TypeError, r"retry is a Retry\(...\), not 3; for a number of retries write retries=3"),
    ({"retries": -1}, ValueError, "retries must be from 0"),
    ({"retries": 1.5}, TypeError, "retries is a whole number"),
    ({"max_worker_losses": -1}, ValueError, "max_worker_losses must be from 0 to 1000000, not -1"),
    ({"max_worker_losses": True}, TypeError, "max_worker_losses is a whole number"),
    ({"delay": -1}, ValueError, "delay must be at least 0"),
    ({"delay": "soon"}, TypeError, "delay is a number"),
    ({"run_at": 5}, TypeError, "run_at is a datetime"),
    ({"run_at": datetime(2030, 1, 1)}, ValueError, "run_at needs a time zone"),
    ({"idempotency_key": 7}, TypeError, "idempotency_key is a string"),
    ({"idempotency_key": ""}, ValueError, "idempotency_key must have 1 to 500 characters"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_option_is_refused_at_the_call(given: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        charge.options(**given)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        entry
        for entry in BAD
        if entry[0].keys() <= {"queue", "priority", "timeout", "retry", "retries", "max_worker_losses"}
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("decorator", [task, workflow])
def test_the_decorators_refuse_the_same(
    decorator: Callable[..., Any], given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        decorator(**given)


@pytest.mark.parametrize("decorator", [task, workflow])
def test_the_decorators_refuse_what_they_do_not_know(decorator: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="idempotency_key"):
        decorator(idempotency_key="k")


@pytest.mark.parametrize("version", [0, -1, 1.5, "2", True])
def test_a_workflow_version_is_a_whole_number_from_one(version: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="version"):
        workflow(version=version)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"queue": "fast"}, "queue", "fast"),
        ({"priority": 0}, "priority", 0),
        ({"priority": 10}, "priority", 10),
        ({"timeout": 3}, "timeout", 3.0),
        ({"timeout": timedelta(minutes=2)}, "timeout", 120.0),
        ({"timeout": None}, "timeout", None),
        ({"delay": 0}, "delay", 0.0),
        ({"delay": timedelta(hours=1)}, "delay", 3600.0),
        ({"run_at": datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)}, "run_at", 1_000_005),
    ],
    ids=str,
)
def test_an_option_reaches_the_call(given: dict[str, Any], field: str, value: object) -> None:
    call = charge.options(**given).call(("o-1",), {})
    assert {**call._asdict(), **stored(call)}[field] == value


def test_options_leave_the_function_as_it_was() -> None:
    charge.options(queue="fast", priority=9, retries=0).call(("o-1",), {})
    call = charge.call(("o-1",), {})
    assert (call.queue, call.priority, attempts(call)) == ("default", 5, 4)


def test_options_add_up_and_the_later_word_counts() -> None:
    bound = charge.options(queue="slow", delay=5).options(queue="fast", retries=1)
    call = bound.options(run_at=datetime(1970, 1, 1, tzinfo=UTC)).call(("o-1",), {})
    assert (call.queue, attempts(call), call.delay, call.run_at) == ("fast", 2, None, 0)


def test_retries_are_attempts_after_the_first() -> None:
    assert attempts(charge.options(retries=3).call(("o-1",), {})) == 4
    assert attempts(charge.options(retries=0).call(("o-1",), {})) == 1


def test_lost_workers_are_counted_apart_from_attempts() -> None:
    assert stored(charge.call(("o-1",), {}))["max_worker_losses"] == 3
    bound = charge.options(retries=0, max_worker_losses=0)
    call = bound.call(("o-1",), {})
    assert (attempts(call), stored(call)["max_worker_losses"]) == (1, 0)
    assert call.given == ("retry", "max_worker_losses")
    taken_back = bound.options(max_worker_losses=None).call(("o-1",), {})
    assert (stored(taken_back)["max_worker_losses"], taken_back.given) == (3, ("retry",))


@pytest.mark.parametrize("decorator", [task, workflow])
def test_the_decorators_take_max_worker_losses(decorator: Callable[..., Any]) -> None:
    async def fragile() -> None: ...

    function = decorator(name=f"fragile {decorator.__name__}", max_worker_losses=1)(fragile)
    assert stored(function.call((), {}))["max_worker_losses"] == 1


def test_a_retry_policy_reaches_the_call_as_it_is_stored() -> None:
    retry = Retry(
        max_attempts=7, initial=2, multiplier=3, max_delay=60, jitter=0.5, non_retryable=(Declined, ValueError, "a.B")
    )
    assert stored(charge.options(retry=retry).call(("o-1",), {}))["retry"] == {
        "max_attempts": 7,
        "initial": 2.0,
        "multiplier": 3.0,
        "max_delay": 60.0,
        "jitter": 0.5,
        "non_retryable": [f"{__name__}.Declined", "ValueError", "a.B"],
    }


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"max_attempts": 0}, ValueError),
        ({"max_attempts": 2.0}, TypeError),
        ({"max_attempts": None}, TypeError),
        ({"initial": -1}, ValueError),
        ({"initial": float("nan")}, ValueError),
        ({"multiplier": 0.5}, ValueError),
        ({"max_delay": float("inf")}, ValueError),
        ({"max_delay": "60"}, TypeError),
        ({"jitter": 1.1}, ValueError),
        ({"jitter": -0.1}, ValueError),
        ({"non_retryable": ValueError}, TypeError),
        ({"non_retryable": "ValueError"}, TypeError),
        ({"non_retryable": ("",)}, ValueError),
        ({"non_retryable": ("A\0B",)}, ValueError),
        ({"non_retryable": ("A" * 1001,)}, ValueError),
        ({"non_retryable": (int,)}, TypeError),
        ({"non_retryable": (ValueError("an instance"),)}, TypeError),
    ],
    ids=str,
)
def test_a_bad_retry_policy_is_refused_where_it_is_written(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(given))):
        Retry(**given)


def test_what_is_not_given_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOWS_DEFAULT_RETRIES", "9")
    monkeypatch.setenv("WORKFLOWS_DEFAULT_TIMEOUT", "77")
    monkeypatch.setenv("WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT", "88")
    monkeypatch.setenv("WORKFLOWS_DEFAULT_MAX_WORKER_LOSSES", "5")
    assert [Options().stored(kind)["max_worker_losses"] for kind in ("task", "workflow")] == [5, 5]
    assert Options(max_worker_losses=0).stored("task")["max_worker_losses"] == 0
    assert Options().retry_for("task").max_attempts == 10
    assert Options().retry_for("workflow").max_attempts == 1
    assert Options().timeout_for("task") == 77.0
    assert Options().timeout_for("workflow") == 88.0
    assert Options(timeout=None).timeout_for("task") is None


def test_the_settings_are_read_at_the_first_call_not_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    async def late() -> None: ...

    monkeypatch.setenv("WORKFLOWS_DEFAULT_RETRIES", "1")
    assert attempts(late.call((), {})) == 2
