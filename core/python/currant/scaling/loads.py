"""Loads to simulate: when executions become ready, and how long their attempts take."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from currant.scaling.model import Settings


@dataclass(frozen=True, slots=True)
class Job:
    """An execution: when it becomes ready, the seconds its attempt takes."""

    at: float
    service: float
    function: str = "f"


@dataclass(frozen=True)
class Load:
    """Executions in the order in which they come, and the pool's settings.

    `unseen`: from when to when no scaler can see the queue; `no_metrics`: when those that need metrics cannot.
    """

    name: str
    description: str
    jobs: tuple[Job, ...]
    length: float
    settings: Settings
    startup: float = 20.0
    unseen: tuple[float, float] | None = None
    no_metrics: tuple[float, float] | None = None


_SETTINGS = Settings(max_pods=50, concurrency=4, latency_target=30.0, drain_timeout=3 * 3600.0)
MINUTE, HOUR = 60.0, 3600.0
RAMP = "0.5 a second of 10 s, then 3"
Service = Callable[[random.Random], float]


def exponential(mean: float) -> Service:
    """Exponential service times."""
    return lambda chance: chance.expovariate(1 / mean)


def lognormal(mean: float, sigma: float) -> Service:
    """Service times of which most are near the middle and a few are long."""
    mu = math.log(mean) - sigma**2 / 2
    return lambda chance: chance.lognormvariate(mu, sigma)


def mostly(short: Service, long: float, part: float) -> Service:
    """Mostly short service times, and some long ones."""
    return lambda chance: long if chance.random() < part else short(chance)


def poisson(chance: random.Random, rate: Callable[[float], float], until: float) -> list[float]:
    """Random independent arrivals (Poisson), with a mean rate per second."""
    times: list[float] = []
    for second in range(int(until)):
        # Knuth's way; rates are small.
        left, number, limit = chance.random(), 0, math.exp(-rate(second))
        while left > limit:
            number += 1
            left *= chance.random()
        times.extend(second + chance.random() for _ in range(number))
    return times


def _jobs(chance: random.Random, times: Iterable[float], service: Service) -> tuple[Job, ...]:
    return tuple(sorted((Job(at, service(chance)) for at in times), key=lambda job: job.at))


def _steady(chance: random.Random) -> Load:
    jobs = _jobs(chance, poisson(chance, lambda _: 2.0, 2 * HOUR), exponential(10))
    return Load("steady", "2 a second of 10 s", jobs, 2 * HOUR, _SETTINGS)


def _sine(chance: random.Random) -> Load:
    times = poisson(chance, lambda t: 1.6 + 1.4 * math.sin(2 * math.pi * t / HOUR), 2 * HOUR)
    return Load(
        "sine",
        "0.2 to 3 a second of 10 s, in an hour's wave",
        _jobs(chance, times, exponential(10)),
        2 * HOUR,
        _SETTINGS,
    )


def _burst(chance: random.Random) -> Load:
    times = poisson(chance, lambda _: 0.05, 90 * MINUTE) + [600.0] * 1000
    return Load(
        "burst", "1,000 of 8 s at once, over one in 20 s", _jobs(chance, times, exponential(8)), 90 * MINUTE, _SETTINGS
    )


def _periodic(chance: random.Random) -> Load:
    times = [60.0 + 600.0 * turn for turn in range(12) for _ in range(200)]
    return Load("periodic", "200 of 5 s every 10 min", _jobs(chance, times, exponential(5)), 2 * HOUR, _SETTINGS)


def _sparse(chance: random.Random) -> Load:
    times = [60.0 + 720.0 * turn for turn in range(20)]
    return Load("sparse", "one of 20 s every 12 min", _jobs(chance, times, exponential(20)), 4 * HOUR, _SETTINGS)


def _hourly(chance: random.Random) -> Load:
    times = [60.0 + HOUR * turn for turn in range(4) for _ in range(60)]
    settings = Settings(max_pods=50, concurrency=4, latency_target=120.0, drain_timeout=3 * HOUR)
    return Load(
        "hourly", "60 of about 20 min every hour", _jobs(chance, times, lognormal(1200, 0.5)), 4 * HOUR, settings
    )


def _mixed(chance: random.Random) -> Load:
    times = poisson(chance, lambda t: 1.0 + (int(t) // 1200) % 2, 3 * HOUR)
    service = mostly(exponential(5), 900.0, 0.02)
    return Load(
        "mixed", "1 or 2 a second of 5 s, 2 % of them of 15 min", _jobs(chance, times, service), 3 * HOUR, _SETTINGS
    )


def _ramp(chance: random.Random) -> Load:
    load = _blind(chance)
    # Only the metrics are lost; a scaler that asks Postgres does not need them.
    return replace(
        load, name="ramp", description=f"{RAMP}, metrics lost for 10 min", unseen=None, no_metrics=load.unseen
    )


def _blind(chance: random.Random) -> Load:
    times = poisson(chance, lambda t: 0.5 if t < 1500 else 3.0, 80 * MINUTE)
    jobs = _jobs(chance, times, exponential(10))
    description = f"{RAMP}, the queue seen by nobody for 10 min"
    return Load("blind", description, jobs, 80 * MINUTE, _SETTINGS, unseen=(1400.0, 2000.0))


NAMED: dict[str, Callable[[random.Random], Load]] = {
    "steady": _steady,
    "sine": _sine,
    "burst": _burst,
    "periodic": _periodic,
    "sparse": _sparse,
    "hourly": _hourly,
    "mixed": _mixed,
    "ramp": _ramp,
    "blind": _blind,
}


def named(name: str, seed: int) -> Load:
    """A load by its name, the same for the same seed. Raises `KeyError`."""
    return NAMED[name](random.Random(f"{name}/{seed}"))  # noqa: S311


def from_csv(path: Path, settings: Settings) -> Load:
    """A trace: lines of `arrival,service[,function]`, both in seconds; a heading is left out. Raises `ValueError`."""
    with path.open(newline="", encoding="utf-8") as file:
        jobs = [job for number, row in enumerate(csv.reader(file), 1) if (job := _row(number, row)) is not None]
    if not jobs:
        raise ValueError("it has no line with an arrival and a service time")
    return trace(path.stem, f"trace of {len(jobs)} executions", jobs, settings)


def _row(number: int, row: list[str]) -> Job | None:
    if not row or not row[0].strip():
        return None
    try:
        at, service = float(row[0]), float(row[1])
    except (ValueError, IndexError):
        if number == 1:
            return None
        raise ValueError(f"line {number}: write arrival,service[,function] in seconds") from None
    if not (math.isfinite(at) and math.isfinite(service) and service >= 0):
        raise ValueError(f"line {number}: an arrival is a number, a service time one from 0")
    return Job(at, service, row[2].strip() if len(row) > 2 and row[2].strip() else "f")


def trace(name: str, description: str, jobs: Iterable[Job], settings: Settings) -> Load:
    """Executions as they came, from 0 on."""
    ordered = sorted(jobs, key=lambda job: job.at)
    first = ordered[0].at
    moved = tuple(Job(job.at - first + 60.0, job.service, job.function) for job in ordered)
    return Load(name, description, moved, moved[-1].at + 600.0, settings)
