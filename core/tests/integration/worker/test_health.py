"""The port for probes and scrapes."""

from __future__ import annotations

import socket
from collections.abc import Callable

from apps.outage import step
from currant import Worker
from support import eventually_async, fetch

LocalWorker = Callable[..., Worker]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_worker_says_how_it_is_and_what_it_has_done(local_worker: LocalWorker, port: int) -> None:
    async with local_worker("outage", step, WORKFLOWS_HTTP_PORT=str(port)):
        assert await fetch(port, "/healthz") == (200, "ok\n")

        async def ready() -> bool:
            return await fetch(port, "/readyz") == (200, "ok\n")

        await eventually_async(ready)
        status, text = await fetch(port, "/metrics")
        assert status == 200
        assert "currant_worker_slots 100\n" in text
        assert text.endswith("# EOF\n")
        assert (await fetch(port, "/secrets"))[0] == 404


async def test_the_port_is_free_again_when_the_worker_has_ended(local_worker: LocalWorker, port: int) -> None:
    for _ in range(2):
        async with local_worker("outage", step, WORKFLOWS_HTTP_PORT=str(port)):
            assert (await fetch(port, "/healthz"))[0] == 200
        await eventually_async(lambda: is_free(port))
