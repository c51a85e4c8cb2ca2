"""kopf as the watch runtime, and nothing more: its `on.event` handlers hand every change to a callback.

kopf has a thread and an event loop of its own: it cancels every task of its loop when it ends, and installs signal
handlers on the main thread. When it ends by an error it is started again. It keeps nothing in the cluster (no
annotations, no finalizers, no peering) and posts no events.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import kopf

from currant_operator import api, kinds, metrics
from currant_operator.kinds import Kind
from currant_operator.settings import Settings

_log = logging.getLogger(__name__)

Body = dict[str, Any]


class Sink(Protocol):
    """Where changes go; called on kopf's thread."""

    def seen(self, kind: Kind, listed: bool, body: Body) -> None:
        """An object as it is now; `listed`: a watch (again) began with a listing, so deletions may have been missed."""

    def deleted(self, kind: Kind, body: Body) -> None:
        """An object that is gone."""


class _Endless:
    """Pauses in seconds between tries of a request; they never end, so an API server that is away is waited for."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 3, 5)
        while True:
            yield 10


class Watcher:
    """The thread. `start` and `stop` it from another one."""

    def __init__(self, settings: Settings, sink: Sink) -> None:
        self._settings = settings
        self._sink = sink
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.up_since: float | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to watch; returns at once."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the watches, waiting for at most `timeout` seconds."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        pause = 1.0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                asyncio.run(self._operator())
            except Exception as error:
                _log.warning("the watches ended (%s: %s) and are made again", type(error).__name__, error)
            if self._stop.is_set():
                return
            metrics.WATCH_RESTARTS.inc()
            pause = 1.0 if time.monotonic() - began > 60 else min(30.0, pause * 2)
            self._stop.wait(pause)

    async def _operator(self) -> None:
        # kopf looks once for what there is to watch: where the custom resources have been removed, it must not begin.
        client = api.Api(api.login())
        try:
            await api.wait_for_kinds(client, lambda why: _log.warning("waiting: %s", why))
        finally:
            await client.close()
        namespace = self._settings.watch_namespace
        await kopf.operator(
            registry=self._registry(),
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=namespace is None,
            namespaces=[] if namespace is None else [namespace],
            stop_flag=self._stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        for kind in kinds.WATCHED:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        """A handler for each kind; of kopf's many arguments only the raw event is used."""
        counter = metrics.WATCH_EVENTS.labels(kind.name)

        async def handle(event: Any, **_: Any) -> None:
            counter.inc()
            body = {"apiVersion": kind.api_version, "kind": kind.name, **event["object"]}
            if event["type"] == "DELETED":
                self._sink.deleted(kind, body)
            else:
                self._sink.seen(kind, event["type"] is None, body)

        return handle

    def _kopf_settings(self) -> kopf.OperatorSettings:
        given = self._settings
        settings = kopf.OperatorSettings()
        # Looking for new kinds and namespaces would need rights of its own; the kinds are waited for before the start.
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.process.ultimate_exiting_timeout = None
        settings.watching.server_timeout = int(given.watch_timeout)
        # A connection that went dead in silence: the server will not end that watch.
        settings.watching.client_timeout = given.watch_timeout + 30
        settings.watching.inactivity_timeout = given.watch_inactivity
        settings.watching.connect_timeout = api.REQUEST_TIMEOUT
        settings.watching.reconnect_backoff = 0.5
        settings.watching.chunk_size = api.PAGE
        settings.networking.request_timeout = 60
        settings.networking.connect_timeout = api.REQUEST_TIMEOUT
        settings.networking.error_backoffs = _Endless()
        # Objects settle quickly here; kopf's task for each need not linger.
        settings.queueing.idle_timeout = 0.1
        for kind in kinds.WATCHED:
            if kind.selector:
                settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
        return settings


async def _login(**_: Any) -> kopf.AiohttpSession:
    info = api.login()
    return kopf.AiohttpSession(server=info.server, aiohttp_session=api.open_session(info))
