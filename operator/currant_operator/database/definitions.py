"""The definitions of one database: what it has, what Workflows want it to have, and how many runs each has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from currant_operator.database.bridge import Notify, Row
from currant_operator.database.connection import Connection
from currant_operator.database.database_answers import workflow_stats
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Key
from currant_operator.plan.observations import Applied, WorkflowStats

ASK_AGAIN = 30.0  # seconds after which a definition that was refused may be asked for again
FIRST_COUNT = 2.0  # seconds from the writing of a definition to the first count of its runs


@dataclass
class _Request:
    """A definition to be written, and the database's answer to it."""

    item: Row
    answer: Applied | None = None
    answered: float = 0.0


class Definitions:
    """`define` and `undefine` note what is wanted and `wake`; `list`, `apply`, `remove` and `count` do the work."""

    def __init__(self, notify: Notify, wake: Callable[[], None]) -> None:
        self._notify, self._wake = notify, wake
        self._rows: dict[str, Row] | None = None  # by owner, as the database has them, or None before they were listed
        self._stats: dict[str, Row] = {}  # by function
        self._requests: dict[Key, _Request] = {}
        self._removals: dict[Key, bool] = {}  # whether the removal is done
        self._ours: set[Key] = set()  # Workflows that may have a definition here, though no pool notes it any more
        self._by_function: dict[str, set[str]] = {}  # function -> owners
        self._rivals: dict[str, set[Key]] = {}  # function -> Workflows that want it while another owner has it
        self.list_due = True
        self.count_due = 0.0  # monotonic seconds

    def __bool__(self) -> bool:
        """Whether the database has definitions, as far as is known."""
        return bool(self._rows)

    # Wishes and answers of a reconcile

    def of(self, key: Key, function: str) -> tuple[Row, ...] | None:
        """The definitions that are a Workflow's, or are of its function, or None if not known."""
        if self._rows is None:
            return None
        mine = owner_of(key)
        owners = self._by_function.get(function, set()) - {mine}
        if owners:
            self._rivals.setdefault(function, set()).add(key)
        return tuple(self._rows[owner] for owner in (mine, *sorted(owners)) if owner in self._rows)

    def stats(self, function: str) -> WorkflowStats | None:
        """The runs of a function, or None before they are counted."""
        row = self._stats.get(function)
        return None if row is None else workflow_stats(row)

    def define(self, key: Key, item: Row) -> Applied | None:
        """Have a definition written; returns the database's answer to exactly this item, or None before it is asked."""
        self._removals.pop(key, None)
        known = self._requests.get(key)
        if known is None or known.item != item or _stale(known):
            self._requests[key] = _Request(item)
            self._wake()
            return None
        return known.answer

    def undefine(self, key: Key) -> bool:
        """Have a Workflow's definition removed. Returns whether it is gone."""
        self._requests.pop(key, None)
        if self._removals.get(key):
            return True
        self._removals[key] = False
        self._wake()
        return False

    def forget(self, key: Key) -> None:
        """Forget a Workflow; its definition, if it has one, stays."""
        self._requests.pop(key, None)
        self._removals.pop(key, None)
        self._ours.discard(key)

    def defines(self, key: Key) -> bool:
        """Whether the database may have the definition that this operator wrote for a Workflow."""
        return key in self._requests or key in self._ours

    def remember(self, key: Key) -> None:
        """Note that the database may have a Workflow's definition, because the pool that noted it is gone."""
        self._ours.add(key)

    @property
    def removing(self) -> bool:
        """Whether a definition waits for its removal."""
        return not all(self._removals.values())

    # The work

    async def list(self, connection: Connection) -> None:
        """Read every definition, and notify the Workflows whose definition has changed."""
        rows = await connection.call("list_definitions", lambda bridge: bridge.list_definitions())
        self.list_due = False
        before, self._rows = self._rows, {str(row["owner"]): row for row in rows}
        self._index()
        if before is None:
            return
        for owner in before.keys() | self._rows.keys():
            if before.get(owner) != self._rows.get(owner):
                key = _workflow_of(owner)
                self._requests.pop(key, None)
                self._notify(key)
                if owner not in self._rows:
                    self._make_way(str(before[owner]["function"]))

    async def apply(self, connection: Connection) -> None:
        """Write the definitions that wait for it, all in one transaction."""
        asked = {key: request for key, request in self._requests.items() if request.answer is None}
        if not asked:
            return
        items = [request.item for request in asked.values()]
        answers = await connection.call("apply_definitions", lambda bridge: bridge.apply_definitions(items))
        known = self._rows if self._rows is not None else {}
        for (key, request), row in zip(asked.items(), answers, strict=True):
            answer = Applied(row["status"], row.get("owner"), row.get("message") or "")
            request.answer, request.answered = answer, time.monotonic()
            if answer.status in ("applied", "unchanged"):
                known[owner_of(key)] = request.item
                self.count_due = min(self.count_due, time.monotonic() + FIRST_COUNT)
            elif answer.status == "taken":
                self._rivals.setdefault(str(request.item["function"]), set()).add(key)
            self._notify(key)
        self._index()

    async def remove(self, connection: Connection) -> None:
        """Remove the definitions that wait for it."""
        keys = [key for key, done in self._removals.items() if not done]
        if not keys:
            return
        owners = [owner_of(key) for key in keys]
        await connection.call("delete_definitions", lambda bridge: bridge.delete_definitions(owners))
        for key in keys:
            removed = (self._rows or {}).pop(owner_of(key), None)
            if key in self._removals:
                self._removals[key] = True
                self._notify(key)
            if removed is not None:
                self._make_way(str(removed["function"]))
        self._index()

    async def count(self, connection: Connection) -> None:
        """Count the runs of every function, and notify the Workflows whose counts have changed."""
        rows = list((self._rows or {}).items())
        functions = sorted({str(row["function"]) for _, row in rows})
        stats = await connection.call("definition_stats", lambda bridge: bridge.definition_stats(functions))
        before, self._stats = self._stats, stats
        for owner, row in rows:
            if before.get(row["function"]) != stats.get(row["function"]):
                self._notify(_workflow_of(owner))

    def _make_way(self, function: str) -> None:
        """Let the Workflows that were refused a function ask for it again, because its definition is gone."""
        for key in self._rivals.pop(function, set()):
            self._requests.pop(key, None)
            self._notify(key)

    def _index(self) -> None:
        self._by_function = {}
        for owner, row in (self._rows or {}).items():
            self._by_function.setdefault(str(row["function"]), set()).add(owner)


def owner_of(workflow: Key) -> str:
    """The name by which the database knows a Workflow: `namespace/name`."""
    return f"{workflow.namespace}/{workflow.name}"


def _workflow_of(owner: str) -> Key:
    return Key(kinds.WORKFLOW.name, *owner.split("/", 1))


def _stale(request: _Request) -> bool:
    """Whether a definition was refused more than `ASK_AGAIN` seconds ago: the reason may be gone."""
    refused = request.answer is not None and request.answer.status in ("taken", "invalid")
    return refused and time.monotonic() - request.answered > ASK_AGAIN
