"""Whether the outcomes of orders (`apps.outage`) were recorded once each, and no step ran after its outcome was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import psycopg

from servers import fetch

AUDIT = """
    create table recorded (id uuid not null);
    create function note_recorded() returns trigger language plpgsql as
        $$ begin insert into recorded values (new.id); return null; end $$;
    create trigger note_recorded after update on currant.executions for each row
        when (new.finished_at is not null and old.finished_at is distinct from new.finished_at)
        execute function note_recorded();
"""


def audit(url: str) -> None:
    """From now on `recorded` has a row for each time that an outcome is written."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(AUDIT)


def assert_all_recorded_once(url: str, orders: set[str], journal: Path) -> None:
    """Every order ended well, in three steps; each outcome was written once, and no step ran after that."""
    rows = fetch(url, "select *, extract(epoch from finished_at) * 1e9 as ended from currant.executions")
    assert {row["state"] for row in rows} == {"completed"}
    assert {str(row["id"]) for row in rows if row["parent_id"] is None} == orders
    assert set(Counter(row["parent_id"] for row in rows if row["parent_id"] is not None).values()) == {3}
    written = Counter(row["id"] for row in fetch(url, "select id from recorded"))
    assert written == Counter(row["id"] for row in rows)
    ended = {str(row["id"]): float(row["ended"]) for row in rows}
    begun = [line.split() for line in journal.read_text().splitlines()]
    assert {id for id, _ in begun} == {str(row["id"]) for row in rows if row["kind"] == "task"}
    assert [id for id, at in begun if int(at) > ended[id]] == []
