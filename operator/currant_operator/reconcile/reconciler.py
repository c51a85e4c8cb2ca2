"""Observe -> plan (pure) -> carry out, for one object. Level-based: what woke the reconcile makes no difference."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from currant_operator import metrics
from currant_operator.cluster.api import Api
from currant_operator.cluster.errors import ApiError, NotLeading
from currant_operator.cluster.events import Recorder
from currant_operator.cluster.secrets import Secrets
from currant_operator.cluster.store import Store
from currant_operator.database.databases import Databases
from currant_operator.logs import about
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key
from currant_operator.plan.resources import InvalidResource
from currant_operator.reconcile.memory import PoolMemory
from currant_operator.reconcile.pool import PoolReconciler, Refused
from currant_operator.reconcile.statuses import Statuses
from currant_operator.reconcile.workflow import WorkflowReconciler

_log = logging.getLogger(__name__)


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
        self._store, self._databases, self._secrets = store, databases, secrets
        self._statuses = Statuses(api, store, recorder, later, status_interval)
        memories: dict[Key, PoolMemory] = {}
        self._pools = PoolReconciler(api, store, databases, secrets, self._statuses, memories, later)
        self._workflows = WorkflowReconciler(api, store, databases, self._statuses, memories)

    async def reconcile(self, key: Key) -> None:
        """Bring one object to what it says. Raises `ApiError` and `Refused` when it is to be tried again."""
        began = time.monotonic()
        outcome = "error"
        try:
            of_kind = self._pools if key.kind == kinds.WORKER_POOL.name else self._workflows
            outcome = await of_kind.reconcile(key)
        except Refused:
            outcome = "refused"
            raise
        except ApiError as error:
            if error.terminating:
                outcome = "terminating"
                return
            # A conflict is no error: another writer was quicker, and the next try starts from what they wrote.
            level = logging.DEBUG if error.status == 409 else logging.WARNING
            _log.log(level, "%s: %s", key, error, extra=about(key))
            raise
        except NotLeading:
            # The election ends the process when it renews next.
            outcome = "not leading"
        except InvalidResource as error:
            # The object is older than a change of the schema. Only an edit of it, which causes a reconcile, can help.
            outcome = "invalid"
            _log.error("%s cannot be read: %s", key, error, extra=about(key))
            await self._statuses.write_unreadable(key, str(error))
        except Exception:
            _log.exception("%s", key, extra=about(key))
            raise
        finally:
            metrics.RECONCILES.labels(key.kind, outcome).inc()
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - began)
            if outcome == "error":
                metrics.LAST_ERROR.labels(key.kind).set_to_current_time()

    def leave(self, key: Key) -> None:
        """Forget an object that is another operator's: nothing is written, and no database is asked for it."""
        if key.kind == kinds.WORKER_POOL.name:
            self._pools.gone(key)
        else:
            self._statuses.forget(key)
            self._databases.forget(key)

    def secrets_in_use(self) -> set[tuple[str, str]]:
        """`(namespace, name)` of the secrets of every pool."""
        used = set()
        for body in self._store.all(kinds.WORKER_POOL):
            database = (body.get("spec") or {}).get("database") or {}
            homes = {"secretRef": body["metadata"]["namespace"], "adminSecretRef": self._secrets.home}
            used |= {(home, str(database[ref].get("name"))) for ref, home in homes.items() if database.get(ref)}
        return used
