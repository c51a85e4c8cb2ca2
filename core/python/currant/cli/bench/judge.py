"""The rules of `currant bench`, without I/O: whether it may begin, and what the figures mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from currant.cli.bench.model import IN_FLIGHT, SPARE_CONNECTIONS, Facts, Figures, Note, Report

Rows = Iterable[dict[str, Any]]

SLOW_COMMIT_MS = 2.0
SLOW_ROUND_TRIP_MS = 0.5
SLOW_PICK_UP_MS = 1_000.0
TAIL_MS = 20.0
TAIL_FACTOR = 10
LONG_TRANSACTION_SECONDS = 60.0
OLD_XMIN = 1_000_000  # transactions
SMALL_BUFFERS = 64 << 20
SHORT_TIMEOUT_MS = 5_000
LONGEST = 3_600_000 << 80  # an hour, in the time units of a UUID version 7; no self-test takes longer
MANY_DEAD_ROWS = 100_000  # a self-test itself leaves some, until autovacuum runs


# Before it begins


def obstacle(facts: Facts, anyway: bool) -> str | None:
    """Why it must not begin here, or None if it may. `anyway`: its worker may do what every worker does by itself."""
    if facts["read_only"]:
        return "the server is read-only (a standby, or default_transaction_read_only): give the URL of the primary"
    if not facts["may_remove"]:
        return (
            f"the role {facts['role']} has no right to delete executions and workers, so what is written could not be "
            "removed: use the role that ran `currant migrate`"
        )
    free = facts["connections_free"]
    if not facts["pooler"] and free < SPARE_CONNECTIONS:
        return (
            f"{free} of {facts['settings']['max_connections']} connections are free: this takes {SPARE_CONNECTIONS}, "
            "and could keep others out"
        )
    if not anyway:
        return (
            "no worker is alive, and there are schedules, retention periods or dead workers: this self-test's worker "
            "would start, delete or take over what is due, as any worker does. Start yours first, or say --yes"
        )
    return None


def does_by_itself(workers: Rows, schedules: Rows, definitions: Rows) -> bool:
    """Whether a worker has something to do here that nobody enqueued, and that no other worker does already."""
    states = {worker["state"] for worker in workers}
    if "alive" in states:
        return False
    if "stale" in states or any(not schedule["suspended"] for schedule in schedules):
        return True
    return any(definition.get("retention") is not None for definition in definitions)


def left_behind(tables: Iterable[str], now: str) -> list[tuple[str, str]]:
    """Self-tests that were killed, by the ids in their tables' names; each with the last id that it can have made."""
    present = UUID(now).int
    found = [UUID(table).int for table in tables]
    return [(str(UUID(int=id)), str(UUID(int=id + LONGEST))) for id in found if id + LONGEST < present]


def no_limit(facts: Facts) -> str | None:
    """Why bare SQL cannot be measured, or None if it can."""
    if facts["may_create"]:
        return None
    return (
        f"the role {facts['role']} may not create tables in the schema currant, so there is no bare SQL to compare "
        "with: these are Currant's own figures"
    )


