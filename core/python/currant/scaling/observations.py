"""What Postgres tells of a pool (`RustBridge.scaling`), as the work that a decision is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from currant.scaling.model import Work

WORKFLOW_SERVICE = 0.05
"""Seconds of a slot that a workflow which is ready asks for: it runs until it waits for something."""

COUNTED = 2000
"""How many of a queue `FunctionLoad.ready` has at most; of more it gives the shares."""

CONNECTIONS_PER_POD = 6
"""Connections that a worker may have open: its writer's, its listener's, those of its clients."""

Service = Mapping[str, tuple[int, float]]
"""By function, how many attempts ended lately, and the seconds that they took."""


@dataclass(frozen=True, slots=True)
class FunctionLoad:
    """The executions of one function in a pool's queues; `kind` is `task` or `workflow`.

    `ready` are those among the first of each queue, `spare` those that are ready too and were not counted there, `due`
    those that will be within the horizon. `seconds`: what the attempts that run have run for, taken together.
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
    """By function. `ready`: all that are, as far as they were counted. `known`: the functions that workers know which
    are there; what none of them knows is left out: more of them would not run it either. No worker, no such knowledge.
    """
    functions = tuple(functions)
    counted = sum(each.ready for each in functions)
    # Beyond what was counted, the first are taken to be like the rest.
    factor = ready / counted if counted >= COUNTED and ready > counted else 1.0
    found = [_work(each, factor, service) for each in functions if not known or each.function in known]
    gated = ready - counted if counted < COUNTED else 0
    if gated > 0:  # those that waited for a place and have one now, or run alone
        found.append(Work("", ready=gated))
    return tuple(found)


def _work(each: FunctionLoad, factor: float, service: Service) -> Work:
    ready = round(each.ready * factor) + each.spare
    if each.kind == "workflow":
        return Work(each.function, ready, each.due, 0, WORKFLOW_SERVICE)
    ended, seconds = service.get(each.function, (0, 0.0))
    # All time that was spent, by what came of it: so that those which take long count before they have ended.
    spent = (seconds + each.seconds) / ended if ended else None
    age = each.seconds / each.running if each.running else 0.0
    return Work(each.function, ready, each.due, each.running, spent, age)
