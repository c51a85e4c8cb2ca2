"""Observe -> plan (pure) -> carry out, for one object. Level-based: it neither knows nor cares what woke it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from currant.scaling import INTERVAL
from currant_operator import metrics
from currant_operator.cluster.api import Api, ApiError, Body, NotLeading
from currant_operator.cluster.events import Recorder
from currant_operator.cluster.secrets import Secrets
from currant_operator.cluster.store import Store
from currant_operator.database.database import Database
from currant_operator.database.databases import Databases
from currant_operator.plan import conditions, kinds, manifests, pods
from currant_operator.plan.diff import merge_patch
from currant_operator.plan.drift import drift_digest
from currant_operator.plan.kinds import Key, Kind
from currant_operator.plan.observed import (
    DatabaseState,
    DatabaseUnknown,
    DatabaseUnreachable,
    MigrationFailed,
    ObservedPool,
    ObservedWorkflow,
    Rejection,
    SecretFound,
    SecretState,
    SecretUnknown,
    Wish,
)
from currant_operator.plan.plans import DEFINITIONS, UNCHANGED, PoolPlan, WorkflowPlan
from currant_operator.plan.pool import plan_pool
from currant_operator.plan.resources import InvalidResource, WorkerPool, parse_pool, parse_workflow
from currant_operator.plan.scaler import Scaler
from currant_operator.plan.workflow import plan_workflow
from currant_operator.reconcile import notes

_log = logging.getLogger(__name__)

ACCEPTED_LIMIT = 16  # how many of the server's own ways of writing an object are remembered for a pool


class Refused(Exception):
    """The API server refused an object; it has been told in the status, and is tried again with a growing delay."""


@dataclass
class _PoolMemory:
    """What is remembered of a pool between two reconciles; nothing is lost when it is forgotten."""

    secret: SecretState = field(default_factory=SecretUnknown)
    admin_secret: SecretState | None = None
    accepted: frozenset[str] = frozenset()
    scaler: Scaler = field(default_factory=Scaler)
    noted: tuple[str, ...] = ()
    """The Workflows whose definitions may be in its database."""


class Reconciler:
    """`reconcile(key)` is the whole of it. `later(key, seconds)` asks for another reconcile."""

    def __init__(
        self,
        api: Api,
        store: Store,
        databases: Databases,
        secrets: Secrets,
        recorder: Recorder,
        later: Callable[[Key, float], None],
        status_interval: float = 30.0,
    ) -> None:
        """`status_interval`: seconds between two writes of a status in which only counts have changed."""
        self._api, self._store, self._databases = api, store, databases
        self._secrets, self._recorder, self._later = secrets, recorder, later
        self._status_interval = status_interval
        self._pools: dict[Key, _PoolMemory] = {}
        self._status_written: dict[Key, float] = {}

    async def reconcile(self, key: Key) -> None:
        """Bring one object to what it says. Raises `ApiError` and `Refused` when it is to be tried again."""
        began = time.monotonic()
        outcome = "error"
        try:
            work = self._pool if key.kind == kinds.WORKER_POOL.name else self._workflow
            outcome = await work(key)
        except Refused:
            outcome = "refused"
            raise
        except ApiError as error:
            if error.terminating:
                outcome = "terminating"
                return
            # A conflict is no trouble: somebody was quicker, and the next try sees what they did.
            level = logging.DEBUG if error.status == 409 else logging.WARNING
            _log.log(level, "%s: %s", key, error, extra=_fields(key))
            raise
        except NotLeading:
            # The election ends the process at its next look.
            outcome = "not leading"
        except InvalidResource as error:
            # Older than a change of the schema. An edit of it wakes us; trying the same again would not help.
            outcome = "invalid"
            _log.error("%s cannot be read: %s", key, error, extra=_fields(key))
            await self._tell_unreadable(key, str(error))
        except Exception:
            _log.exception("%s", key, extra=_fields(key))
            raise
        finally:
            metrics.RECONCILES.labels(key.kind, outcome).inc()
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - began)
            if outcome == "error":
                metrics.LAST_ERROR.labels(key.kind).set_to_current_time()

    def leave(self, key: Key) -> None:
        """Forget an object that is another operator's: nothing is written, and no database is asked for it."""
        if key.kind == kinds.WORKER_POOL.name:
            self._pool_gone(key)
        else:
            self._forget_status(key)
            self._databases.forget(key)

    # WorkerPools

    async def _pool(self, key: Key) -> str:
        body = self._store.get(kinds.WORKER_POOL, key.namespace, key.name)
        if body is None:
            return self._pool_gone(key)
        observed = await self._observe_pool(key, parse_pool(body))
        plan = plan_pool(observed)
        try:
            changed = await self._carry_out_pool(key, body, plan)
        except _RefusedApply as refused:
            plan = plan_pool(replace(observed, rejection=refused.rejection))
            await self._tell(kinds.WORKER_POOL, key, plan)
            raise Refused(refused.rejection.message) from None
        if observed.wish is not None and (observed.wish.replicas or observed.wish.desired):
            # Time alone may change what the scaler wants.
            self._later(key, INTERVAL)
        metrics.show_pool(key, plan.status, plan.rolled_out)
        for workflow in notes.orphans(self._store, key):
            self._later(workflow, 0)
        if not _found(observed.secret, observed.admin_secret) or _doubtful(observed.database):
            # Nobody tells us of a secret that was made or mended.
            self._later(key, self._secrets.unusable_for * 1.1)
        return "changed" if changed else "unchanged"

    def _pool_gone(self, key: Key) -> str:
        memory = self._pools.pop(key, None)
        database = self._databases.of(key)
        for name in memory.noted if memory is not None and database is not None else ():
            workflow = Key(kinds.WORKFLOW.name, key.namespace, name)
            if database is not None:
                database.remember(workflow)
                # It may have gone in the same moment, and nobody would know the database any more.
                if self._store.get(kinds.WORKFLOW, key.namespace, name) is None:
                    database.undefine(workflow)
        self._forget_status(key)
        metrics.forget_pool(key)
        self._leave_database(key)
        return "gone"

    def _leave_database(self, pool: Key) -> None:
        """A pool without an object; its database must be known for its Workflows and for its pods that still end."""
        if self._store.workflows(pool.namespace, pool.name) or self._store.pods(pool.namespace, pool.name):
            self._databases.leave(pool)
        else:
            self._databases.release(pool)

    async def _observe_pool(self, key: Key, pool: WorkerPool) -> ObservedPool:
        memory = self._pools.setdefault(key, _PoolMemory())
        memory.noted = tuple(notes.noted(self._store.get(kinds.WORKER_POOL, key.namespace, key.name)))
        database = await self._find_database(key, pool, memory)
        at = key.namespace, key.name
        observed = ObservedPool(
            pool=pool,
            now=datetime.now(UTC),
            deployment=await self._look(kinds.DEPLOYMENT, pool),
            service_account=await self._look(kinds.SERVICE_ACCOUNT, pool),
            pod_disruption_budget=await self._look(kinds.DISRUPTION_BUDGET, pool),
            pods=tuple(self._store.pods(*at)),
            secret=memory.secret,
            admin_secret=memory.admin_secret,
            database=_state(database),
            queue=None if database is None else database.queue(key),
            workers=None if database is None else database.workers(key),
            incompatible=None if database is None else database.incompatible(key),
            accepted=memory.accepted,
        )
        return replace(observed, wish=_wish(observed, database, memory.scaler, key))

    async def _look(self, kind: Kind, pool: WorkerPool) -> Body | None:
        """The object of the pool's name, whoever made it: those of others are not watched, so they are asked for."""
        known = self._store.get(kind, pool.namespace, pool.name)
        not_made = kind is kinds.SERVICE_ACCOUNT and manifests.own_account(pool)
        if known is not None or pool.deleting or not_made:
            return known
        return await self._api.get(kind, pool.namespace, pool.name)

    async def _find_database(self, key: Key, pool: WorkerPool, memory: _PoolMemory) -> Database | None:
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

    async def _carry_out_pool(self, key: Key, body: Body, plan: PoolPlan) -> bool:
        """Do what the plan says, in its order; gives whether anything was written but a status."""
        if plan.spec_replicas != UNCHANGED:
            await self._write_replicas(key, body, plan.spec_replicas)
        for manifest in plan.apply:
            await self._apply(key, manifest)
        await self._prepare(key, plan)
        if plan.replicas is not None:
            await self._scale(key, plan.replicas)
        for ref in plan.delete:
            await self._api.delete(kinds.BY_NAME[ref.kind], ref.namespace, ref.name, ref.uid)
            _log.info("%s: deleted %s %s", key, ref.kind, ref.name, extra=_fields(key))
        await self._tell(kinds.WORKER_POOL, key, plan)
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
        _log.info("%s: %s %s %s", key, "changed" if there else "made", kind.name, name, extra=_fields(key))

    def _accept_drift(self, key: Key, manifest: Body, answer: Body) -> None:
        """What the server writes in its own way ("1000m" of CPU is "1") is no reason to write it again."""
        drift = drift_digest(manifest, answer)
        if drift is None:
            return
        memory = self._pools.setdefault(key, _PoolMemory())
        if drift not in memory.accepted and len(memory.accepted) < ACCEPTED_LIMIT:
            memory.accepted |= {drift}

    async def _prepare(self, key: Key, plan: PoolPlan) -> None:
        """What pods are worth, before there are to be fewer; and whose workers are to drain."""
        for name, cost in plan.deletion_costs.items():
            annotation = {pods.COST_ANNOTATION: None if cost is None else str(cost)}
            try:
                body = await self._api.patch(kinds.POD, key.namespace, name, {"metadata": {"annotations": annotation}})
            except ApiError as error:
                if not error.missing:
                    raise
            else:
                self._store.accept(kinds.POD, body, told=False)
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
        _log.info("%s: %d replicas", key, replicas, extra=_fields(key))

    # Workflows

    async def _workflow(self, key: Key) -> str:
        body = self._store.get(kinds.WORKFLOW, key.namespace, key.name)
        if body is None:
            return await self._workflow_gone(key)
        observed, database = self._observe_workflow(key, body)
        plan = plan_workflow(observed)
        if plan.delete_definition:
            return await self._remove_definition(key, None)
        await self._remove_definition(key, observed.workflow.spec.pool_ref.name)
        if plan.definition is not None and database is not None:
            function, pool = plan.definition["function"], observed.workflow.spec.pool_ref.name
            if self._noted(key, pool) not in (None, function) and not database.undefine(key):
                return "waiting"  # a Workflow of this name was deleted just now, and was for another function
            await self._note(key, pool, function)
            answer = database.define(key, plan.definition)
            if answer is None:
                return "waiting"
            plan = plan_workflow(replace(observed, applied=answer))
        await self._tell(kinds.WORKFLOW, key, plan)
        return "unchanged" if plan.status_write == "none" else "changed"

    async def _workflow_gone(self, key: Key) -> str:
        """Its definition goes, from every database that may have it; runs are never touched."""
        outcome = await self._remove_definition(key, None)
        if outcome == "waiting":
            return outcome
        self._forget_status(key)
        self._databases.forget(key)
        for pool in self._databases.pools():
            if self._store.get(kinds.WORKER_POOL, pool.namespace, pool.name) is None:
                self._leave_database(pool)
        return outcome

    async def _remove_definition(self, key: Key, pool: str | None) -> str:
        """Remove a Workflow's definition from all databases but that of the pool which it is for, if there is one.

        What is not gone yet wakes us when it is: `waiting`.
        """
        others = [body for body in notes.noting(self._store, key) if body["metadata"]["name"] != pool]
        kept = None if pool is None else self._databases.of(Key(kinds.WORKER_POOL.name, key.namespace, pool))
        databases = {self._databases.of(notes.key_of(body)) for body in others}
        if pool is None:
            databases.update(self._databases.defining(key))
        # Of a pool whose database is not known yet the reconcile comes back here.
        gone = [each is not None and each.undefine(key) for each in databases - ({kept} if kept else set())]
        if not all(gone):
            return "waiting"
        for body in others:
            await self._note(key, body["metadata"]["name"], None)
        return "gone"

    def _noted(self, workflow: Key, pool: str) -> str | None:
        """The function of a Workflow whose definition the database of a pool may have."""
        body = self._store.get(kinds.WORKER_POOL, workflow.namespace, pool)
        return notes.noted(body).get(workflow.name)

    async def _note(self, workflow: Key, pool: str, function: str | None) -> None:
        """Note in a pool's status that its database may have a Workflow's definition, or (None) has it no more."""
        body = self._store.get(kinds.WORKER_POOL, workflow.namespace, pool)
        if body is None or notes.noted(body).get(workflow.name) == function:
            return
        patch = {"status": {DEFINITIONS: {workflow.name: function}}}
        try:
            answer = await self._api.patch(kinds.WORKER_POOL, workflow.namespace, pool, patch, "status")
        except ApiError as error:
            if error.missing:
                return
            raise
        self._store.accept(kinds.WORKER_POOL, answer, told=False)
        memory = self._pools.get(notes.key_of(body))
        if memory is not None:
            memory.noted = tuple(notes.noted(answer))

    def _observe_workflow(self, key: Key, body: Body) -> tuple[ObservedWorkflow, Database | None]:
        workflow = parse_workflow(body)
        pool_key = Key(kinds.WORKER_POOL.name, key.namespace, workflow.spec.pool_ref.name)
        pool_body = self._store.get(kinds.WORKER_POOL, key.namespace, pool_key.name)
        database = self._databases.of(pool_key)
        memory = self._pools.get(pool_key)
        function = workflow.spec.function
        try:
            pool = None if pool_body is None else parse_pool(pool_body)
        except InvalidResource as error:
            raise InvalidResource(f"its {pool_key.kind} {pool_key.name}: {error}") from None
        observed = ObservedWorkflow(
            workflow=workflow,
            now=datetime.now(UTC),
            pool=pool,
            secret=SecretUnknown() if memory is None else memory.secret,
            admin_secret=None if memory is None else memory.admin_secret,
            database=_state(database),
            definitions=None if database is None else database.definitions(key, function),
            stats=None if database is None else database.stats(function),
            workers=None if database is None else database.workers(pool_key),
            incompatible=None if database is None else database.incompatible(pool_key),
        )
        return observed, database

    # Both

    async def _tell(self, kind: Kind, key: Key, plan: PoolPlan | WorkflowPlan) -> None:
        """Write the status if it has changed, then the events; ask to be woken."""
        after = plan.requeue_after
        body = self._store.get(kind, key.namespace, key.name)
        if body is not None and plan.status_write != "none":
            wait = self._status_wait(key) if plan.status_write == "later" else 0.0
            if wait > 0:
                after = wait if after is None else min(after, wait)
            else:
                await self._write_status(kind, key, body, plan.status)
        if body is not None:
            for event in plan.events:
                await self._recorder.record(body, event)
        if after is not None:
            self._later(key, after)

    async def _tell_unreadable(self, key: Key, error: str) -> None:
        kind = kinds.BY_NAME[key.kind]
        body = self._store.get(kind, key.namespace, key.name)
        if body is not None:
            await self._write_status(kind, key, body, conditions.refused(body, error, datetime.now(UTC)))

    def _status_wait(self, key: Key) -> float:
        return self._status_written.get(key, -self._status_interval) + self._status_interval - time.monotonic()

    async def _write_status(self, kind: Kind, key: Key, body: Body, status: Body) -> None:
        before = body.get("status") or {}
        if DEFINITIONS in before:  # written beside the plans
            status = {**status, DEFINITIONS: before[DEFINITIONS]}
        patch = merge_patch(before, status)
        if not patch:
            return
        try:
            answer = await self._api.patch(kind, key.namespace, key.name, {"status": patch}, "status")
        except ApiError as error:
            if error.missing:  # deleted just now
                return
            raise
        self._status_written[key] = time.monotonic()
        self._store.accept(kind, answer, told=False)

    def _forget_status(self, key: Key) -> None:
        self._status_written.pop(key, None)

    def secrets_in_use(self) -> set[tuple[str, str]]:
        """`(namespace, name)` of the secrets of every pool."""
        used = set()
        for body in self._store.all(kinds.WORKER_POOL):
            database = (body.get("spec") or {}).get("database") or {}
            homes = {"secretRef": body["metadata"]["namespace"], "adminSecretRef": self._secrets.home}
            used |= {(home, str(database[ref].get("name"))) for ref, home in homes.items() if database.get(ref)}
        return used


class _RefusedApply(Exception):
    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


def _refusal(kind: str, name: str, error: ApiError) -> Exception:
    """What a failed apply is: something to tell in the status, or just to try again."""
    if error.refused and not error.terminating:
        return _RefusedApply(Rejection(kind, name, str(error)))
    return error


def _wish(observed: ObservedPool, database: Database | None, scaler: Scaler, key: Key) -> Wish | None:
    """What the scaler wants; None: somebody else decides."""
    scaling = observed.pool.spec.scaling
    if scaling.mode != "Native" or scaling.paused or observed.pool.deleting:
        return None
    live = observed.deployment or {}
    ours = bool(live) and manifests.belongs(observed.pool, live)
    replicas = int(manifests.get(live, "spec", "replicas") or 0) if ours else 0
    load = None if database is None else database.load(key)
    return scaler.look(
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


def _state(database: Database | None) -> DatabaseState:
    return DatabaseUnknown() if database is None else database.state


def _fields(key: Key) -> dict[str, str]:
    """Members of a JSON log line; `name` is taken by the logging module."""
    return {"kind": key.kind, "namespace": key.namespace, "object": key.name}
