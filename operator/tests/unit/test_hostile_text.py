"""Text of others (an error of Postgres, a pod's last words, a function's name) does not act on the terminal of who reads it."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from currant_operator import logs
from currant_operator.cluster.events import Recorder
from currant_operator.plan import conditions
from currant_operator.plan.observations import Applied, DatabaseUnreachable, MigrationFailed, SchemaTooNew
from currant_operator.plan.plans import Event
from test_native_pools import native
from worlds import WorkflowWorld, converged, crashed, waiting

EVIL = "e\x1b]0;owned\x07\x1b[2J\x9b5m\u202ex\u2066\x7f\r\nReady=True\tforged\u2028y\x00z"
LAST_WORDS = EVIL.partition("\r")[0]
SHOWN = r"e\x1b]0;owned\x07\x9b5m\u202ex\u2066\x7f Ready=True forged y\x00z"


def strings(value: Any) -> list[str]:
    """Every text in a status."""
    if isinstance(value, dict):
        return [each for one in value.values() for each in strings(one)]
    if isinstance(value, list):
        return [each for one in value for each in strings(one)]
    return [value] if isinstance(value, str) else []


def check(status: dict[str, Any]) -> None:
    shown = strings(status)
    assert all(text.isprintable() for text in shown), [ascii(text) for text in shown]
    assert any(SHOWN in text for text in shown), shown


def test_a_message_shows_what_acts_as_text_and_is_not_changed_twice() -> None:
    assert conditions.one_line(EVIL) == SHOWN
    assert conditions.one_line(SHOWN) == SHOWN


@pytest.mark.parametrize(
    "state", [DatabaseUnreachable, MigrationFailed, SchemaTooNew], ids=lambda state: state.__name__
)
def test_an_error_of_the_database_in_a_pools_conditions(state: type[DatabaseUnreachable]) -> None:
    world = converged()
    world.database = state(EVIL)
    plan = world.plan()
    check(plan.status)
    world.settle()
    assert world.plan().status_write == "none"  # what was written is what is wished


@pytest.mark.parametrize(
    "pod", [crashed(f"import\n{LAST_WORDS}"), waiting("CreateContainerConfigError", EVIL)], ids=["crashed", "waiting"]
)
def test_what_a_pod_said_last(pod: dict[str, Any]) -> None:
    world = converged()
    world.pods = [pod]
    shown = [text for text in strings(world.plan().status) if "owned" in text]
    assert shown
    assert all(text.isprintable() for text in shown)


def test_the_scalers_reason_names_functions() -> None:
    plan = native(2, desired=9, replicas=9, reason=EVIL).plan()
    check(plan.status)


def test_a_refusal_of_a_definition_by_the_database() -> None:
    check(WorkflowWorld(given={"applied": Applied("invalid", None, EVIL)}).plan().status)


def test_an_events_note() -> None:
    made: list[dict[str, Any]] = []

    async def create(kind: object, namespace: str, body: dict[str, Any]) -> None:
        made.append(body)

    about = {
        "apiVersion": "currant.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "1"},
    }
    recorder = Recorder(SimpleNamespace(create=create), "operator-1")  # type: ignore[arg-type]
    asyncio.run(recorder.record(about, Event("Warning", "Scaled", EVIL)))
    assert made[0]["note"].isprintable()
    assert r"\x1b]0;owned\x07" in made[0]["note"]


def test_a_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[logging.Handler] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **given: handlers.extend(given["handlers"]))
    for form in ("text", "json"):
        logs.set_up("info", form)
        shown = handlers[-1].format(
            logging.LogRecord("operator", logging.WARNING, "", 1, "database: %s", (EVIL,), None)
        )
        assert all(line.isprintable() for line in shown.split("\n"))
        assert not any(line.startswith("Ready=True") for line in shown.split("\n"))
