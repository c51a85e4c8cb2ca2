"""Postgres, as the operator sees it: one `Database` for each URL, with its own thread, shared by the pools that use it.

Nothing here is awaited by a reconcile. It says what it wants (`use`, `define`, `undefine`), reads what is known
(`state`, `queue`, `workers`, `stats` ...), and is called again (`notify`) when that has changed: a database that hangs
holds up nothing but itself.
A URL holds a password: it is kept in memory, and never logged; logs and metrics know a database by the digest `id`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from currant.errors import CurrantError, DatabaseUnavailable, SchemaMismatch
from currant_operator import kinds, metrics
from currant_operator.kinds import Key
from currant_operator.observed import (
    Applied,
    DatabaseMigrating,
    DatabaseReachable,
    DatabaseState,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    QueueStats,
    SchemaTooNew,
    Worker,
    WorkflowStats,
)
from currant_operator.workqueue import Backoff

_log = logging.getLogger(__name__)

_SALT = secrets.token_bytes(16)

T = TypeVar("T")
Row = dict[str, Any]

GATHER = 0.05  # seconds in which definitions are gathered into one transaction
CALL_LIMIT = 120.0  # seconds after which a call is given up, with its thread and its connections
NUMBERS_INTERVAL = 10.0  # seconds between two notices that only a pool's numbers have changed
ASK_AGAIN = 30.0  # seconds after which a definition that was refused may be asked for again
_COUNTS = ("pending", "running", "suspended", "completed", "failed", "cancelled")
CONNECT_TIMEOUT = 5  # seconds, where the URL does not say


class Bridge(Protocol):
    """The verbs of `currant.rust_bridge.RustBridge` that the operator calls; they block."""

    def close(self) -> None:
        """Close the connections."""

    def migrate(self) -> int:
        """Bring the schema up to date; gives its version."""

    def fleet(self, pools: list[Row]) -> Row:
        """Queues and live workers of all the pools, in one statement."""

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


class WrongUrl(Exception):
    """The URL cannot be one of a database; the message does not hold it."""


@dataclass
class _Request:
    """A definition to be written, and what the database said to it."""

    item: Row
    answer: Applied | None = None
    answered: float = 0.0
    told: bool = False  # whether a reconcile has had the answer


@dataclass
class _Pool:
    queues: tuple[str, ...]
    numbers: tuple[Any, ...] = ()
    due: float = -1e9  # when the last notice of its numbers was due
    served: tuple[Any, ...] = ()


class Database:
    """One database. `run` does the work; everything else only reads or notes, and must be called on its event loop."""

    def __init__(
        self,
        id: str,
        open_bridge: Callable[[], Bridge],
        times: Times,
        notify: Notify,
        served_changed: Callable[[Key], None],
    ) -> None:
        self.id = id
        self.state: DatabaseState = DatabaseUnknown()
        self.pools: dict[Key, _Pool] = {}
        self._open = open_bridge
        self._bridge: Bridge | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._times, self._notify, self._served_changed = times, notify, served_changed
        self._backoff = Backoff(1.0, times.backoff)
        self._failures = 0
        self._migrated = False
        self._queues: dict[str, QueueStats] | None = None
        self._workers: dict[str, tuple[Worker, ...]] | None = None
        self._stats: dict[str, Row] = {}
        self._definitions: dict[str, Row] | None = None  # by owner, as the database has them
        self._requests: dict[Key, _Request] = {}
        self._removals: dict[Key, bool] = {}  # whether it is done
        self._by_function: dict[str, list[str]] = {}
        self._list_due = True
        self._wake = asyncio.Event()
        self._fleet_due = self._stats_due = 0.0

    # What a reconcile asks

    def queue(self, pool: Key) -> QueueStats | None:
        """What waits and runs in a pool's queues; None: not known."""
        return None if self._queues is None else self._queues.get(_name(pool))

    def workers(self, pool: Key) -> tuple[Worker, ...] | None:
        """The live workers of a pool; None: not known."""
        return None if self._workers is None else self._workers.get(_name(pool), ())

    def definitions(self, key: Key, function: str) -> tuple[Row, ...] | None:
        """The definitions that are a Workflow's, or are of its function; None: not known."""
        if self._definitions is None:
            return None
        mine = self._definitions.get(_name(key))
        others = self._by_function.get(function, ())
        return tuple(self._definitions[owner] for owner in {*others, *([_name(key)] if mine else [])})

    def stats(self, function: str) -> WorkflowStats | None:
        """The runs of a function; None: not counted yet."""
        row = self._stats.get(function)
        return None if row is None else _stats(row)

    def define(self, key: Key, item: Row) -> Applied | None:
        """Have a definition written; gives what the database said to just this one, None: it has not been asked yet."""
        self._removals.pop(key, None)
        known = self._requests.get(key)
        if known is None or known.item != item or _stale(known):
            self._requests[key] = _Request(item)
            self._wake.set()
            return None
        return known.answer

    def new_answer(self, key: Key) -> Applied | None:
        """What the database said to a definition, once."""
        known = self._requests.get(key)
        if known is None or known.told:
            return None
        known.told = known.answer is not None
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

    def defines(self, key: Key) -> bool:
        """Whether it has, or was to have, the definition of a Workflow."""
        return key in self._requests or _name(key) in (self._definitions or ())

    @property
    def busy(self) -> bool:
        """Whether a definition waits for its removal."""
        return not all(self._removals.values())

    def recheck(self) -> None:
        """Read the definitions again, in case somebody has changed one behind our back."""
        self._list_due = True
        self._wake.set()

    def use(self, pool: Key, queues: Sequence[str]) -> None:
        """Look after a pool's queues from now on."""
        known = self.pools.get(pool)
        if known is not None and known.queues == tuple(queues):
            return
        if known is None:
            self.pools[pool] = _Pool(tuple(queues))
        else:
            known.queues = tuple(queues)
        self._fleet_due = 0.0
        self._wake.set()

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
        await self._remove_definitions()
        await self._apply_definitions()
        now = time.monotonic()
        if now >= self._fleet_due and self.pools:
            self._fleet_due = now + self._times.fleet
            await self._look_at_fleet()
        if now >= self._stats_due and self._definitions:
            self._stats_due = now + self._times.stats
            await self._count_runs()
        self._failures = 0
        due = [self._fleet_due] * bool(self.pools) + [self._stats_due] * bool(self._definitions)
        return max(0.01, min(due, default=now + 60) - time.monotonic())

    async def _migrate(self) -> None:
        if isinstance(self.state, DatabaseUnknown):
            self._become(DatabaseMigrating())
        version = await self._call("migrate", lambda bridge: bridge.migrate())
        self._migrated = True
        if isinstance(self.state, DatabaseUnreachable):
            _log.info("database %s is reachable again", self.id)
        # It may be another database, or an earlier copy of this one, that is reached now.
        self._list_due = True
        await self._list_definitions()
        self._become(DatabaseReachable(version))

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
                self._stats_due = 0.0
            self._notify(key)
        self._index_definitions()

    async def _remove_definitions(self) -> None:
        keys = [key for key, done in self._removals.items() if not done]
        if not keys:
            return
        owners = [_name(key) for key in keys]
        await self._call("delete_definitions", lambda bridge: bridge.delete_definitions(owners))
        for key in keys:
            if self._definitions is not None:
                self._definitions.pop(_name(key), None)
            if key in self._removals:
                self._removals[key] = True
                self._notify(key)
        self._index_definitions()
        # What they held may now be had by those that were refused it.
        for key, request in list(self._requests.items()):
            if request.answer is not None and request.answer.status == "taken":
                del self._requests[key]
                self._notify(key)

    def _index_definitions(self) -> None:
        self._by_function = {}
        for owner, row in (self._definitions or {}).items():
            self._by_function.setdefault(str(row["function"]), []).append(owner)

    async def _look_at_fleet(self) -> None:
        asked = [{"key": _name(pool), "queues": list(known.queues)} for pool, known in self.pools.items()]
        fleet = await self._call("fleet", lambda bridge: bridge.fleet(asked))
        self._queues = {key: _queue(row) for key, row in fleet["pools"].items()}
        workers: dict[str, list[Worker]] = {}
        for row in fleet["workers"]:
            workers.setdefault(str(row.get("pool")), []).append(_worker(row))
        self._workers = {key: tuple(rows) for key, rows in workers.items()}
        version = int(fleet.get("schema_version") or 0)
        if isinstance(self.state, DatabaseReachable) and version not in (0, self.state.schema_version):
            self._become(DatabaseReachable(version))
        for pool, known in list(self.pools.items()):
            self._tell(pool, known)

    def _tell(self, pool: Key, known: _Pool) -> None:
        """Notify of what has changed in a pool: at once of its workers, and now and then of its numbers."""
        served = tuple(sorted(_shown(worker) for worker in self.workers(pool) or ()))
        numbers = _numbers(self.queue(pool))
        if served != known.served:
            known.served = served
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
        state: DatabaseState
        if isinstance(error, SchemaMismatch):
            state = SchemaTooNew(message)
        elif self._migrated or isinstance(error, DatabaseUnavailable) or not isinstance(error, CurrantError):
            state = DatabaseUnreachable(message)
        else:
            state = MigrationFailed(message)
        if type(state) is not type(self.state):
            _log.warning("database %s: %s: %s", self.id, type(state).__name__, message)
        if not isinstance(error, CurrantError):
            _log.error("a call to database %s failed", self.id, exc_info=error)
        self._become(state)
        # What was seen before is no longer known; after an outage the schema is looked at anew.
        self._migrated = False
        self._queues = self._workers = None
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

    def use(self, pool: Key, url: str, queues: Sequence[str]) -> Database:
        """The database of a pool whose secret holds this URL. Raises `WrongUrl`."""
        if self._urls.get(pool) != url:
            check_url(url)
            self.release(pool)
            self._urls[pool] = url
            self._of_pool[pool] = self._get(url)
        database = self._of_pool[pool]
        database.use(pool, queues)
        return database

    def of(self, pool: Key) -> Database | None:
        """The database that a pool uses, or used last; None: it is not known."""
        return self._of_pool.get(pool)

    def defining(self, workflow: Key) -> list[Database]:
        """The databases that have a Workflow's definition, as far as is known."""
        return [database for database, _ in self._databases.values() if database.defines(workflow)]

    def leave(self, pool: Key) -> None:
        """A pool is gone; its database is still remembered, for the Workflows that refer to it."""
        database = self._of_pool.get(pool)
        if database is not None:
            database.pools.pop(pool, None)

    def release(self, pool: Key) -> None:
        """A pool is gone or has no URL now, and nobody asks for its database any more."""
        self.leave(pool)
        self._urls.pop(pool, None)
        self._of_pool.pop(pool, None)
        self._sweep()

    def forget(self, workflow: Key) -> None:
        """A Workflow is gone."""
        for database, _ in self._databases.values():
            database.forget(workflow)
        self._sweep()

    def recheck(self) -> None:
        """Read every definition again."""
        for database, _ in self._databases.values():
            database.recheck()

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
        tasks = [task for _, task in self._databases.values()]
        self._databases.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _get(self, url: str) -> Database:
        known = self._databases.get(url)
        if known is None:
            waiting = _impatient(url)
            database = Database(
                _digest(url), lambda: self._open_bridge(waiting), self._times, self._notify, self._served_changed
            )
            known = self._databases[url] = (
                database,
                asyncio.create_task(database.run(), name=f"database {database.id}"),
            )
        return known[0]