def in_flight(facts: Facts) -> int:
    """How many connections bare SQL may take at once: at most half of the free ones."""
    if facts["pooler"]:
        return IN_FLIGHT
    free: int = facts["connections_free"]
    return max(1, min(IN_FLIGHT, free // 2))


# The meaning of the figures


def notes(report: Report) -> list[Note]:
    """Sentences for people: what limits the figures, how Currant compares, then what to check."""
    found = [*_commits(report), *_currant(report)]
    for rule in RULES:
        found += rule(report.server)
    return found + list(_notifications(report))


def _commits(report: Report) -> Iterable[Note]:
    commit, trip = report.measures["commit"].bare, report.measures["round_trip"].bare
    if commit is None or commit.p50 is None or trip is None or trip.p50 is None:
        return
    server = max(commit.p50 - trip.p50, 0.0)
    took = f"A commit takes {ms(commit.p50)}, the way to the server and back alone {ms(trip.p50)}"
    if trip.p50 >= SLOW_ROUND_TRIP_MS and trip.p50 >= server:
        yield Note(
            "network",
            "info",
            f"{took}: the network dominates. Run workers and clients nearer to the database; queue_many, and many "
            "enqueues in flight, pay for the way only once.",
        )
    elif server >= SLOW_COMMIT_MS:
        standby = _waits_for_standby(report.server)
        why = f"each waits for a synchronous standby ({standby}) or a slow disk" if standby else "the disk is slow"
        yield Note("slow_commits", "info", f"{took}: {why}. Faster commits speed up everything here.")
    else:
        yield Note("fast_commits", "info", f"{took}: neither disk nor network is slow.")
    if commit.p99 is not None and commit.p99 >= TAIL_MS and commit.p99 >= TAIL_FACTOR * commit.p50:
        yield Note(
            "uneven_commits",
            "warning",
            f"One commit in a hundred takes {ms(commit.p99)} or more: checkpoints or other work get in its way.",
        )


def _waits_for_standby(facts: Facts) -> str:
    settings = facts["settings"]
    waits = settings["synchronous_commit"] in ("on", "remote_write", "remote_apply")
    return str(settings["synchronous_standby_names"]) if waits else ""


def _currant(report: Report) -> Iterable[Note]:
    drain, pick_up = report.measures["drain"], report.measures["pick_up"]
    parts = []
    if drain.currant is not None and drain.currant.rate is not None:
        share = "" if drain.ratio is None else f", {drain.ratio:.2f} of what bare SQL does here"
        parts.append(f"one worker runs {drain.currant.rate:,.0f} tasks a second{share}")
    if pick_up.currant is not None and pick_up.currant.p50 is not None:
        beside = _beside(pick_up.bare)
        parts.append(f"an idle one starts a task {ms(pick_up.currant.p50)} after its enqueue began{beside}")
    if parts:
        text = "; ".join(parts)
        yield Note("currant", "info", f"{text[0].upper()}{text[1:]}.")


def _beside(bare: Figures | None) -> str:
    return "" if bare is None or bare.p50 is None else f" (bare SQL {ms(bare.p50)})"


def _durability(facts: Facts) -> Iterable[Note]:
    settings = facts["settings"]
    if settings["fsync"] == "off":
        yield Note(
            "fsync",
            "danger",
            "fsync is off: a crash of the server or its machine can destroy the whole database, and these figures are "
            "not those of a durable one.",
        )
    elif settings["synchronous_commit"] == "off":
        yield Note(
            "synchronous_commit",
            "danger",
            "synchronous_commit is off: the last commits are lost when the server crashes, among them enqueues that "
            "returned and results that were recorded.",
        )
    if settings["full_page_writes"] == "off":
        yield Note(
            "full_page_writes",
            "danger",
            "full_page_writes is off: unless the file system writes whole pages at once, a crash can leave torn ones.",
        )


def _upkeep(facts: Facts) -> Iterable[Note]:
    settings = facts["settings"]
    if settings["autovacuum"] == "off":
        yield Note(
            "autovacuum",
            "warning",
            "autovacuum is off: dead rows are never removed and everything becomes slower. Turn it on.",
        )
    dead, live = facts["dead_rows"] or 0, facts["live_rows"] or 0
    if dead > MANY_DEAD_ROWS and dead > live:
        yield Note(
            "dead_rows",
            "warning",
            f"currant.executions has {dead:,} dead rows beside {live:,} live ones: autovacuum does not keep up, or "
            "something keeps it from removing them.",
        )


def _pinned(facts: Facts) -> Iterable[Note]:
    seconds = facts["oldest_transaction_seconds"] or 0.0
    prepared = facts["oldest_prepared_seconds"] or 0.0
    age = facts["oldest_xmin_age"] or 0
    if max(seconds, prepared) >= LONG_TRANSACTION_SECONDS:
        what = "A prepared transaction" if prepared > seconds else "A transaction"
        since = f"has been open for {max(seconds, prepared):,.0f} s"
    elif age >= OLD_XMIN:
        what, since = "A transaction or a replication slot", f"is {age:,} transactions old"
    else:
        return
    yield Note(
        "old_transaction",
        "warning",
        f"{what} {since}: no row that has become dead since can be removed, which slows claims down more and more.",
    )


def _capacity(facts: Facts) -> Iterable[Note]:
    free = facts["connections_free"]
    if not facts["pooler"] and free < 2 * IN_FLIGHT:
        yield Note(
            "connections",
            "warning",
            f"{free} of {facts['settings']['max_connections']} connections are free: a worker takes up to 5. Raise "
            "max_connections, or put PgBouncer in between.",
        )
    if facts["shared_buffers_bytes"] < SMALL_BUFFERS:
        yield Note(
            "shared_buffers",
            "warning",
            f"shared_buffers is {facts['settings']['shared_buffers']}, which is little: a quarter of the server's "
            "memory is usual.",
        )


def _sessions(facts: Facts) -> Iterable[Note]:
    settings = facts["settings"]
    if settings["default_transaction_isolation"] != "read committed":
        yield Note(
            "isolation",
            "warning",
            f"default_transaction_isolation is {settings['default_transaction_isolation']!r}: Currant needs read "
            "committed. Set that for its role.",
        )
    if 0 < facts["statement_timeout_ms"] < SHORT_TIMEOUT_MS:
        yield Note(
            "statement_timeout",
            "warning",
            f"statement_timeout is {settings['statement_timeout']}: a busy moment can end Currant's statements. Give "
            "its role more.",
        )


def _notifications(report: Report) -> Iterable[Note]:
    if report.notifications:
        return
    yield Note(
        "notifications",
        "warning",
        "Notifications do not come through (a pooler in transaction mode?): an idle worker looks for work only at its "
        "poll interval. Give the URL a direct_url past the pooler.",
    )


RULES: tuple[Callable[[Facts], Iterable[Note]], ...] = (_durability, _upkeep, _pinned, _capacity, _sessions)


def slow_pick_up(figures: Figures | None) -> bool:
    """Whether an idle worker found its work by polling only."""
    return figures is not None and figures.p50 is not None and figures.p50 >= SLOW_PICK_UP_MS


def ms(milliseconds: float) -> str:
    """`0.18 ms`, `2.4 ms`, `35 ms`, `1,200 ms`."""
    digits = 2 if milliseconds < 1 else 1 if milliseconds < 10 else 0
    return f"{milliseconds:,.{digits}f} ms"
