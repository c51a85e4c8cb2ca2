"""The database URLs in the pools' Secrets, read by the API and cached for a while.

Secrets are not watched: that would take the right to list every secret, and most never change. A secret is read again
when what is known of it is older than the caller accepts. While its database refuses us that is a short time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from typing import Protocol

from currant_operator.cluster.api import Body
from currant_operator.cluster.errors import ApiError
from currant_operator.plan import database_url, kinds
from currant_operator.plan.kinds import Kind
from currant_operator.plan.observations import (
    DatabaseUrlInvalid,
    SecretFound,
    SecretKeyMissing,
    SecretMissing,
    SecretNotAllowed,
    SecretState,
    SecretUnknown,
)

_log = logging.getLogger(__name__)

POOLS_OF = "currant.dev/pools-of"  # the annotation of a Secret beside the operator: namespaces whose pools may name it
UNUSABLE_FOR = 10.0  # seconds, at most, for which a missing or unusable secret is cached


class Reader(Protocol):
    """The one call that is made; `api.Api` has it."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """The object, or None."""


class Secrets:
    """The cache. URLs stay in memory only. `home` is the operator's own namespace."""

    def __init__(self, reader: Reader, cached_for: float, home: str = "default") -> None:
        self._reader = reader
        self.home = home
        self._cached_for = cached_for
        self.unusable_for = min(UNUSABLE_FOR, cached_for)
        self._known: dict[tuple[str, str], tuple[float, Body | None]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def url(self, namespace: str, name: str, key: str, doubted: bool = False) -> tuple[SecretState, str]:
        """The state of a secret, and the URL in it (empty unless it was found).

        `doubted`: its database refuses us, or cannot be reached, so what is known of it may be out of date.
        """
        max_age = self.unusable_for if doubted else self._cached_for
        try:
            secret = await self._read(namespace, name, max_age)
            state, url = _state(secret, key)
            if not url:
                state, url = _state(await self._read(namespace, name, self.unusable_for), key)
        except ApiError as error:
            _log.warning("the secret %s/%s cannot be read: %s", namespace, name, error)
            return SecretUnknown(str(error)), ""
        return state, url

    async def admin_url(
        self, pools_namespace: str, name: str, key: str, doubted: bool = False
    ) -> tuple[SecretState, str]:
        """The same as `url` for a secret beside the operator, which must allow the pool's namespace."""
        state, url = await self.url(self.home, name, key, doubted)
        known = self._known.get((self.home, name))
        if isinstance(state, SecretUnknown | SecretMissing) or pools_namespace in _allowed(known and known[1]):
            return state, url
        return SecretNotAllowed(), ""

    async def _read(self, namespace: str, name: str, max_age: float) -> Body | None:
        where = namespace, name
        # Pools that share a secret ask for it all at once after a start.
        async with self._locks.setdefault(where, asyncio.Lock()):
            known = self._known.get(where)
            if known is not None and time.monotonic() - known[0] < max_age:
                return known[1]
            secret = await self._reader.get(kinds.SECRET, namespace, name)
            self._known[where] = time.monotonic(), secret
            return secret

    def prune(self, used: set[tuple[str, str]]) -> None:
        """Forget every secret but these, `(namespace, name)`."""
        for where in self._known.keys() - used:
            del self._known[where]
            self._locks.pop(where, None)


def _allowed(secret: Body | None) -> _Names:
    """The namespaces that the annotation has."""
    annotations = ((secret or {}).get("metadata") or {}).get("annotations") or {}
    return _Names(str(annotations.get(POOLS_OF, "")))


class _Names:
    """A list of names with commas between them; `*` is every name."""

    def __init__(self, text: str) -> None:
        self._names = {name.strip() for name in text.split(",")} - {""}

    def __contains__(self, name: str) -> bool:
        return "*" in self._names or name in self._names


def _state(secret: Body | None, key: str) -> tuple[SecretState, str]:
    if secret is None:
        return SecretMissing(), ""
    data = secret.get("data") or {}
    try:
        url = base64.b64decode(data.get(key) or "", validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return DatabaseUrlInvalid("it is not text"), ""
    if not url:
        return SecretKeyMissing(tuple(sorted(data))), ""
    try:
        database_url.check_url(url)
    except database_url.WrongUrl as error:
        return DatabaseUrlInvalid(str(error)), ""
    return SecretFound(database_url.fingerprint(url)), url
