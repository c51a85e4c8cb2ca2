"""The data that the tasks and the workflows of a worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from currant.decorators import Function
from currant.rust_bridge import Engine
from currant.tracing import Tracing


@dataclass
class Host:
    """The worker, for its parts. They do not know the worker itself."""

    name: str
    engine: Engine
    loop: asyncio.AbstractEventLoop
    functions: Mapping[str, Function[..., Any]]
    tracing: Tracing | None
    note_end: Callable[[], None]  # to be called when a task or a workflow has left the memory
    stop: Callable[[str], None]  # to be called with the reason when the worker cannot go on
    closed: bool = False  # whether the worker no longer answers the engine
