"""One Postgres, as the operator uses it.

A reconcile awaits nothing here. It says what it wants (`use`, `define`, `undefine`), reads what is known (`state`,
`queue`, `workers`, `stats` ...), and is called again (`notify`) when that has changed: a database that hangs delays
nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from currant.errors import CurrantError, DatabaseUnavailable, SchemaMismatch
from currant_operator import metrics
from currant_operator.backoff import Backoff
from currant_operator.database.bridge import Bridge, Notify, Row, Times
from currant_operator.database.connection import Connection
from currant_operator.database.definitions import Definitions
from currant_operator.database.fleet import Fleet
from currant_operator.database.pod_messages import PodMessages
from currant_operator.database.work_listener import WorkListener
from currant_operator.plan.kinds import Key
from currant_operator.plan.observations import (
    Applied,
    DatabaseMigrating,
    DatabaseReachable,
    DatabaseState,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    PoolLoad,
    QueueStats,
    SchemaTooNew,
    Worker,
    WorkflowStats,
)

_log = logging.getLogger(__name__)

GATHER = 0.05  # seconds in which definitions are gathered into one transaction
SLOW_MIGRATION = 2.0  # seconds after which a migration is shown in the state
ACKNOWLEDGED = 0.5  # seconds from a request to drain to the fetch that shows whether workers drain


class Database:
    """One database. `run` does the work; everything else only reads or notes, and must be called on its event loop."""

    def __init__(
        self,
        id: str,
        open_bridge: Callable[[], Bridge],
        times: Times,
        notify: Notify,
        served_changed: Callable[[Key], None],
        pooled: bool = False,
        shown_as: str = "",
    ) -> None:
        """`pooled`: the URL leads to a pooler, so that what the server has left of connections says nothing.

        `shown_as`: its name in metrics, which holds no secret.
        """
        self.id = id
        self.state: DatabaseState = DatabaseUnknown()
        self._times, self._notify, self._served_changed = times, notify, served_changed
        self._series = metrics.DatabaseSeries(shown_as or id)
        self._connection = Connection(id, open_bridge)
        self._fleet = Fleet(notify, served_changed, pooled)
        self._wake = asyncio.Event()
        self._definitions = Definitions(notify, self._wake.set)
        self._messages = PodMessages()
        self._work_listener = WorkListener(open_bridge, self.fetch_now)
        self._backoff = Backoff(1.0, times.backoff)
        self._failures = 0
        self._logged: set[type] = set()  # the states and errors that were logged since it was reachable
        self._migrated = False
        self._fleet_due = self._series_due = 0.0  # monotonic seconds

    # Answers that a reconcile reads

    @property
    def pools(self) -> dict[Key, tuple[str, ...]]:
        """The pools that use the database, each with its queues."""
        return self._fleet.pools

    def queue(self, pool: Key) -> QueueStats | None:
        """The counts of a pool's queues, or None if not known."""
        return self._fleet.queue(pool)

    def workers(self, pool: Key) -> tuple[Worker, ...] | None:
        """The live workers of a pool, or None if not known."""
        return self._fleet.workers(pool)

    def incompatible(self, pool: Key) -> dict[str, int] | None:
        """The incompatible runs in a pool's queues, by function, or None if not known."""
        return self._fleet.incompatible(pool)

    def load(self, pool: Key) -> PoolLoad | None:
        """The load by which a pool is sized, or None if not known."""
        return self._fleet.load(pool)

    def definitions(self, key: Key, function: str) -> tuple[Row, ...] | None:
        """The definitions that are a Workflow's, or are of its function, or None if not known."""
        return self._definitions.of(key, function)

    def stats(self, function: str) -> WorkflowStats | None:
        """The runs of a function, or None before they are counted."""
        return self._definitions.stats(function)

    # Wishes of a reconcile

    def define(self, key: Key, item: Row) -> Applied | None:
        """Have a definition written; returns the database's answer to exactly this item, or None before it is asked."""
        return self._definitions.define(key, item)

    def undefine(self, key: Key) -> bool:
        """Have a Workflow's definition removed. Returns whether it is gone."""
        return self._definitions.undefine(key)

    def forget(self, key: Key) -> None:
        """Forget a Workflow; its definition, if it has one, stays."""
        self._definitions.forget(key)

    def defines(self, key: Key) -> bool:
        """Whether the database may have the definition that this operator wrote for a Workflow."""
        return self._definitions.defines(key)

    def remember(self, key: Key) -> None:
        """Note that the database may have a Workflow's definition, because the pool that noted it is gone."""
        self._definitions.remember(key)

    @property
    def busy(self) -> bool:
        """Whether a definition waits for its removal, from a database that answers."""
        return self._definitions.removing and not isinstance(self.state, DatabaseUnreachable)

    def end_pod(self, uid: str, reason: str) -> None:
        """Have the workers of a pod that has ended declared dead, with the reason."""
        self._messages.end_pod(uid, reason)
        self._wake.set()

    def end_container(self, uid: str, reason: str, ended_at: int) -> None:
        """Have the worker of a container that has ended declared dead, with the reason and the time (microseconds)."""
        self._messages.end_container(uid, reason, ended_at)
        self._wake.set()

    def ask_to_drain(self, asked: Mapping[str, bool]) -> None:
        """Have the workers of pods, by UID, asked to claim nothing more, or to go on."""
        if asked:
            self._messages.ask_to_drain(asked)
            self._wake.set()

    def fetch_now(self) -> None:
        """Fetch queues and workers now, whenever that is due."""
        self._fleet_due = 0.0
        self._wake.set()

    def recheck(self) -> None:
        """Read the definitions again, in case somebody else has changed one."""
        self._definitions.list_due = True
        self._wake.set()

    def use(self, pool: Key, queues: Sequence[str], horizon: float | None = None) -> None:
        """Count a pool's queues from now on; `horizon`: seconds ahead that count, where it is sized by them."""
        if self._fleet.use(pool, queues, horizon):
            self.fetch_now()

    def leave(self, pool: Key) -> None:
        """Stop counting a pool's queues."""
        self._fleet.leave(pool)

    # The work

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                try:
                    pause = await self._turn()
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    pause = self._failed(error)
                    await asyncio.sleep(pause)
                    continue
                await self._rest(pause)
        finally:
            self._series.forget()
            self._work_listener.stop()
            self._connection.abandon()

    async def _rest(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return
        # Requests that come within a moment go into one transaction.
        await asyncio.sleep(GATHER)

    async def _turn(self) -> float:
        """Do what is due; returns the seconds until something is due again."""
        self._wake.clear()
        if not self._migrated:
            await self._migrate()
        definitions, connection = self._definitions, self._connection
        if definitions.list_due:
            await definitions.list(connection)
        await self._messages.send_ends(connection)
        if await self._messages.send_drains(connection):
            self._fleet_due = min(self._fleet_due, time.monotonic() + ACKNOWLEDGED)
        await definitions.remove(connection)
        await definitions.apply(connection)
        now = time.monotonic()
        if now >= self._fleet_due and self._fleet:
            self._fleet_due = now + self._times.fleet
            await self._fetch_fleet()
        if now >= definitions.count_due and definitions:
            definitions.count_due = now + self._times.stats
            await definitions.count(connection)
        if now >= self._series_due and self._fleet:
            self._series_due = now + self._times.stats
            await self._show_series()
        self._failures = 0
        due = [self._fleet_due, self._series_due] * bool(self._fleet) + [definitions.count_due] * bool(definitions)
        return max(0.01, min(due, default=now + 60) - time.monotonic())

    async def _migrate(self) -> None:
        # Mostly there is nothing to migrate: a restart of the operator must not turn every pool unready and back.
        slow = asyncio.get_running_loop().call_later(SLOW_MIGRATION, self._is_migrating)
        try:
            version = await self._connection.call("migrate", lambda bridge: bridge.migrate())
        finally:
            slow.cancel()
        self._migrated = True
        if self._logged:
            self._logged.clear()
            _log.info("database %s is reachable again", self.id)
        # The URL may lead to another database now, or to an earlier copy of this one.
        self._definitions.list_due = True
        await self._definitions.list(self._connection)
        self._become(DatabaseReachable(version))

    def _is_migrating(self) -> None:
        if isinstance(self.state, DatabaseUnknown):
            self._become(DatabaseMigrating())

    async def _fetch_fleet(self) -> None:
        version = await self._fleet.fetch(self._connection)
        if isinstance(self.state, DatabaseReachable) and version not in (0, self.state.schema_version):
            # Somebody has migrated the database, perhaps to a schema that this operator cannot use.
            # Only a new connection finds out.
            self._connection.abandon()
            self._migrated = False
            self._fleet_due = 0.0
        self._work_listener.listen_on(self._fleet.idle_queues())

    async def _show_series(self) -> None:
        """Bring the metrics of queues and schedules up to date."""
        pools = self._fleet.pools
        names = sorted({queue for queues in pools.values() for queue in queues})
        asked = [{"key": name, "queues": [name]} for name in names]
        fleet = await self._connection.call("fleet", lambda bridge: bridge.fleet(asked))
        schedules = await self._connection.call("list_schedules", lambda bridge: bridge.list_schedules())
        self._series.show_queues(fleet["pools"], pools)
        self._series.show_schedules(schedules)

    def _failed(self, error: Exception) -> float:
        """Note a failure and log it once; returns the seconds to wait."""
        message = " ".join((str(error) or type(error).__name__).split())
        if not isinstance(error, CurrantError | OSError) and type(error) not in self._logged:
            # A mistake of ours: the status calls it an outage, the log has it whole, once.
            self._logged.add(type(error))
            _log.error("database %s", self.id, exc_info=error)
        state = self._state_after(error, message)
        if type(state) not in self._logged:  # once until it is reachable again, however its failures take turns
            self._logged.add(type(state))
            _log.warning("database %s: %s: %s", self.id, type(state).__name__, message)
            if not isinstance(error, CurrantError):
                _log.debug("database %s", self.id, exc_info=error)
        self._become(state)
        self._work_listener.listen_on(())
        # Earlier answers are no longer true, and the schema is checked again after an outage.
        self._migrated = False
        self._fleet.forget_answers()
        pause = self._backoff.delay(self._failures)
        self._failures += 1
        return pause

    def _state_after(self, error: Exception, message: str) -> DatabaseState:
        if isinstance(error, SchemaMismatch):
            return SchemaTooNew(message)
        if self._migrated or isinstance(error, DatabaseUnavailable) or not isinstance(error, CurrantError):
            return DatabaseUnreachable(message)
        return MigrationFailed(message)

    def _become(self, state: DatabaseState) -> None:
        if state == self.state:
            return
        self.state = state
        metrics.DATABASES.set_state(self.id, type(state).__name__)
        for pool in self._fleet.pools:
            self._notify(pool)
            self._served_changed(pool)
