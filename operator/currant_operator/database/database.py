"""One Postgres, as the operator sees it, with a thread of its own: verbs of the core block, and a database may hang.

Nothing here is awaited by a reconcile. It says what it wants (`use`, `define`, `undefine`), reads what is known
(`state`, `queue`, `workers`, `stats` ...), and is called again (`notify`) when that has changed: a database that hangs
holds up nothing but itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from currant.errors import CurrantError, DatabaseUnavailable, SchemaMismatch
from currant_operator import metrics
from currant_operator.backoff import Backoff
from currant_operator.database.database_answers import (
    Row,
    numbers_shown,
    pool_load,
    queue_stats,
    shown,
    worker,
    workflow_stats,
)
from currant_operator.database.work_listener import Sleeper
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key
from currant_operator.plan.observed import (
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

T = TypeVar("T")

GATHER = 0.05  # seconds in which definitions are gathered into one transaction
CALL_LIMIT = 120.0  # seconds after which a call is given up, with its thread and its connections
NUMBERS_INTERVAL = 10.0  # seconds between two notices that only a pool's numbers have changed
FIRST_COUNT = 2.0  # seconds until the runs of a definition are counted first
SLOW_MIGRATION = 2.0  # seconds after which a migration is told of
ACKNOWLEDGED = 0.5  # seconds after which workers that were asked to drain are looked at again
ASK_AGAIN = 30.0  # seconds after which a definition that was refused may be asked for again


class Bridge(Protocol):
    """The verbs of `currant.rust_bridge.RustBridge` that the operator calls; they block."""

    def close(self) -> None:
        """Close the connections."""

    def migrate(self) -> int:
        """Bring the schema up to date; gives its version."""

    def fleet(self, pools: list[Row]) -> Row:
        """How many executions wait and run in the queues of each entry; `scaling` without what pools are sized by."""

    def list_schedules(self) -> list[Row]:
        """Every schedule, with its times."""

    def scaling(self, pools: list[Row]) -> Row:
        """Queues, live workers and all that pools are sized by, in one statement."""

    def ask_to_drain(self, pod_uids: list[str], drain: bool) -> None:
        """Ask the workers of these pods to take nothing more, or to go on."""

    def end_pods(self, pods: list[tuple[str, str]]) -> None:
        """Declare the workers of these pods, `(uid, reason)`, dead."""

    def end_containers(self, containers: list[tuple[str, str, int]]) -> None:
        """Declare workers dead whose containers, `(pod's uid, reason, when)`, have ended in pods that go on."""

    def wait_for_work(self, queues: list[str], seconds: float) -> bool:
        """Wait until something becomes ready in queues that no worker serves."""

    def apply_definitions(self, items: list[Row]) -> list[Row]:
        """Write definitions; gives an answer for each, in order."""

    def delete_definitions(self, owners: list[str]) -> int:
        """Remove the definitions of these owners."""

    def list_definitions(self) -> list[Row]:
        """Every definition, as it was applied."""

    def definition_stats(self, functions: list[str]) -> dict[str, Row]:
        """Runs and schedule times of each function."""


@dataclass(frozen=True)
class Times:
    """Seconds between two looks at queues and workers, two counts of runs, and the longest pause after a failure."""

    fleet: float = 5.0
    stats: float = 30.0
    backoff: float = 60.0


class Notify(Protocol):
    """Told that something about an object has changed, to be acted on within `delay` seconds."""

    def __call__(self, key: Key, delay: float = 0.0) -> None:
        """See the class."""


@dataclass
class _Request:
    """A definition to be written, and what the database said to it."""

    item: Row
    answer: Applied | None = None
    answered: float = 0.0


@dataclass
class _Pool:
    queues: tuple[str, ...]
    horizon: float | None = None  # None: not sized by the queues
    busy: bool = False
    numbers: tuple[Any, ...] = ()
    due: float = -1e9  # when the last notice of its numbers was due
    served: tuple[Any, ...] = ()
    incompatible: Row = field(default_factory=dict)


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
        self._series = metrics.DatabaseSeries(shown_as or id)
        self._pooled = pooled
        self.state: DatabaseState = DatabaseUnknown()
        self.pools: dict[Key, _Pool] = {}
        self._open = open_bridge
        self._bridge: Bridge | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._times, self._notify, self._served_changed = times, notify, served_changed
        self._backoff = Backoff(1.0, times.backoff)
        self._failures = 0
        self._told: set[type] = set()  # what the log has heard of since it was reachable
        self._migrated = False
        self._queues: dict[str, QueueStats] | None = None
        self._workers: dict[str, tuple[Worker, ...]] | None = None
        self._stats: dict[str, Row] = {}
        self._definitions: dict[str, Row] | None = None  # by owner, as the database has them
        self._requests: dict[Key, _Request] = {}
        self._removals: dict[Key, bool] = {}  # whether it is done
        self._ours: set[Key] = set()
        self._by_function: dict[str, set[str]] = {}
        self._rivals: dict[str, set[Key]] = {}  # function -> Workflows that would have it, but another has
        self._ended_pods: dict[str, str] = {}  # by UID, why
        self._ended_containers: dict[str, tuple[str, int]] = {}  # by UID of the pod, why and when (microseconds)
        self._sleeper = Sleeper(open_bridge, self.look_now)
        self._drains: dict[str, bool] = {}  # by UID, whether its worker is to be asked to drain, or to go on
        self._load: Row | None = None
        self._looked = 0.0
        self._list_due = True
        self._wake = asyncio.Event()
        self._fleet_due = self._stats_due = self._series_due = 0.0

    # What a reconcile asks

    def queue(self, pool: Key) -> QueueStats | None:
        """What waits and runs in a pool's queues; None: not known."""
        return None if self._queues is None else self._queues.get(_name(pool))

    def workers(self, pool: Key) -> tuple[Worker, ...] | None:
        """The live workers of a pool; None: not known."""
        return None if self._workers is None else self._workers.get(_name(pool), ())

    def incompatible(self, pool: Key) -> dict[str, int] | None:
        """By function, the runs in a pool's queues that do not fit the code that is deployed; None: not known."""
        if self._load is None:
            return None
        return dict((self._load.get("incompatible") or {}).get(_name(pool)) or {})

    def load(self, pool: Key) -> PoolLoad | None:
        """What a pool is sized by; None: not known."""
        if self._load is None:
            return None
        return pool_load(self._load, _name(pool), time.monotonic() - self._looked, self._pooled)

    def definitions(self, key: Key, function: str) -> tuple[Row, ...] | None:
        """The definitions that are a Workflow's, or are of its function; None: not known."""
        if self._definitions is None:
            return None
        mine = _name(key)
        owners = self._by_function.get(function, set()) - {mine}
        if owners:
            self._rivals.setdefault(function, set()).add(key)
        return tuple(self._definitions[owner] for owner in (mine, *sorted(owners)) if owner in self._definitions)

    def stats(self, function: str) -> WorkflowStats | None:
        """The runs of a function; None: not counted yet."""
        row = self._stats.get(function)
        return None if row is None else workflow_stats(row)

    def define(self, key: Key, item: Row) -> Applied | None:
        """Have a definition written; gives what the database said to just this one, None: it has not been asked yet."""
        self._removals.pop(key, None)
        known = self._requests.get(key)
        if known is None or known.item != item or _stale(known):
            self._requests[key] = _Request(item)
            self._wake.set()
            return None
        return known.answer

    def undefine(self, key: Key) -> bool:
        """Have a Workflow's definition removed; True: it is gone."""
        self._requests.pop(key, None)
        if self._removals.get(key):
            return True
        self._removals[key] = False
        self._wake.set()
        return False

    def forget(self, key: Key) -> None:
        """Know nothing of a Workflow any more; its definition, if there is one, stays."""
        self._requests.pop(key, None)
        self._removals.pop(key, None)
        self._ours.discard(key)

    def defines(self, key: Key) -> bool:
        """Whether it has, or was to have, the definition of a Workflow of ours: others may have written some, too."""
        return key in self._requests or key in self._ours

    def remember(self, key: Key) -> None:
        """It may have the definition of a Workflow, and the pool that says so is gone."""
        self._ours.add(key)

    @property
    def busy(self) -> bool:
        """Whether a definition waits for its removal, from a database that answers."""
        return not all(self._removals.values()) and not isinstance(self.state, DatabaseUnreachable)

    def end_pod(self, uid: str, reason: str) -> None:
        """Have it told that a pod has ended, and why."""
        self._ended_pods[uid] = reason
        self._wake.set()

    def end_container(self, uid: str, reason: str, ended_at: int) -> None:
        """Have it told that the container of a pod has ended, why, and when (microseconds); the pod goes on."""
        self._ended_containers[uid] = reason, ended_at
        self._wake.set()

    def look_now(self) -> None:
        """Look at the queues, whenever that is due."""
        self._fleet_due = 0.0
        self._wake.set()

    def ask_to_drain(self, asked: Mapping[str, bool]) -> None:
        """Have the workers of pods, by UID, asked to take nothing more, or to go on."""
        if asked:
            self._drains.update(asked)
            self._wake.set()

    def recheck(self) -> None:
        """Read the definitions again, in case somebody has changed one behind our back."""
        self._list_due = True
        self._wake.set()

    def use(self, pool: Key, queues: Sequence[str], horizon: float | None = None) -> None:
        """Look after a pool's queues from now on; `horizon`: seconds ahead that count, where it is sized by them."""
        known = self.pools.get(pool)
        if known is not None:
            known.horizon = horizon
        if known is not None and known.queues == tuple(queues):
            return
        if known is None:
            self.pools[pool] = _Pool(tuple(queues), horizon)
        else:
            known.queues = tuple(queues)
        self.look_now()

    # The work

    async def run(self) -> None:
        """Look after the database until cancelled."""
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
            self._sleeper.stop()
            self._abandon()

    async def _rest(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return
        # What comes within a moment goes in one transaction.
        await asyncio.sleep(GATHER)

    async def _turn(self) -> float:
        """Do what is due; gives the seconds until something is due again."""
        self._wake.clear()
        if not self._migrated:
            await self._migrate()
        if self._list_due:
            await self._list_definitions()
        await self._end_pods()
        await self._ask_to_drain()
        await self._remove_definitions()
        await self._apply_definitions()
        now = time.monotonic()
        if now >= self._fleet_due and self.pools:
            self._fleet_due = now + self._times.fleet
            await self._look_at_fleet()
        if now >= self._stats_due and self._definitions:
            self._stats_due = now + self._times.stats
            await self._count_runs()
        if now >= self._series_due and self.pools:
            self._series_due = now + self._times.stats
            await self._show_series()
        self._failures = 0
        due = [self._fleet_due, self._series_due] * bool(self.pools) + [self._stats_due] * bool(self._definitions)
        return max(0.01, min(due, default=now + 60) - time.monotonic())

    async def _migrate(self) -> None:
        # Mostly there is nothing to migrate: who restarts the operator must not see every pool turn unready and back.
        slow = asyncio.get_running_loop().call_later(SLOW_MIGRATION, self._is_migrating)
        try:
            version = await self._call("migrate", lambda bridge: bridge.migrate())
        finally:
            slow.cancel()
        self._migrated = True
        if self._told:
            self._told.clear()
            _log.info("database %s is reachable again", self.id)
        # It may be another database, or an earlier copy of this one, that is reached now.
        self._list_due = True
        await self._list_definitions()
        self._become(DatabaseReachable(version))

    def _is_migrating(self) -> None:
        if isinstance(self.state, DatabaseUnknown):
            self._become(DatabaseMigrating())

    async def _list_definitions(self) -> None:
        rows = await self._call("list_definitions", lambda bridge: bridge.list_definitions())
        self._list_due = False
        before, self._definitions = self._definitions, {str(row["owner"]): row for row in rows}
        self._index_definitions()
        if before is None:
            return
        for owner in before.keys() | self._definitions.keys():
            if before.get(owner) != self._definitions.get(owner):
                key = _workflow(owner)
                self._requests.pop(key, None)
                self._notify(key)
                if owner not in self._definitions:
                    self._make_way(str(before[owner]["function"]))

    async def _end_pods(self) -> None:
        if self._ended_pods:
            ended = sorted(self._ended_pods.items())
            await self._call("end_pods", lambda bridge: bridge.end_pods(ended))
            for uid, _ in ended:
                self._ended_pods.pop(uid, None)
        if self._ended_containers:
            containers = [(uid, *end) for uid, end in sorted(self._ended_containers.items())]
            await self._call("end_containers", lambda bridge: bridge.end_containers(containers))
            for uid, reason, ended_at in containers:
                if self._ended_containers.get(uid) == (reason, ended_at):
                    del self._ended_containers[uid]

    async def _ask_to_drain(self) -> None:
        for drain in (False, True):
            uids = sorted(uid for uid, asked in self._drains.items() if asked is drain)
            if uids:
                await self._call("ask_to_drain", partial(_ask_to_drain, uids, drain))
                for uid in uids:
                    if self._drains.get(uid) is drain:
                        del self._drains[uid]
                self._fleet_due = min(self._fleet_due, time.monotonic() + ACKNOWLEDGED)

    async def _apply_definitions(self) -> None:
        asked = {key: request for key, request in self._requests.items() if request.answer is None}
        if not asked:
            return
        items = [request.item for request in asked.values()]
        answers = await self._call("apply_definitions", lambda bridge: bridge.apply_definitions(items))
        known = self._definitions if self._definitions is not None else {}
        for (key, request), row in zip(asked.items(), answers, strict=True):
            answer = Applied(row["status"], row.get("owner"), row.get("message") or "")
            request.answer, request.answered = answer, time.monotonic()
            if answer.status in ("applied", "unchanged"):
                known[_name(key)] = request.item
                self._stats_due = min(self._stats_due, time.monotonic() + FIRST_COUNT)
            elif answer.status == "taken":
                self._rivals.setdefault(str(request.item["function"]), set()).add(key)
            self._notify(key)
        self._index_definitions()

    async def _remove_definitions(self) -> None:
        keys = [key for key, done in self._removals.items() if not done]
        if not keys:
            return
        owners = [_name(key) for key in keys]
        await self._call("delete_definitions", lambda bridge: bridge.delete_definitions(owners))
        for key in keys:
            removed = (self._definitions or {}).pop(_name(key), None)
            if key in self._removals:
                self._removals[key] = True
                self._notify(key)
            if removed is not None:
                self._make_way(str(removed["function"]))
        self._index_definitions()

    def _make_way(self, function: str) -> None:
        """A definition is gone: those that were refused its function may have it now."""
        for key in self._rivals.pop(function, set()):
            self._requests.pop(key, None)
            self._notify(key)

    def _index_definitions(self) -> None:
        self._by_function = {}
        for owner, row in (self._definitions or {}).items():
            self._by_function.setdefault(str(row["function"]), set()).add(owner)

    async def _look_at_fleet(self) -> None:
        asked = [
            {"key": _name(pool), "queues": list(known.queues), "horizon": known.horizon or 0.0}
            for pool, known in self.pools.items()
        ]
        fleet = await self._call("scaling", lambda bridge: bridge.scaling(asked))
        self._load, self._looked = fleet, time.monotonic()
        self._queues = {key: queue_stats(row) for key, row in fleet["pools"].items()}
        workers: dict[str, list[Worker]] = {}
        for row in fleet["workers"]:
            workers.setdefault(str(row.get("pool")), []).append(worker(row))
        self._workers = {key: tuple(rows) for key, rows in workers.items()}
        version = int(fleet.get("schema_version") or 0)
        if isinstance(self.state, DatabaseReachable) and version not in (0, self.state.schema_version):
            # Somebody has migrated it: perhaps to a schema that is no longer for us.
            # Only a new connection finds out.
            self._abandon()
            self._migrated = False
            self._fleet_due = 0.0
        for pool, known in list(self.pools.items()):
            self._tell(pool, known)
            metrics.show_incompatible(pool, self.incompatible(pool) or {})
            if (queue := self.queue(pool)) is not None:
                metrics.show_queue(pool, queue.ready, queue.due, queue.running, queue.oldest_ready_seconds)
        self._sleeper.over(self._unserved())

    def _unserved(self) -> tuple[str, ...]:
        """The queues of pools at zero in which nothing is ready: nobody would tell when something becomes so."""
        asleep = (known.queues for pool, known in self.pools.items() if known.horizon is not None and self._idle(pool))
        return tuple(sorted({queue for queues in asleep for queue in queues}))

    def _idle(self, pool: Key) -> bool:
        queue = self.queue(pool)
        return queue is not None and queue.ready == 0 and not self.workers(pool)

    def _tell(self, pool: Key, known: _Pool) -> None:
        """Notify of what has changed in a pool: at once of its workers, and now and then of its numbers."""
        served = tuple(sorted(shown(each) for each in self.workers(pool) or ()))
        numbers = numbers_shown(self.queue(pool))
        busy = bool(self.workers(pool)) or any(numbers[:3])
        if known.horizon is not None and (busy or known.busy):
            self._notify(pool)
        known.busy = busy
        if served != known.served:
            known.served = served
            self._notify(pool)
            self._served_changed(pool)
        incompatible = self.incompatible(pool) or {}
        if incompatible != known.incompatible:
            known.incompatible = incompatible
            self._notify(pool)
            self._served_changed(pool)
        if numbers != known.numbers:
            now = time.monotonic()
            known.numbers, known.due = numbers, max(now, known.due + NUMBERS_INTERVAL)
            self._notify(pool, known.due - now)

    async def _count_runs(self) -> None:
        rows = list((self._definitions or {}).items())
        functions = sorted({str(row["function"]) for _, row in rows})
        stats = await self._call("definition_stats", lambda bridge: bridge.definition_stats(functions))
        before, self._stats = self._stats, stats
        for owner, row in rows:
            if before.get(row["function"]) != stats.get(row["function"]):
                self._notify(_workflow(owner))

    async def _show_series(self) -> None:
        """Bring the metrics of queues and schedules up to date."""
        pools = {pool: known.queues for pool, known in self.pools.items()}
        names = sorted({queue for queues in pools.values() for queue in queues})
        asked = [{"key": name, "queues": [name]} for name in names]
        fleet = await self._call("fleet", lambda bridge: bridge.fleet(asked))
        schedules = await self._call("list_schedules", lambda bridge: bridge.list_schedules())
        self._series.show_queues(fleet["pools"], pools)
        self._series.show_schedules(schedules)

    async def _call(self, verb: str, work: Callable[[Bridge], T]) -> T:
        """Do one blocking verb on the database's own thread."""
        began = time.monotonic()
        outcome = "error"
        try:
            async with asyncio.timeout(CALL_LIMIT):
                result = await asyncio.get_running_loop().run_in_executor(self._executor(), self._with_bridge, work)
            outcome = "ok"
            return result
        except TimeoutError:
            self._abandon()
            raise DatabaseUnavailable(f"the database has not answered for {CALL_LIMIT:g} s") from None
        finally:
            metrics.DATABASE_CALLS.labels(verb, outcome).inc()
            metrics.DATABASE_SECONDS.labels(verb).observe(time.monotonic() - began)

    def _executor(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"database-{self.id}")
        return self._thread

    def _with_bridge(self, work: Callable[[Bridge], T]) -> T:
        if self._bridge is None:
            self._bridge = self._open()
        return work(self._bridge)

    def _abandon(self) -> None:
        """Leave thread and connections behind, which may hang; they close when they can."""
        thread, bridge = self._thread, self._bridge
        self._thread = self._bridge = None
        if thread is not None:
            if bridge is not None:
                thread.submit(bridge.close)
            thread.shutdown(wait=False)

    def _failed(self, error: Exception) -> float:
        """Note why; gives the seconds to wait."""
        message = " ".join((str(error) or type(error).__name__).split())
        if not isinstance(error, CurrantError | OSError) and type(error) not in self._told:
            # A mistake of ours: the status calls it an outage, the log shows it whole, once.
            self._told.add(type(error))
            _log.error("database %s", self.id, exc_info=error)
        state: DatabaseState
        if isinstance(error, SchemaMismatch):
            state = SchemaTooNew(message)
        elif self._migrated or isinstance(error, DatabaseUnavailable) or not isinstance(error, CurrantError):
            state = DatabaseUnreachable(message)
        else:
            state = MigrationFailed(message)
        if type(state) not in self._told:  # once until it is reachable again, however its failures take turns
            self._told.add(type(state))
            _log.warning("database %s: %s: %s", self.id, type(state).__name__, message)
            if not isinstance(error, CurrantError):
                _log.debug("database %s", self.id, exc_info=error)
        self._become(state)
        self._sleeper.over(())
        # What was seen before is no longer known; after an outage the schema is looked at anew.
        self._migrated = False
        self._queues = self._workers = self._load = None
        pause = self._backoff.delay(self._failures)
        self._failures += 1
        return pause

    def _become(self, state: DatabaseState) -> None:
        if state == self.state:
            return
        self.state = state
        metrics.DATABASES.set_state(self.id, type(state).__name__)
        for pool in self.pools:
            self._notify(pool)
            self._served_changed(pool)


def _ask_to_drain(uids: list[str], drain: bool, bridge: Bridge) -> None:
    bridge.ask_to_drain(uids, drain)


def _name(key: Key) -> str:
    return f"{key.namespace}/{key.name}"


def _workflow(owner: str) -> Key:
    return Key(kinds.WORKFLOW.name, *owner.split("/", 1))


def _stale(request: _Request) -> bool:
    """Whether a definition was refused, and that some time ago: the reason may be gone."""
    refused = request.answer is not None and request.answer.status in ("taken", "invalid")
    return refused and time.monotonic() - request.answered > ASK_AGAIN
