"""Observations of a pool, as Postgres returns them (`RustBridge.scaling`), turned into the work to decide by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from currant.scaling.model import Work

WORKFLOW_SERVICE = 0.05
"""Seconds of a slot that a ready workflow needs: it runs until it waits for something."""

COUNTED = 2000
"""How many ready executions of a queue are counted by function. Of a longer queue, they are a sample."""

CONNECTIONS_PER_POD = 5
"""Connections that a worker may have open: that of its writer, which also listens, and the four of its client."""

Service = Mapping[str, tuple[int, float]]
"""By function, how many attempts ended lately, and the seconds that they took."""


@dataclass(frozen=True, slots=True)
class FunctionLoad:
    """The executions of one function in a pool's queues; `kind` is `task` or `workflow`.

    `ready`: those among the first `COUNTED` ready executions of each queue. `spare`: more work that could start now,
    though no row of it is ready yet: overdue (no worker was there to make it ready), or run by a dead worker.
    `due`: those that become ready within the next seconds, up to `scaling.horizon()`.
    `seconds`: for how long the running attempts have run, in total.
    """

    function: str
    kind: str = "task"
    ready: int = 0
    spare: int = 0
    due: int = 0
    running: int = 0
    seconds: float = 0.0


def function_load(row: Mapping[str, Any]) -> FunctionLoad:
    """A row of `work`."""
    names = FunctionLoad.__dataclass_fields__
    return FunctionLoad(**{name: value for name, value in row.items() if name in names and value is not None})


def services(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    """`service`, by function."""
    return {function: (int(row["ended"]), float(row["seconds"])) for function, row in rows.items()}


def work(functions: Iterable[FunctionLoad], service: Service, ready: int, known: Set[str]) -> tuple[Work, ...]:
    """The work by function.

    `ready`: the number of all ready executions. `known`: the functions that live workers know; other functions are
    left out, because more such workers would not run them either. An empty `known` (no worker is alive) leaves out
    none.
    """
    functions = tuple(functions)
    counted = sum(each.ready for each in functions)
    # A queue longer than `COUNTED` counts as if the rest of it were like its first executions.
    factor = ready / counted if counted >= COUNTED and ready > counted else 1.0
    found = [_work(each, factor, service) for each in functions if not known or each.function in known]
    uncounted = ready - counted if counted < COUNTED else 0
    if uncounted > 0:  # executions that have got a permit, and poison suspects
        found.append(Work("", ready=uncounted))
    return tuple(found)


def _work(each: FunctionLoad, factor: float, service: Service) -> Work:
    ready = round(each.ready * factor) + each.spare
    if each.kind == "workflow":
        return Work(each.function, ready, each.due, 0, WORKFLOW_SERVICE)
    ended, seconds = service.get(each.function, (0, 0.0))
    # The time of running attempts counts too, so that long attempts show before the first of them has ended.
    spent = (seconds + each.seconds) / ended if ended else None
    age = each.seconds / each.running if each.running else 0.0
    return Work(each.function, ready, each.due, each.running, spent, age)
