"""The mark of a workflow's event loop: to find the active run, clients need not import the loop itself."""

from __future__ import annotations

import asyncio


class ActiveLoop(asyncio.AbstractEventLoop):
    """A loop that runs a workflow. `host`: its run, or None once the run has ended."""

    host: object | None
