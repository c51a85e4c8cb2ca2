"""The calls of the election: `lease.LeaseStore` on the API server. They may write before this process leads."""

from __future__ import annotations

from currant_operator.cluster.api import Api, Body
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.lease import LeaseConflict
from currant_operator.plan import kinds


class ApiLease:
    """One Lease object."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name

    async def get(self, within: float) -> Body | None:
        """See `LeaseStore`."""
        return await self._api.get(kinds.LEASE, self._namespace, self._name, within)

    async def create(self, body: Body, within: float) -> Body:
        """See `LeaseStore`."""
        return await self._written("create", body, within)

    async def replace(self, body: Body, within: float) -> Body:
        """See `LeaseStore`."""
        return await self._written("replace", body, within)

    async def _written(self, verb: str, body: Body, within: float) -> Body:
        try:
            return await self._api.call(kinds.LEASE, verb, within, body=body, namespace=self._namespace)
        except ApiError as error:
            if error.status == 409:
                raise LeaseConflict(str(error)) from None
            raise
