"""The options of `currant.enqueue` in SQL: the names and ranges that `.options()` has, and no other."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from currant._base import limits
from currant._base.checks import Range
from currant._calls.options import DECLARED, OPTIONS
from currant._calls.retry import Retry, stored_policy

Db = psycopg.Connection[dict[str, Any]]
RANGES = [
    ({"priority": None}, limits.PRIORITY, 1),
    ({"timeout": None}, limits.TIMEOUT, None),
    ({"max_worker_losses": None}, limits.MAX_WORKER_LOSSES, 1),
    ({"retry": {"max_attempts": None}}, limits.MAX_ATTEMPTS, 1),
    ({"retry": {"initial": None}}, limits.INITIAL, None),
    ({"retry": {"multiplier": None}}, limits.MULTIPLIER, None),
    ({"retry": {"max_delay": None}}, limits.MAX_DELAY, None),
    ({"retry": {"jitter": None}}, limits.JITTER, 0.5),
]


def enqueue(db: Db, options: dict[str, Any]) -> str | None:
    """What the database refuses it with; None: nothing."""
    try:
        with db.transaction():
            db.execute("select currant.enqueue('f', '{}', %s)", [Jsonb(options)])
    except psycopg.Error as error:
        return str(error).splitlines()[0]
    return None


def known(db: Db, options: dict[str, Any]) -> set[str]:
    refusal = enqueue(db, options) or ""
    found = re.search(r"known are (.*)", refusal)
    assert found is not None, refusal
    return set(found[1].split(", "))


def test_sql_knows_the_options_of_python(db: Db) -> None:
    assert known(db, {"colour": 1}) == OPTIONS.keys() - {"connection"} | {"id", "kind", "defaults"}
    assert known(db, {"defaults": {"colour": 1}}) == set(DECLARED)
    assert known(db, {"retry": {"colour": 1}}) == stored_policy(Retry()).keys()


def with_value(options: dict[str, Any], value: float) -> dict[str, Any]:
    return {name: with_value(inner, value) if isinstance(inner, dict) else value for name, inner in options.items()}


@pytest.mark.parametrize(("options", "range", "step"), RANGES, ids=str)
def test_sql_has_the_ranges_of_python(db: Db, options: dict[str, Any], range: Range, step: float | None) -> None:
    least = 1e-9 if range.above else range.least
    for right in (least, range.most if step else least):
        assert enqueue(db, with_value(options, right)) is None, right
    beyond = [range.least if range.above else range.least - 1, *([range.most + step] if step else [])]
    for wrong in beyond:
        refusal = enqueue(db, with_value(options, wrong))
        assert "must be" in (refusal or ""), (wrong, refusal)
