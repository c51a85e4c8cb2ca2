"""One Workflow: what is observed of it, and its definition in the database of its pool."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from currant_operator.cluster.api import Api, Body
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.store import Store
from currant_operator.database.database import Database
from currant_operator.database.databases import Databases
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key
from currant_operator.plan.observations import ObservedWorkflow, SecretUnknown
from currant_operator.plan.plans import DEFINITIONS
from currant_operator.plan.resources import InvalidResource, parse_pool, parse_workflow
from currant_operator.plan.workflow import plan_workflow
from currant_operator.reconcile import notes
from currant_operator.reconcile.memory import PoolMemory
from currant_operator.reconcile.pool import leave_database, state_of
from currant_operator.reconcile.statuses import Statuses


class WorkflowReconciler:
    """`memories` are those of the reconcile of pools."""

    def __init__(
        self,
        api: Api,
        store: Store,
        databases: Databases,
        statuses: Statuses,
        memories: dict[Key, PoolMemory],
    ) -> None:
        self._api, self._store, self._databases = api, store, databases
        self._statuses, self._memories = statuses, memories

    async def reconcile(self, key: Key) -> str:
        """Bring the Workflow to what it says; returns the outcome in a word. Raises `ApiError`."""
        body = self._store.get(kinds.WORKFLOW, key.namespace, key.name)
        if body is None:
            return await self._gone(key)
        observed, database = self._observe(key, body)
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
        await self._statuses.write(kinds.WORKFLOW, key, plan)
        return "unchanged" if plan.status_write == "none" else "changed"

    async def _gone(self, key: Key) -> str:
        """Delete the Workflow's definition from every database that may have it; runs are never touched."""
        outcome = await self._remove_definition(key, None)
        if outcome == "waiting":
            return outcome
        self._statuses.forget(key)
        self._databases.forget(key)
        for pool in self._databases.pools():
            if self._store.get(kinds.WORKER_POOL, pool.namespace, pool.name) is None:
                leave_database(self._store, self._databases, pool)
        return outcome

    async def _remove_definition(self, key: Key, pool: str | None) -> str:
        """Remove a Workflow's definition from all databases except that of its pool, if it has one.

        A removal that is not done yet causes a reconcile when it is: `waiting`.
        """
        others = [body for body in notes.noting(self._store, key) if body["metadata"]["name"] != pool]
        kept = None if pool is None else self._databases.of(Key(kinds.WORKER_POOL.name, key.namespace, pool))
        databases = {self._databases.of(notes.key_of(body)) for body in others}
        if pool is None:
            databases.update(self._databases.defining(key))
        # A pool whose database is not known yet brings this Workflow back here when it is.
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
        """Note in a pool's status that its database may have a Workflow's definition, or (None) no longer has one."""
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
        self._store.accept(kinds.WORKER_POOL, answer, notify=False)
        memory = self._memories.get(notes.key_of(body))
        if memory is not None:
            memory.noted = tuple(notes.noted(answer))

    def _observe(self, key: Key, body: Body) -> tuple[ObservedWorkflow, Database | None]:
        workflow = parse_workflow(body)
        pool_key = Key(kinds.WORKER_POOL.name, key.namespace, workflow.spec.pool_ref.name)
        pool_body = self._store.get(kinds.WORKER_POOL, key.namespace, pool_key.name)
        database = self._databases.of(pool_key)
        memory = self._memories.get(pool_key)
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
            database=state_of(database),
            definitions=None if database is None else database.definitions(key, function),
            stats=None if database is None else database.stats(function),
            workers=None if database is None else database.workers(pool_key),
            incompatible=None if database is None else database.incompatible(pool_key),
        )
        return observed, database
