"""`currant scale`: what the scaler does with a load, by the function that the operator runs (`currant.scaling`)."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from currant.cli.functions import Mistake
from currant.cli.output import print_json, print_table, say
from currant.rust_bridge import RustBridge
from currant.scaling import Memory, Pod, Settings, Snapshot, Work, chart, decide, horizon, loads, observations
from currant.scaling.loads import Job, Load
from currant.scaling.scalers import Keda, Native
from currant.scaling.simulation import Result, Scaler, simulate

MOST_HISTORY = 200_000
_FIELDS = {field.name: field.type for field in dataclasses.fields(Settings)}
_LIMITS: dict[str, tuple[float, float]] = {
    "min_pods": (0, 10_000),
    "max_pods": (1, 10_000),
    "concurrency": (1, 100_000),
    "target_utilization": (0.1, 1),
    "max_step_percent": (1, 100),
}


@click.group()
def scale() -> None:
    """Show how pools of workers are sized, and try other settings on a load."""


@scale.command("simulate")
@click.argument("names", nargs=-1, metavar="[LOAD]...")
@click.option(
    "--trace",
    "traces",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV file of `arrival,service[,function]` in seconds; may be repeated.",
)
@click.option(
    "--days",
    type=click.FloatRange(0, min_open=True),
    help="The executions that this many last days brought, out of the database.",
)
@click.option("-q", "--queue", help="With --days: only of this queue.")
@click.option("--set", "settings", metavar="NAME=VALUE,...", help=f"Settings of the pool: {', '.join(_FIELDS)}.")
@click.option(
    "--with", "variants", multiple=True, metavar="NAME=VALUE,...", help="Compare with these settings; may be repeated."
)
@click.option("--keda", is_flag=True, help="Compare with KEDA on the backlog, and on the backlog and what runs.")
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="How often each is simulated.")
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the curve of the first seed here; one load only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate_(
    names: tuple[str, ...],
    traces: tuple[Path, ...],
    days: float | None,
    queue: str | None,
    settings: str | None,
    variants: tuple[str, ...],
    keda: bool,
    seeds: int,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Simulate a pool of workers under a load; show waits, pod-hours, attempts that were cut.

    The built-in loads are steady, sine, burst, periodic, sparse, hourly, mixed, ramp, blind. Without a LOAD all are
    simulated.
    """
    base = _settings(None, settings)
    sources = _sources(names, traces, days, queue, base)
    if svg is not None and len(sources) != 1:
        raise Mistake("--svg draws one load: name one")
    rows: list[dict[str, Any]] = []
    for source in sources:
        results = _run(source, seeds, settings, variants, keda)
        rows.extend(_row(source(0).name, scaler, each) for scaler, each in results)
        if svg is not None:
            title = f"{source(0).name}: {source(0).description}"
            svg.write_text(chart.draw(title, [(scaler, each[0]) for scaler, each in results]), encoding="utf-8")
    if as_json:
        print_json(rows)
    else:
        print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def _sources(
    names: Sequence[str], traces: Sequence[Path], days: float | None, queue: str | None, settings: Settings
) -> list[Callable[[int], Load]]:
    """Functions that return a load for a seed; a trace is the same for every seed."""
    unknown = [name for name in names if name not in loads.NAMED]
    if unknown:
        raise Mistake(
            f"there is no load {unknown[0]}: write one of {', '.join(loads.NAMED)}, or give a file with --trace"
        )
    wanted = names or (() if traces or days else tuple(loads.NAMED))
    sources: list[Callable[[int], Load]] = [_named(name) for name in wanted]
    given = [_trace(path, settings) for path in traces]
    if days is not None:
        given.append(_history(days, queue, settings))
    return [*sources, *(_same(load) for load in given)]


def _named(name: str) -> Callable[[int], Load]:
    return lambda seed: loads.named(name, seed)


def _same(load: Load) -> Callable[[int], Load]:
    return lambda seed: load


def _trace(path: Path, settings: Settings) -> Load:
    try:
        return loads.from_csv(path, settings)
    except (ValueError, UnicodeDecodeError) as error:
        raise Mistake(f"{path}: {error}") from None


def _history(days: float, queue: str | None, settings: Settings) -> Load:
    filters: dict[str, Any] = {"state": "completed", "limit": MOST_HISTORY}
    if queue is not None:
        filters["queue"] = queue
    since = datetime.now(UTC) - timedelta(days=days)
    jobs = [job for row in RustBridge().list_executions(**filters) if (job := _job(row, since)) is not None]
    if not jobs:
        raise Mistake(f"no task has completed in the last {days:g} days" + (f" in the queue {queue}" if queue else ""))
    return loads.trace("history", f"{len(jobs)} tasks of the last {days:g} days", jobs, settings)


def _job(row: dict[str, Any], since: datetime) -> Job | None:
    """A job for a task that has run, or None for other executions: a waiting workflow takes no slot."""
    if row["kind"] != "task" or not row["started_at"] or not row["finished_at"]:
        return None
    created, started, finished = (
        datetime.fromisoformat(row[name]) for name in ("created_at", "started_at", "finished_at")
    )
    if created < since:
        return None
    return Job(created.timestamp(), max(0.0, (finished - started).total_seconds()), row["function"])