def check_url(url: str) -> None:
    """Raise `WrongUrl` for what cannot be the URL of a database."""
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise WrongUrl("it is not a URL: write postgresql://user:password@host:5432/name") from None
    if scheme not in ("postgresql", "postgres"):
        raise WrongUrl("it must start with postgresql://, as in postgresql://user:password@host:5432/name")
    if not host and "host=" not in parts.query:
        raise WrongUrl("it names no host: write postgresql://user:password@host:5432/name")


def _impatient(url: str) -> str:
    """The URL with a short wait for a database that does not answer, unless it says how long."""
    if "connect_timeout=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={CONNECT_TIMEOUT}"


def _digest(url: str) -> str:
    """What logs and metrics call a database. Salted: it says nothing about the URL, and is another in each process."""
    return hashlib.blake2b(url.encode(), key=_SALT, digest_size=4).hexdigest()


def _name(key: Key) -> str:
    return f"{key.namespace}/{key.name}"


def _workflow(owner: str) -> Key:
    return Key(kinds.WORKFLOW.name, *owner.split("/", 1))


def _stale(request: _Request) -> bool:
    """Whether a definition was refused, and that some time ago: the reason may be gone."""
    refused = request.answer is not None and request.answer.status in ("taken", "invalid")
    return refused and time.monotonic() - request.answered > ASK_AGAIN


