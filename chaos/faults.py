"""The faults themselves. Each is a coroutine that returns when it is over and everything it broke is whole again."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg

from chaos.arena import Arena
from chaos.fleet import Slot
from chaos.postgres import wait_until
from chaos.schedule import Strike

SKEWS = ("+7200", "-7200", "+86400", "-86400")


@dataclass
class Struck:
    """A strike that took place: when (seconds, `time.monotonic`), whom it hit, and what became of it."""

    strike: Strike
    begin: float = 0.0
    end: float = 0.0
    victims: list[int] = field(default_factory=list)
    failure: str = ""  # it could not be carried out


Fault = Callable[[Arena, Struck, random.Random], Awaitable[None]]


@asynccontextmanager
async def _some_worker(arena: Arena, struck: Struck, rng: random.Random) -> AsyncIterator[Slot]:
    slot = rng.choice([slot for slot in arena.fleet.slots if not slot.name.startswith("extra")])
    async with slot.busy:
        if slot.process is not None:
            struck.victims.append(slot.process.pid)
        yield slot


async def kill(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        await arena.fleet.restart(slot, signal.SIGKILL, struck.strike.lasts)


async def freeze(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        arena.fleet.send(slot, signal.SIGSTOP)
        try:
            await asyncio.sleep(struck.strike.lasts)
        finally:
            arena.fleet.send(slot, signal.SIGCONT)


async def drain(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        await arena.fleet.restart(slot, signal.SIGTERM, struck.strike.lasts)


async def hasten(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        arena.fleet.send(slot, signal.SIGTERM)
        await asyncio.sleep(struck.strike.lasts)
        await arena.fleet.restart(slot, signal.SIGTERM)


async def restart(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with arena.server_busy:
        await asyncio.to_thread(arena.primary.restart)


async def outage(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with arena.server_busy:
        await asyncio.to_thread(arena.primary.stop)
        await asyncio.sleep(struck.strike.lasts)
        await asyncio.to_thread(arena.primary.start)


async def sessions(arena: Arena, struck: Struck, rng: random.Random) -> None:
    statement = (
        "select pg_terminate_backend(pid) from pg_stat_activity where backend_type in ('client backend', 'walsender')"
        " and pid <> pg_backend_pid() and random() < %s"
    )
    async with arena.server_busy:
        await asyncio.to_thread(arena.primary.execute, statement, rng.choice([0.3, 0.6, 1.0]))


async def failover(arena: Arena, struck: Struck, rng: random.Random) -> None:
    """As an operator of Postgres does it: isolate, promote, lead clients there, rebuild the other one."""
    async with arena.server_busy:
        await asyncio.to_thread(wait_until, lambda: arena.primary.has_standby, "the stand-by has caught up")
        relays = arena.to_primary
        await arena.replication.shut()
        quiet = rng.random() < 0.5  # the node is lost: no packet says so
        for relay in relays:
            await (relay.lose() if quiet else relay.shut())
        await asyncio.sleep(struck.strike.lasts / 2)
        await asyncio.to_thread(arena.standby.promote)
        await asyncio.to_thread(arena.standby.set_synchronous, False)
        arena.primary, arena.standby = arena.standby, arena.primary
        for relay in (*arena.to_primary, arena.replication):
            relay.upstream = arena.primary.port
            await relay.open()
        await asyncio.sleep(struck.strike.lasts / 2)
        await asyncio.to_thread(arena.standby.stop)
        await arena.attach_standby()


async def standby(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with arena.server_busy:
        await asyncio.to_thread(arena.standby.stop)
        await asyncio.sleep(struck.strike.lasts)
        await asyncio.to_thread(arena.standby.start)
        await asyncio.to_thread(wait_until, lambda: arena.primary.has_standby, "the stand-by has caught up")


async def cut(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        await slot.relay.shut()
        await asyncio.sleep(struck.strike.lasts)
        await slot.relay.open()


async def slow(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        slot.relay.delay = (0.05, 0.4)
        await asyncio.sleep(struck.strike.lasts)
        slot.relay.delay = (0.0, 0.0)


async def half_open(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        slot.relay.hold(requests=rng.random() < 0.5)
        await asyncio.sleep(struck.strike.lasts)
        slot.relay.release()


async def deaf(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with _some_worker(arena, struck, rng) as slot:
        slot.relay.deafen()
        await asyncio.sleep(struck.strike.lasts)


async def disk(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with arena.server_busy:
        full = next(disk for disk in arena.disks if disk.home == arena.primary.home)
        full.fill()
        try:
            await asyncio.sleep(struck.strike.lasts)
        finally:
            full.free()
        # Without room for its log the server ends; whoever has made room starts it.
        await asyncio.to_thread(wait_until, lambda: _stands(arena), "the server is back")


def _stands(arena: Arena) -> bool:
    try:
        arena.primary.start()
    except RuntimeError:  # it was about to end
        return False
    arena.primary.execute("create temporary table room as select repeat('x', 8000) from generate_series(1, 100)")
    return True


async def skew(arena: Arena, struck: Struck, rng: random.Random) -> None:
    slot = next(slot for slot in arena.fleet.slots if slot.name == "skewed")
    async with slot.busy:
        arena.faketime.write_text(f"{rng.choice(SKEWS)}\n")
        await asyncio.sleep(struck.strike.lasts)
        arena.faketime.write_text("+0\n")


async def ten(arena: Arena, struck: Struck, rng: random.Random) -> None:
    async with arena.server_busy:  # their networks must not lead to a primary that is about to be cut off
        extra = [await arena.extra_slot(f"extra-{struck.strike.dice}-{number}") for number in range(10)]
    for slot in extra:
        arena.fleet.start(slot)
    await asyncio.sleep(struck.strike.lasts)
    for slot in extra:
        struck.victims.append(arena.fleet.send(slot, rng.choice([signal.SIGKILL, signal.SIGTERM])))
    for slot in extra:
        await arena.fleet.ended(slot)
        await arena.drop_slot(slot)


async def rolling(arena: Arena, struck: Struck, rng: random.Random) -> None:
    for slot in [slot for slot in arena.fleet.slots if not slot.name.startswith("extra")]:
        async with slot.busy:
            struck.victims.append(await arena.fleet.restart(slot, signal.SIGTERM, struck.strike.lasts))


async def pooler(arena: Arena, struck: Struck, rng: random.Random) -> None:
    if arena.pooler is not None:
        arena.pooler.kill()
        await asyncio.sleep(struck.strike.lasts)
        arena.pooler.start()


async def locks(arena: Arena, struck: Struck, rng: random.Random) -> None:
    statement = (
        "select count(*) from (select 1 from currant.executions where finished_at is null"
        " order by random() limit 5 for update skip locked) locked"
    )
    try:
        async with await psycopg.AsyncConnection.connect(arena.primary.url, connect_timeout=5) as somebody:
            await somebody.execute(statement)
            await asyncio.sleep(struck.strike.lasts)
            await somebody.rollback()
    except psycopg.OperationalError:  # another fault was at the server
        pass


FAULTS: dict[str, Fault] = {
    "kill": kill,
    "freeze": freeze,
    "drain": drain,
    "hasten": hasten,
    "restart": restart,
    "outage": outage,
    "sessions": sessions,
    "failover": failover,
    "standby": standby,
    "cut": cut,
    "slow": slow,
    "half-open": half_open,
    "deaf": deaf,
    "disk": disk,
    "skew": skew,
    "ten": ten,
    "rolling": rolling,
    "pooler": pooler,
    "locks": locks,
}
