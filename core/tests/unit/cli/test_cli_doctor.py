"""What `currant doctor` makes of facts."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from currant.cli.commands.doctor import CHECKS, diagnose

NOTHING: dict[str, Any] = {
    "schema": {"version": 1, "needed": 1, "server": "18", "sees_all": True},
    **{
        name: []
        for name in (
            "pins",
            "lock_waits",
            "tables",
            "dead_workers",
            "orphans",
            "held",
            "queues",
            "unknown_functions",
            "schedules",
            "unsettled",
            "handed_back",
        )
    },
}
PIN = {
    "kind": "transaction",
    "name": "12",
    "role": "ann",
    "application": "psql",
    "state": "idle in transaction",
    "transactions": 5,
    "seconds": 301.0,
}
TABLE = {
    "name": "executions",
    "live": 10,
    "dead": 0,
    "due": 60.0,
    "transactions": 0,
    "freeze_at": 200_000_000,
    "autovacuum": True,
    "vacuumed_at": None,
}


def problems(**facts: Any) -> list[str]:
    return [f"{finding.problem} -> {finding.advice}" for finding in diagnose({**NOTHING, **facts})]


def test_nothing_is_wrong_with_nothing() -> None:
    assert problems() == []
    assert len(CHECKS) == len(NOTHING) - len({"schema", "handed_back"}), "every fact is judged, or noted"


@pytest.mark.parametrize(
    ("pin", "wrong"),
    [
        ({}, True),
        ({"seconds": 299.0}, False),
        ({"seconds": None}, False),
        ({"kind": "prepared", "name": "tx-1", "seconds": 61.0}, True),
        ({"kind": "prepared", "name": "tx-1", "seconds": 59.0}, False),
        ({"kind": "slot", "name": "s", "state": "inactive", "transactions": 1_000_000, "seconds": None}, True),
        ({"kind": "slot", "name": "s", "state": "active", "transactions": 999_999, "seconds": None}, False),
        ({"kind": "standby", "seconds": 400.0}, True),
    ],
)
def test_what_keeps_dead_rows_is_wrong_when_it_is_old(pin: dict[str, Any], wrong: bool) -> None:
    found = problems(pins=[{**PIN, **pin}])
    assert bool(found) is wrong
    assert all({**PIN, **pin}["name"] in line for line in found)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, None),
        ({"dead": 9_999}, None),
        ({"dead": 10_000}, "give autovacuum more"),
        ({"dead": 10_000, "due": 5_000.0}, None),
        ({"dead": 10_000, "autovacuum": False}, "autovacuum is off"),
        ({"transactions": 400_000_000}, "vacuum freeze currant.executions"),
    ],
)
def test_a_table_wants_vacuum_when_autovacuum_does_not_keep_up(table: dict[str, Any], said: str | None) -> None:
    found = problems(tables=[{**TABLE, **table}])
    assert (said in found[0]) if said else found == []


def test_a_short_lock_wait_is_none_and_an_unfinished_definition_is_named() -> None:
    wait = {"pid": 1, "application": "", "waits_for": "currant.executions", "seconds": 5.0, "blocked_by": []}
    assert "nobody that is still there" in problems(lock_waits=[wait])[0]
    assert problems(lock_waits=[{**wait, "seconds": 4.9}]) == []
    definition = {"function": "f", "owner": "o", "gated": True, "seconds": 121.0}
    assert "nothing of that function starts" in problems(unsettled=[definition])[0]
    assert problems(unsettled=[{**definition, "gated": False}]) == []


def test_what_is_advised_can_be_copied_whatever_the_names_are() -> None:
    """A name comes from whoever may enqueue; a command and a statement with it are for the shell and for psql."""
    name = "x; rm -rf ~ 'a'"
    queue = dict.fromkeys(("delayed", "suspended", "blocked", "workers"), 0)
    (unserved,) = problems(queues=[{"queue": name, "ready": 1, "oldest_ready_seconds": 1.0, **queue}])
    assert shlex.split(unserved.partition("start one: ")[2]) == ["currant", "worker", "-q", name, "-m", "..."]
    (prepared,) = problems(pins=[{**PIN, "kind": "prepared", "name": name}])
    assert "commit prepared 'x; rm -rf ~ ''a'''" in prepared
