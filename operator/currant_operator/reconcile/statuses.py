"""Statuses and events: written when they have changed, counts alone not more often than every half minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from currant_operator.cluster.api import Api, Body
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.events import Recorder
from currant_operator.cluster.store import Store
from currant_operator.plan import conditions, kinds
from currant_operator.plan.diff import merge_patch
from currant_operator.plan.kinds import Key, Kind
from currant_operator.plan.plans import DEFINITIONS, PoolPlan, WorkflowPlan


class Statuses:
    """Writes the statuses and the events of plans. `later(key, seconds)` asks for another reconcile."""

    def __init__(
        self, api: Api, store: Store, recorder: Recorder, later: Callable[[Key, float], None], interval: float
    ) -> None:
        """`interval`: seconds between two writes of a status in which only counts have changed."""
        self._api, self._store, self._recorder = api, store, recorder
        self._later, self._interval = later, interval
        self._written: dict[Key, float] = {}  # monotonic seconds

    async def write(self, kind: Kind, key: Key, plan: PoolPlan | WorkflowPlan) -> None:
        """Write the status if it has changed, then the events; ask for the next reconcile."""
        after = plan.requeue_after
        body = self._store.get(kind, key.namespace, key.name)
        if body is not None and plan.status_write != "none":
            wait = self._wait(key) if plan.status_write == "later" else 0.0
            if wait > 0:
                after = wait if after is None else min(after, wait)
            else:
                await self._write(kind, key, body, plan.status)
        if body is not None:
            for event in plan.events:
                await self._recorder.record(body, event)
        if after is not None:
            self._later(key, after)

    async def write_unreadable(self, key: Key, error: str) -> None:
        """Write that an object cannot be parsed."""
        kind = kinds.BY_NAME[key.kind]
        body = self._store.get(kind, key.namespace, key.name)
        if body is not None:
            await self._write(kind, key, body, conditions.refused(body, error, datetime.now(UTC)))

    def forget(self, key: Key) -> None:
        """Forget when the status of an object was written last."""
        self._written.pop(key, None)

    def _wait(self, key: Key) -> float:
        return self._written.get(key, -self._interval) + self._interval - time.monotonic()

    async def _write(self, kind: Kind, key: Key, body: Body, status: Body) -> None:
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
        self._written[key] = time.monotonic()
        self._store.accept(kind, answer, notify=False)
