"""Items as the engine gives them to a worker, and what the worker answers."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from currant.decorators import Function
from fake_core import Engine
from support import eventually_async as eventually


def task_item(
    function: Function[..., Any] | str, *args: Any, id: str | None = None, lease: int = 1, non_retryable: Any = ()
) -> tuple[Any, ...]:
    name = function if isinstance(function, str) else function.name
    data = json.dumps({"args": args, "kwargs": {}}).encode()
    return ("task", id or str(uuid4()), lease, 2, name, "jobs", None, data, 300.0, list(non_retryable))


def run_item(function: Function[..., Any] | str, *args: Any, id: str, history: Any = ((), ())) -> tuple[Any, ...]:
    name = function if isinstance(function, str) else function.name
    data = json.dumps({"args": args, "kwargs": {}}).encode()
    return ("run", id, 7, 1, name, "jobs", data, 1_000_000, list(history[0]), list(history[1]))


async def answer(engine: Engine, kind: str, id: str) -> tuple[Any, ...]:
    """What the worker answers, without the kind and the id."""
    found = await eventually(lambda: [given[2:] for given in engine.answers if given[:2] == (kind, id)])
    return found[0]


async def do(engine: Engine, item: tuple[Any, ...], kind: str) -> tuple[Any, ...]:
    engine.give(item)
    return await answer(engine, kind, item[1])


def commands_of(engine: Engine, id: str) -> list[list[tuple[Any, ...]]]:
    return [given[3] for given in engine.answers if given[:2] == ("commands", id)]
