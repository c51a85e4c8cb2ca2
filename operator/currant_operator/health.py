"""/healthz, /readyz and /metrics, on one port."""

from __future__ import annotations

import socket
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from currant_operator import metrics


class HealthServer:
    """The pages. `alive` and `ready` return "" when all is well, else the reason why not.

    The event loop that reconciles also serves the pages. If it hangs, no probe gets an answer, so that the pod is
    restarted.
    """

    def __init__(self, port: int, alive: Callable[[], str], ready: Callable[[], str]) -> None:
        self._port, self._alive, self._ready = port, alive, ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port. Raises `OSError` when it is taken."""
        app = web.Application()
        app.router.add_get("/healthz", lambda _: _verdict(self._alive()))
        app.router.add_get("/readyz", lambda _: _verdict(self._ready()))
        app.router.add_get("/metrics", _metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        listener = _listen(self._port)
        await web.SockSite(self._runner, listener).start()
        port: int = listener.getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()


def _listen(port: int) -> socket.socket:
    """One socket for both families, so that port 0 is one port."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _verdict(why_not: str) -> web.Response:
    return web.Response(text=(why_not or "ok") + "\n", status=503 if why_not else 200)
