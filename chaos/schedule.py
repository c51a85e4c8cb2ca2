"""Which fault strikes when: decided by the seed alone, so that a seed that fails can be struck again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = (0.4, 3.2)  # seconds between the beginnings of two strikes


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what people read, and for how long one lasts (seconds, least and most)."""

    title: str
    lasts: tuple[float, float]


# A worker counts as dead after 3 s without a heartbeat (fleet.RHYTHM): what is longer makes zombies.
KINDS: Mapping[str, Kind] = {
    "kill": Kind("SIGKILL of a worker", (0.2, 2.0)),
    "freeze": Kind("SIGSTOP of a worker until it counts as dead, then SIGCONT", (3.5, 6.0)),
    "drain": Kind("SIGTERM of a worker in mid-flight", (0.0, 1.0)),
    "hasten": Kind("two SIGTERMs of a worker", (0.0, 0.3)),
    "restart": Kind("pg_ctl restart -m immediate", (0.0, 0.0)),
    "outage": Kind("Postgres stopped (immediate) and started later", (1.0, 5.0)),
    "sessions": Kind("pg_terminate_backend of random sessions", (0.0, 0.0)),
    "failover": Kind("stand-by promoted while the primary is cut off", (0.3, 2.0)),
    "standby": Kind("synchronous stand-by away: no commit returns", (1.0, 4.0)),
    "cut": Kind("network of a worker cut", (0.2, 5.0)),
    "slow": Kind("network of a worker slowed to 50 to 400 ms a packet", (1.0, 5.0)),
    "half-open": Kind("network of a worker half-open: packets held back, then delivered", (0.5, 6.0)),
    "deaf": Kind("replies to a worker lost, its connections dead for ever", (0.5, 3.0)),
    "disk": Kind("disk of the server full", (1.0, 4.0)),
    "skew": Kind("clock of a worker set hours forward or back while it runs", (1.0, 8.0)),
    "ten": Kind("ten workers starting at once, later ended by SIGKILL or SIGTERM", (1.0, 3.0)),
    "rolling": Kind("rolling restart of all workers", (0.0, 0.5)),
    "pooler": Kind("PgBouncer killed and started", (0.2, 2.0)),
    "locks": Kind("somebody's open transaction holds locks on rows of executions", (1.0, 5.0)),
}


@dataclass(frozen=True)
class Strike:
    """One fault to come. `at` is in seconds since the faults began; `dice` decides whatever else is to be decided."""

    at: float
    kind: str
    lasts: float
    dice: int


def plan(seed: int, seconds: float, kinds: Sequence[str]) -> list[Strike]:
    """The strikes of a seed. Every kind strikes before one strikes again, in an order of the seed's own.

    The same arguments give the same plan on every machine.
    """
    rng = random.Random(seed)
    strikes: list[Strike] = []
    bag: list[str] = []
    at = rng.uniform(*GAP)
    while at < seconds and kinds:
        if not bag:
            bag = sorted(kinds)
            rng.shuffle(bag)
        kind = bag.pop()
        strikes.append(Strike(round(at, 3), kind, round(rng.uniform(*KINDS[kind].lasts), 3), rng.getrandbits(30)))
        at += rng.uniform(*GAP)
    return strikes
