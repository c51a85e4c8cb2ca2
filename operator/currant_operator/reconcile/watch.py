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

import aiohttp
import kopf

from currant_operator import metrics
from currant_operator.cluster.api import PAGE, REQUEST_TIMEOUT, Api, wait_for_kinds
from currant_operator.cluster.login import login, open_session
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Kind
from currant_operator.settings import Settings

_log = logging.getLogger(__name__)

Body = dict[str, Any]

END_LIMIT = 5.0  # seconds that kopf's tasks have to end


class Sink(Protocol):
    """Where changes go; called on kopf's thread."""

    def changed(self, kind: Kind, listed: bool, body: Body) -> None:
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
    """The thread of the watches. `start` and `stop` it from another thread."""

    def __init__(self, settings: Settings, sink: Sink) -> None:
        self._settings = settings
        self._sink = sink
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._sessions: list[aiohttp.ClientSession] = []

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
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self._watch())
            except Exception as error:
                _log.warning("the watches ended (%s: %s) and are made again", type(error).__name__, error)
            finally:
                loop.close()
            if self._stop.is_set():
                return
            metrics.WATCH_RESTARTS.inc()
            pause = 1.0 if time.monotonic() - began > 60 else min(30.0, pause * 2)
            self._stop.wait(pause)

    async def _watch(self) -> None:
        """Watch until `stop`; raises what ended one of the watches."""
        # kopf discovers once what there is to watch: it must not begin while the custom resources are not installed.
        client = Api(await login())
        try:
            await wait_for_kinds(client, lambda why: _log.warning("waiting: %s", why))
        finally:
            await client.close()
        namespace = self._settings.watch_namespace
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=namespace is None,
            namespaces=[] if namespace is None else [namespace],
            stop_flag=self._stop,
        )
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._abandon()
        for task in done:
            task.result()

    async def _abandon(self) -> None:
        """End everything on this loop. kopf's own end waits for watches that wait for a login that never comes."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=END_LIMIT)
        for session in self._sessions:
            await session.close()
        self._sessions.clear()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
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
                self._sink.changed(kind, event["type"] is None, body)

        return handle

    def _kopf_settings(self) -> kopf.OperatorSettings:
        given = self._settings
        settings = kopf.OperatorSettings()
        # Looking for new kinds and namespaces would need rights of its own; the kinds are waited for before the start.
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.process.ultimate_exiting_timeout = None
        settings.watching.server_timeout = int(given.watch_timeout)
        # A connection that broke without notice: the server will not end that watch.
        settings.watching.client_timeout = given.watch_timeout + 30
        settings.watching.inactivity_timeout = given.watch_inactivity
        settings.watching.connect_timeout = REQUEST_TIMEOUT
        settings.watching.reconnect_backoff = 0.5
        settings.watching.chunk_size = PAGE
        settings.networking.request_timeout = 60
        settings.networking.connect_timeout = REQUEST_TIMEOUT
        settings.networking.error_backoffs = _Endless()
        # Objects settle quickly here; kopf's task for each need not linger.
        settings.queueing.idle_timeout = 0.1
        for kind in kinds.WATCHED:
            if kind.selector:
                settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
        return settings

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        configuration = await login()
        self._sessions = [session for session in self._sessions if not session.closed]
        self._sessions.append(await open_session(configuration))
        return kopf.AiohttpSession(server=configuration.host, aiohttp_session=self._sessions[-1])
