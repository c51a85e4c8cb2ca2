"""Notes in a pool's status: the Workflows whose definitions may be in its database, noted before they are written.

With these notes a definition is removed when its Workflow is gone, also while no operator runs, and without a
finalizer: with a finalizer, a namespace whose operator is deleted with it would never go. Only what is noted is ever
removed: another cluster may keep the definitions of its own Workflows in the same database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from currant_operator.cluster.store import Body, Store
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key
from currant_operator.plan.plans import DEFINITIONS


def noted(pool: Mapping[str, Any] | None) -> dict[str, str]:
    """The functions, by name of the Workflow, whose definitions may be in the pool's database."""
    return dict(((pool or {}).get("status") or {}).get(DEFINITIONS) or {})


def noting(store: Store, workflow: Key) -> list[Body]:
    """The pools whose databases may have the definition of a Workflow."""
    return [
        body
        for body in store.all(kinds.WORKER_POOL)
        if body["metadata"]["namespace"] == workflow.namespace and workflow.name in noted(body)
    ]


def orphans(store: Store, pool: Key) -> list[Key]:
    """The Workflows whose definitions may be in the pool's database, and that are gone or have another pool now."""
    body = store.get(kinds.WORKER_POOL, pool.namespace, pool.name)
    here = set(store.workflows(pool.namespace, pool.name))
    keys = (Key(kinds.WORKFLOW.name, pool.namespace, name) for name in sorted(noted(body)))
    return [key for key in keys if key not in here]


def key_of(pool: Mapping[str, Any]) -> Key:
    """The key of a pool's object."""
    return Key(kinds.WORKER_POOL.name, pool["metadata"]["namespace"], pool["metadata"]["name"])