def _settings(base: Settings | None, text: str | None) -> Settings:
    """The settings `base` with those of the text replaced."""
    changed: dict[str, Any] = {}
    for part in filter(None, (text or "").split(",")):
        name, _, value = part.partition("=")
        changed[name.strip()] = _value(name.strip(), value.strip())
    result = dataclasses.replace(base or Settings(), **changed)
    if result.min_pods > result.max_pods:
        raise Mistake("min_pods is above max_pods")
    return result


def _value(name: str, text: str) -> float | int:
    if name not in _FIELDS:
        raise Mistake(f"there is no setting {name!r}: write one of {', '.join(_FIELDS)}")
    whole = _FIELDS[name] == "int"
    least, most = _LIMITS.get(name, (0, 1e9))
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise Mistake(f"{name} cannot be {text!r}: write a number") from None
    if not least <= value <= most:
        raise Mistake(f"{name} cannot be {text}: write a number from {least:g} to {most:g}")
    return value


def _run(
    source: Callable[[int], Load], seeds: int, settings: str | None, variants: Sequence[str], keda: bool
) -> list[tuple[str, list[Result]]]:
    """The results by scaler, one for each seed."""
    makers: list[tuple[str, Callable[[Settings, int], Scaler], str | None]] = [("Native", lambda s, _: Native(s), None)]
    makers += [(f"Native, {variant}", lambda s, _: Native(s), variant) for variant in variants]
    if keda:
        makers.append(("KEDA on ready", lambda s, seed: Keda(s, False, seed), None))
        makers.append(("KEDA on ready + running", lambda s, seed: Keda(s, True, seed), None))
    results = []
    for name, make, variant in makers:
        each = []
        for seed in range(seeds):
            load = source(seed)
            load = dataclasses.replace(load, settings=_settings(_settings(load.settings, settings), variant))
            each.append(simulate(load, make(load.settings, seed), seed))
        results.append((name, each))
    return results


def _row(load: str, scaler: str, results: list[Result]) -> dict[str, Any]:
    """The means of all seeds."""

    def mean(value: Callable[[Result], float]) -> float:
        return round(statistics.mean(map(value, results)), 2)

    return {
        "load": load,
        "scaler": scaler,
        "wait p50 s": mean(lambda result: result.wait(0.5)),
        "wait p95 s": mean(lambda result: result.wait(0.95)),
        "pod-hours": mean(lambda result: result.pod_hours),
        "most pods": mean(lambda result: result.most_pods),
        "cut": mean(lambda result: result.cut),
        "turns": mean(lambda result: result.turns),
        "unfinished": mean(lambda result: result.unfinished),
    }


@scale.command()
@click.argument("pool", metavar="NAMESPACE/POOL")
@click.option("-q", "--queue", "queues", multiple=True, help="Its queues, when it has no worker now.")
@click.option("--set", "settings", metavar="NAME=VALUE,...", help="Its settings that differ from the defaults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(pool: str, queues: tuple[str, ...], settings: str | None, as_json: bool) -> None:
    """Say how many pods NAMESPACE/POOL should have now, and why, from what is in the database.

    The operator also knows its earlier decisions, which do not count here.
    """
    bridge = RustBridge()
    workers = [worker for worker in bridge.fleet([])["workers"] if worker["pool"] == pool]
    queues = queues or tuple(sorted({queue for worker in workers for queue in worker["queues"]}))
    if not queues:
        raise Mistake(f"no worker of {pool} is there: name its queues with -q")
    given = _settings(_of_workers(workers), settings)
    ahead = horizon(given, Memory())
    answer = bridge.scaling([{"key": pool, "queues": list(queues), "horizon": ahead}])
    snapshot = _snapshot(answer, pool, workers)
    decision, _ = decide(given, snapshot, Memory())
    work = [dataclasses.asdict(each) for each in snapshot.work or ()]
    if as_json:
        print_json({"pool": pool, "pods": len(workers), **dataclasses.asdict(decision), "work": work})
        return
    say(f"{pool}: {len(workers)} pods are there, {decision.desired} should take work")
    say(f"  why: {decision.reason}")
    if decision.limited_by:
        say(f"  limited by {decision.limited_by}")
    columns = ("function", "ready", "due", "running", "service")
    if work:
        print_table(columns, [[_shown(row[column]) for column in columns] for row in work])


def _of_workers(workers: list[dict[str, Any]]) -> Settings | None:
    """The settings that the workers of a pool report, or None when they report no concurrency."""
    slots = max((worker["concurrency"] for worker in workers), default=0)
    return Settings(concurrency=slots) if slots else None


def _shown(value: Any) -> str:
    return "?" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _work(answer: dict[str, Any], pool: str, workers: list[dict[str, Any]]) -> tuple[Work, ...]:
    functions = [observations.function_load(row) for row in answer["work"].get(pool, ())]
    known = {name for worker in workers for name in (*worker["tasks"], *worker["workflows"])}
    return observations.work(functions, observations.services(answer["service"]), answer["pools"][pool]["ready"], known)


def _snapshot(answer: dict[str, Any], pool: str, workers: list[dict[str, Any]]) -> Snapshot:
    """A pod for each worker."""
    pods = tuple(
        Pod(
            worker["id"],
            "draining" if worker["draining"] else "working",
            answer["drains"].get(worker["id"], {}).get("attempts", 0),
            worker["draining"] and not worker["running"],
        )
        for worker in workers
    )
    oldest = answer["pools"][pool]["oldest_ready_seconds"]
    return Snapshot(0.0, _work(answer, pool, workers), pods, len(pods), oldest)
