"""Leader election on a Lease (coordination.k8s.io/v1), by the algorithm of client-go's `tools/leaderelection`.

The official package has one too (`kubernetes.aio.leaderelection`), but it neither bounds a request by the deadline, nor
survives a dropped connection, nor gives the lease back (`tests/unit/cluster/test_official_election.py`).

Clocks of different machines are never compared: a lease has expired when this process has observed no change of it for
its duration.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

_log = logging.getLogger(__name__)

Body = dict[str, Any]


class LeaseConflict(Exception):
    """Somebody else has written the Lease in between."""


class LeaseStore(Protocol):
    """The calls that an election makes. For a failed call any other exception may be raised."""

    async def get(self, within: float) -> Body | None:
        """The Lease object, or None if it does not exist."""

    async def create(self, body: Body, within: float) -> Body:
        """Make the Lease. Raises `LeaseConflict` when it exists already."""

    async def replace(self, body: Body, within: float) -> Body:
        """Write the Lease if its resourceVersion is still current, or raise `LeaseConflict`."""


@dataclass(frozen=True)
class Terms:
    """The candidate, the lease, and the times in seconds (see `settings.Settings`)."""

    identity: str
    name: str
    namespace: str
    duration: float
    renew_deadline: float
    retry_period: float


class Election:
    """One candidate. `acquire`, then `keep` until it returns: the lease is lost, and the process must end at once."""

    def __init__(self, store: LeaseStore, terms: Terms, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._terms, self._clock = store, terms, clock
        self._own: Body | None = None
        self._renewed = 0.0
        self._observed: Body | None = None
        self._observed_at = 0.0
        self._complained = False

    @property
    def leading(self) -> bool:
        """Whether no other can have taken over yet; true of a leader that has renewed within the lease's duration.

        A process that was frozen and wakes learns from this, before its next write, that its time is over.
        """
        return self._own is not None and self._clock() - self._renewed < self._terms.duration

    @property
    def holder(self) -> str:
        """The identity of the last known holder, or empty without a holder."""
        lease = self._own or self._observed
        return _holder(lease) if lease else ""

    async def acquire(self) -> None:
        """Return when this candidate leads."""
        named = ""
        while not await self._try(self._terms.retry_period * 2):
            if self.holder not in ("", named, self._terms.identity):
                named = self.holder
                # The last line of a stand-by's log: `kubectl logs deployment/...` takes any of the pods.
                _log.info("standing by: %s leads, and its log has what is done", named)
            await asyncio.sleep(self._terms.retry_period)
        _log.info("leading, as %s", self._terms.identity)

    async def keep(self) -> None:
        """Renew the lease; return when it could not be renewed within the deadline, or another has it."""
        while True:
            await asyncio.sleep(self._terms.retry_period)
            left = self._renewed + self._terms.renew_deadline - self._clock()
            if left <= 0:
                _log.error("the lease could not be renewed within %g s", self._terms.renew_deadline)
                return
            # A connection that hangs must not take the time that is left: there are to be other tries.
            if not await self._try(min(left, self._terms.renew_deadline / 3)) and self._own is None:
                _log.error("the lease is held by %s", self.holder or "nobody")
                return

    async def release(self) -> None:
        """Give the lease back, so that another takes over at its next try. A failure is logged and does not matter."""
        own, self._own = self._own, None
        if own is None:
            return
        spec = {**own["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            await self._store.replace({**own, "spec": spec}, self._terms.retry_period)
        except Exception as error:
            _log.warning("the lease was not given back (%s); another leads when it has expired", error)

    async def _try(self, within: float) -> bool:
        """Take or renew the lease within that number of seconds. Returns False also when a call failed."""
        try:
            async with asyncio.timeout(within):
                taken = await (self._take(within) if self._own is None else self._renew(self._own, within))
        except LeaseConflict:
            return await self._still_mine(within) if self._own is not None else False
        except Exception as error:
            self._complain(error)
            return False
        self._complained = False
        return taken

    async def _still_mine(self, within: float) -> bool:
        """Whether this candidate still leads after a conflict: perhaps only an annotation of its lease was edited."""
        self._own = None
        try:
            async with asyncio.timeout(within):
                lease = await self._store.get(within)
        except Exception as error:
            self._complain(error)
            return False
        self._note(lease)
        if lease is None or _holder(lease) != self._terms.identity:
            return False
        self._own = lease
        return True

    async def _renew(self, own: Body, within: float) -> bool:
        asked = self._clock()
        self._own = await self._store.replace(self._with_spec(own), within)
        self._renewed = asked
        return True

    async def _take(self, within: float) -> bool:
        asked = self._clock()
        lease = await self._store.get(within)
        self._note(lease)
        if lease is None:
            metadata = {"name": self._terms.name, "namespace": self._terms.namespace}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
            self._own = await self._store.create(self._with_spec(body), within)
        elif self._free(lease):
            self._own = await self._store.replace(self._with_spec(lease), within)
        else:
            return False
        self._renewed = asked
        return True

    def _free(self, lease: Body) -> bool:
        """Whether the lease may be taken: it has no holder, has expired, or was this candidate's before a restart."""
        holder = _holder(lease)
        if holder in ("", self._terms.identity):
            return True
        duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or self._terms.duration)
        return self._clock() - self._observed_at >= duration

    def _note(self, lease: Body | None) -> None:
        """Remember when the lease was last observed to change."""
        if lease is None or self._observed is None or lease.get("spec") != self._observed.get("spec"):
            self._observed, self._observed_at = lease, self._clock()

    def _with_spec(self, lease: Body) -> Body:
        """The lease with this candidate as its holder, renewed now."""
        old = lease.get("spec") or {}
        mine = old.get("holderIdentity") == self._terms.identity
        changes = int(old.get("leaseTransitions") or 0)
        spec = {
            "holderIdentity": self._terms.identity,
            # The API takes whole seconds; others must never wait for less than this process counts on.
            "leaseDurationSeconds": max(1, -int(-self._terms.duration // 1)),
            "acquireTime": old.get("acquireTime") if mine else _now(),
            "renewTime": _now(),
            "leaseTransitions": changes if mine or not old else changes + 1,
        }
        return {**lease, "spec": spec}

    def _complain(self, error: Exception) -> None:
        """Log the first of several failures."""
        if not self._complained:
            _log.warning("the lease %s/%s: %s", self._terms.namespace, self._terms.name, error or type(error).__name__)
        self._complained = True


def _holder(lease: Body) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
