"""Kubernetes events about our objects, for `kubectl describe`. The same one is not written again for ten minutes."""

from __future__ import annotations

import logging
import time
import uuid
from collections import OrderedDict
from datetime import UTC, datetime

from currant._base.printable import one_line
from currant_operator import metrics
from currant_operator.cluster.api import Api, Body
from currant_operator.cluster.errors import ApiError
from currant_operator.plan import kinds
from currant_operator.plan.plans import Event

_log = logging.getLogger(__name__)

CONTROLLER = "currant.dev/operator"
QUIET_FOR = 600.0  # seconds
REMEMBERED = 5000
_NOTE_LIMIT = 1024  # bytes; the API refuses more


class Recorder:
    """Writes events. A failure is logged: an event is not worth a retry."""

    def __init__(self, api: Api, instance: str) -> None:
        self._api = api
        self._instance = instance[:128]
        self._written: OrderedDict[tuple[str, Event], float] = OrderedDict()

    async def record(self, about: Body, event: Event) -> None:
        """Write an event about an object."""
        key = about["metadata"]["uid"], event
        now = time.monotonic()
        if now - self._written.get(key, -QUIET_FOR) < QUIET_FOR:
            return
        self._written[key] = now
        self._written.move_to_end(key)
        while len(self._written) > REMEMBERED:
            self._written.popitem(last=False)
        try:
            await self._api.create(kinds.EVENT, about["metadata"]["namespace"], self._body(about, event))
        except ApiError as error:
            if not error.terminating:
                _log.warning("the event %s could not be written: %s", event.reason, error)
        else:
            metrics.EVENTS.labels(event.type).inc()

    def _body(self, about: Body, event: Event) -> Body:
        metadata = about["metadata"]
        return {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.name,
            "metadata": {
                "name": f"{metadata['name'][:200]}.{uuid.uuid4().hex[:16]}",
                "namespace": metadata["namespace"],
            },
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "type": event.type,
            "reason": event.reason,
            "note": one_line(event.message).encode()[:_NOTE_LIMIT].decode(errors="ignore"),
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
        }
