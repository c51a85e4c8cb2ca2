"""Every database in use: one `Database` for each URL, shared by the pools whose secrets have it.

A URL has a password: it is kept in memory, and never logged; logs and metrics know a database by a salted digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence

from currant_operator import metrics
from currant_operator.database.bridge import Bridge, Notify, Times
from currant_operator.database.database import Database
from currant_operator.plan import database_url
from currant_operator.plan.kinds import Key

_SALT = secrets.token_bytes(16)


class Databases:
    """Every database in use, and which pool and which Workflow uses which. Use it on one event loop."""

    def __init__(
        self,
        open_bridge: Callable[[str], Bridge],
        times: Times,
        notify: Notify,
        served_changed: Callable[[Key], None],
    ) -> None:
        self._open_bridge, self._times, self._notify, self._served_changed = open_bridge, times, notify, served_changed
        self._databases: dict[str, tuple[Database, asyncio.Task[None]]] = {}
        self._of_pool: dict[Key, Database] = {}
        self._urls: dict[Key, str] = {}

    def use(self, pool: Key, url: str, queues: Sequence[str], horizon: float | None = None) -> Database:
        """The database of a pool whose secret holds this URL. Raises `database_url.WrongUrl`."""
        if self._urls.get(pool) != url:
            database_url.check_url(url)
            self.release(pool)
            self._urls[pool] = url
            self._of_pool[pool] = self._get(url)
        database = self._of_pool[pool]
        database.use(pool, queues, horizon)
        return database

    def of(self, pool: Key) -> Database | None:
        """The database that a pool uses, or used last, or None if it is not known."""
        return self._of_pool.get(pool)

    def pools(self) -> list[Key]:
        """The pools whose database is remembered."""
        return list(self._of_pool)

    def defining(self, workflow: Key) -> list[Database]:
        """The databases that have a Workflow's definition, as far as is known."""
        return [database for database, _ in self._databases.values() if database.defines(workflow)]

    def leave(self, pool: Key) -> None:
        """Note that a pool is gone; its database is still remembered, for the Workflows that refer to it."""
        database = self._of_pool.get(pool)
        if database is not None:
            database.leave(pool)

    def release(self, pool: Key) -> None:
        """Note that a pool is gone or has no URL now, and that nobody asks for its database any more."""
        self.leave(pool)
        self._urls.pop(pool, None)
        self._of_pool.pop(pool, None)
        self._sweep()

    def forget(self, workflow: Key) -> None:
        """Note that a Workflow is gone."""
        for database, _ in self._databases.values():
            database.forget(workflow)
        self._sweep()

    def recheck(self) -> None:
        """Read every definition again."""
        for database, _ in self._databases.values():
            database.recheck()
        self._sweep()

    def _sweep(self) -> None:
        """Close the databases that nobody uses."""
        used = set(self._of_pool.values())
        for url, (database, task) in list(self._databases.items()):
            if database not in used and not database.busy:
                del self._databases[url]
                metrics.DATABASES.set_state(database.id, None)
                task.cancel()

    async def close(self) -> None:
        """End all work on databases; calls that hang are left behind."""
        tasks = []
        for database, task in self._databases.values():
            metrics.DATABASES.set_state(database.id, None)
            task.cancel()
            tasks.append(task)
        self._databases.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _get(self, url: str) -> Database:
        known = self._databases.get(url)
        if known is None:
            waiting = database_url.with_connect_timeout(url)
            database = Database(
                _digest(url),
                lambda: self._open_bridge(waiting),
                self._times,
                self._notify,
                self._served_changed,
                "pgbouncer=true" in url,
                database_url.shown_as(url),
            )
            known = self._databases[url] = (
                database,
                asyncio.create_task(database.run(), name=f"database {database.id}"),
            )
        return known[0]


def _digest(url: str) -> str:
    """The name of a database in logs. It is salted: it says nothing of the URL, and differs from process to process."""
    return hashlib.blake2b(url.encode(), key=_SALT, digest_size=4).hexdigest()