def _queue(row: Row) -> QueueStats:
    return QueueStats(row["ready"], row["due"], row["running"], float(row.get("oldest_ready_seconds") or 0))


def _worker(row: Row) -> Worker:
    lists = {name: tuple(row.get(name) or ()) for name in ("queues", "tasks", "workflows")}
    known: dict[str, Any] = {name: row[name] for name in Worker.__dataclass_fields__ if row.get(name) is not None}
    return Worker(**{**known, **lists})


def _shown(worker: Worker) -> tuple[Any, ...]:
    """What of a worker is worth a notice."""
    return (worker.id, worker.pod_uid or "", worker.draining, worker.queues, worker.tasks, worker.workflows)


def _stats(row: Row) -> WorkflowStats:
    counts = {name: int(row.get(name) or 0) for name in _COUNTS}
    last, following = (_moment(row.get(name)) for name in ("last_schedule", "next_schedule"))
    return WorkflowStats(**counts, last_schedule=last, next_schedule=following)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def _numbers(queue: QueueStats | None) -> tuple[Any, ...]:
    """What of a pool's numbers is worth a notice; of the age of the oldest, which grows all the time, steps of 25 %."""
    if queue is None:
        return ()
    step = 0 if queue.oldest_ready_seconds <= 1 else int(math.log(queue.oldest_ready_seconds, 1.25))
    return queue.ready, queue.due, queue.running, step
