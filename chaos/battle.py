"""One seed from beginning to end: set up, load and strikes, heal, settle, judge."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

import currant
from chaos import facts
from chaos.arena import Arena, logs
from chaos.facts import Facts
from chaos.faults import FAULTS, Struck
from chaos.load import Book, customers
from chaos.postgres import url_at
from chaos.schedule import KINDS, Strike, plan
from chaos.stalls import Stalls, measure
from chaos.verdict import Verdict, judge, superseded

WARM_UP = 2.0  # seconds of load before the first strike
SETTLE = 45.0  # without anything ending for so long, what is left is stuck
STRIKE_TIMEOUT = 120.0

Say = Callable[[str], None]


@dataclass
class Outcome:
    """The outcome of a seed."""

    seed: int
    seconds: float
    verdict: Verdict
    struck: list[Struck]
    missing: dict[str, str]
    counts: dict[str, int]
    stalls: dict[str, Stalls]
    settled: float  # seconds from the end of the last strike until all had ended
    logs: Path | None = None  # kept when it failed

    @property
    def passed(self) -> bool:
        """Nothing speaks against it."""
        return self.verdict.passed


@dataclass
class Battle:
    """The plan of one seed, and where it takes place."""

    seed: int
    seconds: float
    kinds: list[str]
    say: Say
    keep: Path | None = None  # where logs of a failed seed go
    keep_all: bool = False  # those of one that is passed, too
    naive: tuple[str, str, str] | None = None
    struck: list[Struck] = field(default_factory=list)
    book: Book = field(default_factory=Book)

    async def fight(self) -> Outcome:
        """All of it; whatever happens, nothing is left running."""
        with tempfile.TemporaryDirectory(prefix="currant-chaos-", ignore_cleanup_errors=True) as name:
            directory = Path(name)
            directory.chmod(0o711)
            arena = Arena(directory, self.naive)
            try:
                for kind in self.kinds:
                    if kind in arena.missing:
                        self.say(f"NOT STRUCK HERE: {KINDS[kind].title}: {arena.missing[kind]}")
                await arena.set_up()
                return await self._fight(arena)
            finally:
                await arena.tear_down()
                currant.configure()

    async def _fight(self, arena: Arena) -> Outcome:
        await self._load_and_strikes(arena)
        left = await self._settle(arena)
        missing = await self._all_beat(arena)
        settled = time.monotonic() - max((struck.end for struck in self.struck), default=time.monotonic())
        left_locks = await asyncio.to_thread(facts.locks, arena.primary)
        complaints = await arena.fleet.disband()
        found = await asyncio.to_thread(facts.gather, arena.primary, arena.ledger, self.book)
        found.unfinished, found.locks, found.struck = left, left_locks, self.struck
        found.deserters = (
            arena.fleet.deserters + missing + complaints + [one.failure for one in self.struck if one.failure]
        )
        return self._outcome(arena, found, settled)

    async def _load_and_strikes(self, arena: Arena) -> None:
        # Customers who do not wait long often do not know whether what they asked for was done.
        currant.configure(database_url=url_at(arena.client.port, connect_timeout="3"))
        stop = asyncio.Event()
        load = asyncio.gather(*(one.run(stop) for one in customers(self.book, self.seed, arena.client.port)))
        await asyncio.sleep(WARM_UP)
        kinds = [kind for kind in self.kinds if kind not in arena.missing]
        begin = time.monotonic()
        strikes = []
        for strike in plan(self.seed, self.seconds, kinds):
            await asyncio.sleep(max(0.0, begin + strike.at - time.monotonic()))
            strikes.append(asyncio.create_task(self._strike(arena, strike)))
        await asyncio.sleep(max(0.0, begin + self.seconds - time.monotonic()))
        stop.set()
        await asyncio.gather(*strikes)
        await arena.heal()
        await load

    async def _strike(self, arena: Arena, strike: Strike) -> None:
        struck = Struck(strike, begin=time.monotonic())
        self.struck.append(struck)
        self.say(f"{strike.at:6.1f} s  {KINDS[strike.kind].title}")
        try:
            async with asyncio.timeout(STRIKE_TIMEOUT):
                await FAULTS[strike.kind](arena, struck, random.Random(strike.dice))
        except (RuntimeError, TimeoutError, psycopg.Error, OSError) as error:
            struck.failure = f"{strike.kind} at {strike.at} s did not go as it should: {type(error).__name__}: {error}"
            self.say(f"          {struck.failure}")
        struck.end = time.monotonic()

    async def _settle(self, arena: Arena) -> dict[str, int]:
        """Wait until all has ended, as long as something still does."""
        last, since = -1, time.monotonic()
        while True:
            left = await asyncio.to_thread(facts.unfinished, arena.primary)
            count = sum(left.values())
            if count == 0 or (count == last and time.monotonic() - since > SETTLE):
                return left
            if count != last:
                last, since = count, time.monotonic()
            await asyncio.sleep(0.2)

    async def _all_beat(self, arena: Arena) -> list[str]:
        """Wait until every worker is there again by itself; gives who does not come."""
        limit = time.monotonic() + SETTLE
        while True:
            beating = await asyncio.to_thread(facts.beating, arena.primary)
            absent = [
                arena.fleet.name_of(slot) for slot in arena.fleet.slots if not arena.fleet.is_one_of(slot, beating)
            ]
            if not absent:
                return []
            if time.monotonic() > limit:
                return [f"{name} does not come back by itself" for name in absent]
            await asyncio.sleep(0.2)

    def _outcome(self, arena: Arena, found: Facts, settled: float) -> Outcome:
        verdict = judge(found)
        kept = None
        if self.keep is not None and (self.keep_all or not verdict.passed):
            kept = self.keep / f"seed-{self.seed}"
            kept.mkdir(parents=True, exist_ok=True)
            for path in (*logs(arena.directory), arena.ledger):
                shutil.copy(path, kept)
        counts = {
            "orders": len(self.book.orders),
            "executions": len(found.rows),
            "attempts": len(found.attempts),
            "take-overs": sum(row.worker_losses for row in found.rows),
            "lost at most once": sum("WorkerLost" in row.error and row.state == "failed" for row in found.rows),
            "signals": len(found.signals),
            "seen": self.book.seen,
            "superseded": superseded(found),
        }
        stalls = measure(found.struck, found.attempts)
        return Outcome(self.seed, self.seconds, verdict, self.struck, arena.missing, counts, stalls, settled, kept)
