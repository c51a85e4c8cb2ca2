"""One WorkerPool: what is observed of it, and the carrying out of its plan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from currant.scaling import INTERVAL
from currant_operator import metrics
from currant_operator.cluster.api import Api, Body
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.secrets import Secrets
from currant_operator.cluster.store import Store
from currant_operator.database.database import Database
from currant_operator.database.databases import Databases
from currant_operator.logs import about
from currant_operator.plan import kinds, manifests, pods
from currant_operator.plan.drift import drift_digest
from currant_operator.plan.kinds import Key, Kind
from currant_operator.plan.observations import (
    DatabaseState,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    ObservedPool,
    Rejection,
    SecretFound,
    SecretState,
    SecretUnknown,
    Wish,
)
from currant_operator.plan.plans import UNCHANGED, PoolPlan
from currant_operator.plan.pool import plan_pool
from currant_operator.plan.resources import WorkerPool, parse_pool
from currant_operator.plan.scaler import Scaler
from currant_operator.reconcile import notes
from currant_operator.reconcile.memory import PoolMemory
from currant_operator.reconcile.statuses import Statuses

_log = logging.getLogger(__name__)

ACCEPTED_LIMIT = 16  # ways in which the server writes an object that are remembered for a pool


class Refused(Exception):
    """The API server refused an object; the status says so, and it is tried again with a growing delay."""


class PoolReconciler:
    """`later(key, seconds)` asks for another reconcile. `memories` are shared with the reconcile of Workflows."""

    def __init__(
        self,
        api: Api,
        store: Store,
        databases: Databases,
        secrets: Secrets,
        statuses: Statuses,
        memories: dict[Key, PoolMemory],
        later: Callable[[Key, float], None],
    ) -> None:
        self._api, self._store, self._databases, self._secrets = api, store, databases, secrets
        self._statuses, self._memories, self._later = statuses, memories, later

    async def reconcile(self, key: Key) -> str:
        """Bring the pool to what it says; returns the outcome in a word. Raises `ApiError` and `Refused`."""
        body = self._store.get(kinds.WORKER_POOL, key.namespace, key.name)
        if body is None:
            return self.gone(key)
        observed = await self._observe(key, parse_pool(body))
        plan = plan_pool(observed)
        try:
            changed = await self._carry_out(key, body, plan)
        except _RefusedApply as refused:
            plan = plan_pool(replace(observed, rejection=refused.rejection))
            await self._statuses.write(kinds.WORKER_POOL, key, plan)
            raise Refused(refused.rejection.message) from None
        if observed.wish is not None and (observed.wish.replicas or observed.wish.desired):
            # Time alone may change what the scaler wants.
            self._later(key, INTERVAL)
        metrics.show_pool(key, plan.status, plan.rolled_out)
        for workflow in notes.orphans(self._store, key):
            self._later(workflow, 0)
        if not _found(observed.secret, observed.admin_secret) or _doubtful(observed.database):
            # Secrets are not watched, so one that is made or fixed must be read again.
            self._later(key, self._secrets.unusable_for * 1.1)
        return "changed" if changed else "unchanged"

    def gone(self, key: Key) -> str:
        """Forget a pool that is gone, or another operator's; returns the outcome in a word."""
        memory = self._memories.pop(key, None)
        database = self._databases.of(key)
        for name in memory.noted if memory is not None and database is not None else ():
            workflow = Key(kinds.WORKFLOW.name, key.namespace, name)
            if database is not None:
                database.remember(workflow)
                # It may have gone in the same moment, and nobody would know the database any more.
                if self._store.get(kinds.WORKFLOW, key.namespace, name) is None:
                    database.undefine(workflow)
        self._statuses.forget(key)
        metrics.forget_pool(key)
        leave_database(self._store, self._databases, key)
        return "gone"

    async def _observe(self, key: Key, pool: WorkerPool) -> ObservedPool:
        memory = self._memories.setdefault(key, PoolMemory())
        memory.noted = tuple(notes.noted(self._store.get(kinds.WORKER_POOL, key.namespace, key.name)))
        database = await self._find_database(key, pool, memory)
        at = key.namespace, key.name
        observed = ObservedPool(
            pool=pool,
            now=datetime.now(UTC),
            deployment=await self._fetch(kinds.DEPLOYMENT, pool),
            service_account=await self._fetch(kinds.SERVICE_ACCOUNT, pool),
            pod_disruption_budget=await self._fetch(kinds.DISRUPTION_BUDGET, pool),
            pods=tuple(self._store.pods(*at)),
            secret=memory.secret,
            admin_secret=memory.admin_secret,
            database=state_of(database),
            queue=None if database is None else database.queue(key),
            workers=None if database is None else database.workers(key),
            incompatible=None if database is None else database.incompatible(key),
            accepted=memory.accepted,
        )
        return replace(observed, wish=_wish(observed, database, memory.scaler, key))

    async def _fetch(self, kind: Kind, pool: WorkerPool) -> Body | None:
        """The object of the pool's name. One that the operator did not make is not watched, so it is fetched."""
        known = self._store.get(kind, pool.namespace, pool.name)
        not_made = kind is kinds.SERVICE_ACCOUNT and manifests.own_account(pool)
        if known is not None or pool.deleting or not_made:
            return known
        return await self._api.get(kind, pool.namespace, pool.name)

    async def _find_database(self, key: Key, pool: WorkerPool, memory: PoolMemory) -> Database | None:
        """The pool's database by its secrets; what is known stays when a secret cannot be read just now."""
        known = self._databases.of(key)
        doubted = known is not None and _doubtful(known.state)
        ref, admin_ref = pool.spec.database.secret_ref, pool.spec.database.admin_secret_ref
        before = memory.secret, memory.admin_secret
        secret, url = await self._secrets.url(key.namespace, ref.name, ref.key, doubted)
        admin: SecretState | None = None
        if admin_ref is not None:
            admin, url = await self._secrets.admin_url(key.namespace, admin_ref.name, admin_ref.key, doubted)
        if _unread(secret, before[0]) or _unread(admin, before[1]):
            return known
        memory.secret, memory.admin_secret = secret, admin
        if _found(secret, admin):
            native = pool.spec.scaling.mode == "Native"
            horizon = memory.scaler.horizon(pool.spec) if native else None
            database = self._databases.use(key, url, pool.spec.queues, horizon)
        else:
            self._databases.release(key)
            database = None
        if (secret, admin) != before or database is not known:
            for workflow in self._store.workflows(key.namespace, key.name):
                self._later(workflow, 0)
        return database

    async def _carry_out(self, key: Key, body: Body, plan: PoolPlan) -> bool:
        """Do what the plan says, in its order; returns whether anything was written but a status."""
        if plan.spec_replicas != UNCHANGED:
            await self._write_replicas(key, body, plan.spec_replicas)
        for manifest in plan.apply:
            await self._apply(key, manifest)
        await self._prepare(key, plan)
        if plan.replicas is not None:
            await self._scale(key, plan.replicas)
        for ref in plan.delete:
            await self._api.delete(kinds.BY_NAME[ref.kind], ref.namespace, ref.name, ref.uid)
            _log.info("%s: deleted %s %s", key, ref.kind, ref.name, extra=about(key))
        await self._statuses.write(kinds.WORKER_POOL, key, plan)
        return bool(plan.apply or plan.delete or plan.replicas is not None)

    async def _write_replicas(self, key: Key, body: Body, replicas: int | None) -> None:
        """The pool's own number of replicas, as an autoscaler would write it; only if nobody has written meanwhile."""
        newest = self._store.get(kinds.WORKER_POOL, key.namespace, key.name) or body
        version = {"resourceVersion": newest["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"scaling": {"replicas": replicas}}}
        at = key.namespace, key.name
        answer = await self._api.patch(kinds.WORKER_POOL, *at, patch, manager=manifests.SCALER_MANAGER)
        self._store.accept(kinds.WORKER_POOL, answer)

    async def _apply(self, key: Key, manifest: Body) -> None:
        kind, name = kinds.BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
        there = self._store.get(kind, key.namespace, name) is not None
        try:
            answer = await self._api.apply(manifest, manifests.OPERATOR_MANAGER)
        except ApiError as error:
            raise _refusal(kind.name, name, error) from None
        self._accept_drift(key, manifest, answer)
        self._store.accept(kind, answer)
        _log.info("%s: %s %s %s", key, "changed" if there else "made", kind.name, name, extra=about(key))

    def _accept_drift(self, key: Key, manifest: Body, answer: Body) -> None:
        """Remember that the server writes a value in its own way ("1000m" of CPU is "1"): it is not applied again."""
        drift = drift_digest(manifest, answer)
        if drift is None:
            return
        memory = self._memories.setdefault(key, PoolMemory())
        if drift not in memory.accepted and len(memory.accepted) < ACCEPTED_LIMIT:
            memory.accepted |= {drift}

    async def _prepare(self, key: Key, plan: PoolPlan) -> None:
        """Write the deletion costs of pods, and ask workers to drain: both before there are to be fewer pods."""
        for name, cost in plan.deletion_costs.items():
            annotation = {pods.COST_ANNOTATION: None if cost is None else str(cost)}
            try:
                body = await self._api.patch(kinds.POD, key.namespace, name, {"metadata": {"annotations": annotation}})
            except ApiError as error:
                if not error.missing:
                    raise
            else:
                self._store.accept(kinds.POD, body, notify=False)
        database = self._databases.of(key)
        if plan.drain and database is not None:
            database.ask_to_drain(plan.drain)

    async def _scale(self, key: Key, replicas: int) -> None:
        metadata = {"name": key.name, "namespace": key.namespace}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}
        try:
            answer = await self._api.apply(body, manifests.SCALER_MANAGER)
        except ApiError as error:
            raise _refusal(kinds.DEPLOYMENT.name, key.name, error) from None
        self._store.accept(kinds.DEPLOYMENT, answer)
        _log.info("%s: %d replicas", key, replicas, extra=about(key))


def leave_database(store: Store, databases: Databases, pool: Key) -> None:
    """Release the database of a pool without an object, unless its Workflows or pods that still end need it."""
    if store.workflows(pool.namespace, pool.name) or store.pods(pool.namespace, pool.name):
        databases.leave(pool)
    else:
        databases.release(pool)


class _RefusedApply(Exception):
    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


def _refusal(kind: str, name: str, error: ApiError) -> Exception:
    """The exception for a failed apply: a refusal belongs in the status, anything else is only tried again."""
    if error.refused and not error.terminating:
        return _RefusedApply(Rejection(kind, name, str(error)))
    return error


def _wish(observed: ObservedPool, database: Database | None, scaler: Scaler, key: Key) -> Wish | None:
    """The scaler's decision, or None if the scaler does not decide."""
    scaling = observed.pool.spec.scaling
    if scaling.mode != "Native" or scaling.paused or observed.pool.deleting:
        return None
    live = observed.deployment or {}
    ours = bool(live) and manifests.belongs(observed.pool, live)
    replicas = int(manifests.get(live, "spec", "replicas") or 0) if ours else 0
    load = None if database is None else database.load(key)
    return scaler.decide(
        observed.pool.spec,
        time.monotonic(),
        observed.now,
        observed.pods,
        replicas,
        observed.queue,
        load,
        observed.workers,
    )


def _unread(state: SecretState | None, before: SecretState | None) -> bool:
    """Whether a secret that was read before cannot be read just now."""
    return isinstance(state, SecretUnknown) and before is not None and not isinstance(before, SecretUnknown)


def _found(secret: SecretState, admin: SecretState | None) -> bool:
    """Whether there is a URL for the pods, and one for the operator."""
    return isinstance(secret, SecretFound) and (admin is None or isinstance(admin, SecretFound))


def _doubtful(state: DatabaseState) -> bool:
    """Whether another URL may be in the secret by now."""
    return isinstance(state, DatabaseUnreachable | MigrationFailed)


def state_of(database: Database | None) -> DatabaseState:
    """The state of a database, or unknown if the pool has no database."""
    return DatabaseUnknown() if database is None else database.state
