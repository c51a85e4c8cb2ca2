"""`currant doctor`: why does work not go on? What the database shows, judged.

docs/reference/doctor.md has every check.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import click

from currant.cli.arguments import as_json
from currant.cli.output import Row, format_duration, print_json, say, shorten
from currant.rust_bridge import RustBridge

Facts = dict[str, Any]

# Durations, in seconds, from which on something is wrong.
LONG_TRANSACTION = 300.0
LONG_PREPARED = 60.0
LONG_LOCK_WAIT = 5.0
LONG_READY = 300.0
LATE_SCHEDULE = 60.0
LONG_UNFINISHED = 120.0

# The age of a replication slot, in transactions (it has no time), from which on it keeps too many dead rows.
OLD_SLOT = 1_000_000
# Dead rows: a table with fewer is read quickly anyway.
MANY_DEAD = 10_000
# Autovacuum is late when there are this many times the dead rows that make it begin.
BEHIND = 3
OLD_TABLE = 2


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the check, the problem, and the advice."""

    check: str
    problem: str
    advice: str


def diagnose(facts: Facts, *, ready: float = LONG_READY, transaction: float = LONG_TRANSACTION) -> list[Finding]:
    """Everything that is wrong. `ready`, `transaction`: seconds that work may be ready, and a transaction open."""
    findings: list[Finding] = []
    for check, judge in CHECKS.items():
        limits = {"queues": ready, "pins": transaction}
        found = judge(facts, limits[check]) if check in limits else judge(facts)
        findings.extend(Finding(check, problem, advice) for problem, advice in found)
    return findings


Found = Iterator[tuple[str, str]]


def _pins(facts: Facts, longest: float) -> Found:
    limits = {"prepared": min(LONG_PREPARED, longest)}
    for pin in facts["pins"]:
        if pin["kind"] == "slot":
            if pin["transactions"] >= OLD_SLOT:
                yield (
                    f"the {pin['state']} replication slot {pin['name']} keeps rows from being removed that are "
                    f"{pin['transactions']} transactions old",
                    f"let its reader catch up, or drop it: select pg_drop_replication_slot({_literal(pin['name'])})",
                )
        elif (pin["seconds"] or 0.0) >= limits.get(pin["kind"], longest):
            yield _pinned(pin)


