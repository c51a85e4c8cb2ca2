"""Everything that a seed is fought on: two servers, a pooler, relays, workers."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path

import psycopg

from chaos.fleet import ROOT, Fleet, Slot
from chaos.pooler import PROGRAM, Pooler
from chaos.postgres import Disk, Server, url_at, wait_until
from chaos.relay import Relay
from currant.rust_bridge import RustBridge
from e2e.programs import SYSTEM_ROOT

INVARIANTS = ROOT / "core/tests/invariants.sql"
# Debian's place for it, which differs by processor.
FAKETIME = next(Path(f"{SYSTEM_ROOT}/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

# The database itself notes how often each outcome is recorded; customers who enqueue in a transaction have rows, too.
AUDIT = """
    create schema chaos;
    create table chaos.orders (tag text primary key);
    create table chaos.recorded (
        id uuid not null, state text not null, attempt integer not null, at timestamptz not null);
    create function chaos.note_recorded() returns trigger language plpgsql as $$ begin
        insert into chaos.recorded values (new.id, new.state, new.attempt, clock_timestamp());
        return null;
    end $$;
    create trigger note_recorded after update on currant.executions for each row
        when (new.finished_at is not null and old.finished_at is distinct from new.finished_at)
        execute function chaos.note_recorded();
"""

# Faults that cannot be struck everywhere, and what to say then.
NEEDS = {
    "disk": "a file system of its own can only be made by root",
    "skew": "libfaketime is not installed: apt-get install libfaketime",
    "pooler": "PgBouncer is not installed: apt-get install pgbouncer",
}


class Arena:
    """Made by `set_up`, taken away by `tear_down`. `naive`: a rule to take out of the SQL (function, text, instead)."""

    def __init__(self, directory: Path, naive: tuple[str, str, str] | None = None) -> None:
        self.directory = directory
        self.fleet = Fleet(directory)
        self.disks = [Disk(directory / name) for name in ("server-a", "server-b")]
        self.primary, self.standby = (Server(disk.home) for disk in self.disks)
        self.replication = Relay(self.primary.port)
        self.client = Relay(self.primary.port)
        self.pooled = Relay(self.primary.port)
        self.pooler: Pooler | None = None
        self.server_busy = asyncio.Lock()  # one fault of the servers at a time
        self.faketime = directory / "faketime"
        self._naive = naive
        self._guard: asyncio.Task[None] | None = None

    @property
    def missing(self) -> dict[str, str]:
        """The kinds of faults that cannot be struck here, and why."""
        there = {"disk": not self.disks[0].refusal, "skew": FAKETIME is not None, "pooler": PROGRAM is not None}
        return {kind: NEEDS[kind] for kind, can in there.items() if not can}

    @property
    def to_primary(self) -> list[Relay]:
        """The relays that lead straight to the primary, and that a fail-over has to lead to the next one."""
        return [
            self.client,
            self.pooled,
            *(slot.relay for slot in self.fleet.slots if self._through_pooler(slot.name) is None),
        ]

    @property
    def ledger(self) -> Path:
        """Where functions note what they do."""
        return self.directory / "ledger"

    async def set_up(self) -> None:
        """Servers, schema, stand-by, pooler, workers."""
        await asyncio.to_thread(self.primary.create)
        await asyncio.to_thread(self._migrate)
        for relay in (self.replication, self.client, self.pooled):
            await relay.open()
        await self.attach_standby()
        if PROGRAM is not None:
            self.pooler = Pooler(self.directory, self.pooled.port)
            self.pooler.start()
        self.faketime.write_text("+0\n")
        for name, variables in self._places().items():
            await self._add(name, variables)
        for slot in self.fleet.slots:
            self.fleet.start(slot)
        self._guard = asyncio.create_task(self.fleet.guard())

    async def attach_standby(self) -> None:
        """A fresh copy of the primary follows it, synchronously from then on."""
        await asyncio.to_thread(self.standby.follow, self.replication.port)
        await asyncio.to_thread(self.primary.set_synchronous, True)
        await asyncio.to_thread(wait_until, lambda: self.primary.has_standby, "the stand-by is synchronous")

    async def extra_slot(self, name: str) -> Slot:
        """A place for one more worker, for a while."""
        return await self._add(name, {})

    async def drop_slot(self, slot: Slot) -> None:
        """Its worker has ended."""
        self.fleet.slots.remove(slot)
        await slot.relay.close()

    async def heal(self) -> None:
        """After any fault: everything runs and can be reached again."""
        for disk in self.disks:
            disk.free()
        await asyncio.to_thread(self.primary.start)
        for relay in (self.replication, self.client, self.pooled, *(slot.relay for slot in self.fleet.slots)):
            relay.release()
            relay.delay = (0.0, 0.0)
            await relay.open()
        self.faketime.write_text("+0\n")

    async def tear_down(self) -> None:
        """Stop everything, whatever state it is in."""
        if self._guard is not None:
            self._guard.cancel()
        self.fleet.kill_all()
        if self.pooler is not None:
            self.pooler.kill()
        for relay in (self.replication, self.client, self.pooled, *(slot.relay for slot in self.fleet.slots)):
            await relay.close()
        for server in (self.standby, self.primary):
            with suppress(RuntimeError):
                await asyncio.to_thread(server.stop)
        for disk in self.disks:
            disk.unmount()

    def _places(self) -> dict[str, dict[str, str]]:
        skewed = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.faketime),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        return {
            "plain": {},
            "forgetful": {"WORKFLOWS_WORKER_MAX_HOT": "5", "WORKFLOWS_WORKER_LONG_WAIT": "0.5"},
            "skewed": skewed if FAKETIME is not None else {},
            "pooled": {},
        }

    def _through_pooler(self, slot_name: str) -> Pooler | None:
        """The pooler between the slot of that name and the primary. Where PgBouncer is not installed there is none."""
        return self.pooler if slot_name == "pooled" else None

    async def _add(self, name: str, variables: dict[str, str]) -> Slot:
        through_pooler = self._through_pooler(name)
        relay = Relay(through_pooler.port if through_pooler is not None else self.primary.port)
        await relay.open()
        # Impatient, so that an outage outlasts what a workflow asks of its worker.
        parameters = {"connect_timeout": "2"} | ({"pgbouncer": "true"} if through_pooler is not None else {})
        slot = Slot(name, relay, url_at(relay.port, **parameters), variables)
        self.fleet.slots.append(slot)
        return slot

    def _migrate(self) -> None:
        bridge = RustBridge(self.primary.url)
        bridge.migrate()
        bridge.close()
        with psycopg.connect(self.primary.url, autocommit=True) as admin:
            admin.execute(INVARIANTS.read_bytes())
            admin.execute(AUDIT)
            if self._naive is not None:
                take_out(admin, *self._naive)


def take_out(admin: psycopg.Connection[tuple[object, ...]], function: str, text: str, instead: str) -> None:
    """Put `instead` for `text` in a SQL function of the schema. Raises `LookupError` when it is not there any more."""
    found = admin.execute(
        "select p.oid, pg_get_functiondef(p.oid) from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = 'currant' and p.proname = %s",
        [function],
    ).fetchone()
    if found is None or text not in str(found[1]):
        raise LookupError(f"the function {function} does not contain {text!r}")
    admin.execute(re.sub(re.escape(text), lambda _: instead, str(found[1])).encode())


def logs(directory: Path) -> list[Path]:
    """The logs of workers and servers."""
    return sorted(path for path in directory.glob("*.log") if os.path.getsize(path))