def _literal(text: str) -> str:
    """The text as a literal of SQL, for statements that a person will copy."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _pinned(pin: Row) -> tuple[str, str]:
    since = format_duration(pin["seconds"])
    if pin["kind"] == "prepared":
        return (
            f"the transaction {pin['name']} of {pin['role']} is prepared for {since}: it keeps locks and dead rows",
            f"end it: commit prepared {_literal(pin['name'])}, or rollback prepared {_literal(pin['name'])}",
        )
    who = f"{pin['application'] or 'a session'} ({pin['role']}, pid {pin['name']})"
    if pin["kind"] == "standby":
        return f"the stand-by {who} keeps dead rows for a query of {since}", "end that query on the stand-by"
    return (
        f"{who} has had a transaction open for {since} ({pin['state']}): no row that died since can be removed",
        f"end it, or: select pg_terminate_backend({pin['name']})",
    )


def _lock_waits(facts: Facts) -> Found:
    for wait in facts["lock_waits"]:
        if (wait["seconds"] or 0.0) >= LONG_LOCK_WAIT:
            blockers = [
                f"pid {by['pid']} ({by['application'] or by['role'] or 'a session'}, {by['state'] or 'not shown'})"
                for by in wait["blocked_by"]
            ]
            yield (
                f"{wait['application'] or 'a session'} (pid {wait['pid']}) has waited "
                f"{format_duration(wait['seconds'])} for a lock on {wait['waits_for']}, held by "
                f"{', '.join(blockers) or 'nobody that is still there'}",
                "end the transaction of the one that holds it",
            )


def _tables(facts: Facts) -> Found:
    for table in facts["tables"]:
        if table["dead"] >= MANY_DEAD and table["dead"] >= BEHIND * table["due"]:
            when = f"last vacuumed at {table['vacuumed_at']}" if table["vacuumed_at"] else "never vacuumed"
            cause = (
                "see what keeps dead rows (pins)"
                if facts["pins"]
                else "give autovacuum more workers or a lower cost delay"
            )
            yield (
                f"currant.{table['name']} has {table['dead']} dead rows beside {table['live']} live ones, {when}",
                f"{cause if table['autovacuum'] else 'autovacuum is off: turn it on'}; vacuum currant.{table['name']}",
            )
        if table["transactions"] >= OLD_TABLE * table["freeze_at"]:
            yield (
                f"currant.{table['name']} is {table['transactions']} transactions old: at 2,000,000,000 it stops",
                f"vacuum freeze currant.{table['name']}",
            )


def _dead_workers(facts: Facts) -> Found:
    for worker in facts["dead_workers"]:
        silent = f"silent for {format_duration(worker['silent_seconds'])}" if worker["silent_seconds"] else "ended"
        yield (
            f"worker {worker['name']} on {worker['host'] or 'an unknown host'} is {silent} and {worker['running']} "
            "executions run on it; no other worker has taken them over",
            "start a worker, of any queue: one that has lived for a heartbeat time-out takes over",
        )


def _orphans(facts: Facts) -> Found:
    if facts["orphans"]:
        some = ", ".join(row["id"] for row in facts["orphans"][:3])
        yield (
            f"{len(facts['orphans'])} or more executions run on workers that are not there ({some})",
            "this should not be: please report it; `currant cancel ID --force` ends one",
        )


def _incompatible(facts: Facts) -> Found:
    for runs in facts["held"]:
        yield (
            f"{runs['number']} of {runs['function']} in queue {runs['queue']} are incompatible with the deployed code, "
            f"such as {runs['example']}: "
            f"{shorten(_message(runs['error']), 200)}",
            "deploy code that fits their history (get_version); or `currant cancel ID --force`",
        )


def _message(error: str | None) -> str:
    try:
        return str(json.loads(error or "{}").get("message", ""))
    except ValueError:
        return error or ""


def _queues(facts: Facts, longest: float) -> Found:
    for queue in facts["queues"]:
        waits = queue["ready"] + queue["delayed"] + queue["suspended"] + queue["blocked"]
        if waits and not queue["workers"]:
            yield (
                f"no worker serves queue {queue['queue']}, where {queue['ready']} are ready, "
                f"{queue['delayed']} delayed and {queue['suspended']} suspended",
                f"start one: currant worker -q {shlex.quote(queue['queue'])} -m ...",
            )
        elif queue["ready"] and queue["oldest_ready_seconds"] >= longest:
            yield (
                f"the oldest of {queue['ready']} that are ready in queue {queue['queue']} has waited "
                f"{format_duration(queue['oldest_ready_seconds'])}; {queue['workers']} workers serve it",
                "more workers or concurrency; or see whether what runs there is stuck (`currant list --state running`)",
            )


def _unknown_functions(facts: Facts) -> Found:
    for function in facts["unknown_functions"]:
        yield (
            f"{function['number']} of {function['function']} wait in queue {function['queue']}, "
            "and no worker there has that function",
            "give a worker of that queue its module (-m), or send it to the right queue",
        )


def _schedules(facts: Facts) -> Found:
    for schedule in facts["schedules"]:
        name = f"schedule {schedule['name']} of {schedule['function']}"
        if schedule["late_seconds"] >= LATE_SCHEDULE:
            yield (
                f"{name} is {format_duration(schedule['late_seconds'])} late",
                "start a worker: any worker fires schedules",
            )
        elif (schedule["last_outcome"] or "").startswith("failed:"):
            yield f"{name} {shorten(schedule['last_outcome'], 200)}", "fix what it says; it is tried again by itself"


def _unfinished_definitions(facts: Facts) -> Found:
    for definition in facts["unsettled"]:
        if definition["gated"] and definition["seconds"] >= LONG_UNFINISHED:
            yield (
                f"the definition of {definition['function']} ({definition['owner']}) was not applied to the end "
                f"{format_duration(definition['seconds'])} ago: nothing of that function starts",
                "apply any definition again",
            )


CHECKS: dict[str, Callable[..., Found]] = {
    "pins": _pins,
    "lock waits": _lock_waits,
    "tables": _tables,
    "dead workers": _dead_workers,
    "orphans": _orphans,
    "incompatible": _incompatible,
    "queues": _queues,
    "unknown functions": _unknown_functions,
    "schedules": _schedules,
    "definitions": _unfinished_definitions,
}


@click.command()
@click.option(
    "--ready", type=click.FloatRange(0), default=LONG_READY, show_default=True, help="Seconds that work may be ready."
)
@click.option(
    "--transaction",
    type=click.FloatRange(0),
    default=LONG_TRANSACTION,
    show_default=True,
    help="Seconds that a transaction may be open.",
)
@as_json
def doctor(ready: float, transaction: float, as_json: bool) -> None:
    """Say why work does not go on: what is stuck, unserved, dead or incompatible, and who blocks whom.

    Exit code 1 when something is wrong.
    """
    facts = RustBridge().doctor()
    findings = diagnose(facts, ready=ready, transaction=transaction)
    if as_json:
        print_json({"healthy": not findings, "findings": [asdict(finding) for finding in findings], "facts": facts})
    else:
        _print(facts, findings)
    if findings:
        raise click.exceptions.Exit(1)


def _print(facts: Facts, findings: list[Finding]) -> None:
    for check in CHECKS:
        found = [finding for finding in findings if finding.check == check]
        if not found:
            say(f"    {check}{_shown(check, facts)}", label="ok", colour="green")
        for finding in found:
            say(f" {finding.check}: {finding.problem}", label="wrong", colour="red")
            say(f"       -> {finding.advice}")
    for line in _notes(facts):
        say(f"note   {line}")


def _shown(check: str, facts: Facts) -> str:
    """A figure to show beside a check that found nothing."""
    if check == "queues" and facts["queues"]:
        ready = max(facts["queues"], key=lambda queue: queue["oldest_ready_seconds"])
        waiting = (
            f"; the oldest ready one has waited {format_duration(ready['oldest_ready_seconds'])} in {ready['queue']}"
        )
        return f": {len(facts['queues'])}{waiting if ready['ready'] else ''}"
    if check == "pins" and facts["pins"]:
        oldest = max(facts["pins"], key=lambda pin: pin["transactions"] or 0)
        return f": the oldest is {oldest['application'] or oldest['name']}, for {format_duration(oldest['seconds'])}"
    return ""


def _notes(facts: Facts) -> Iterable[str]:
    schema = facts["schema"]
    yield f"schema version {schema['version']}, this Currant needs {schema['needed']}; Postgres {schema['server']}"
    if not schema["sees_all"]:
        yield "this role cannot see what the sessions of others do: grant pg_read_all_stats to it"
    for back in facts["handed_back"]:
        yield (
            f"{back['function']} {back['id']} was handed back {back['times']} times at no cost: if it is no long task "
            "in many roll-outs, look for what in it sends signals to its own process (os.kill, os.killpg, `kill 0`)"
        )
