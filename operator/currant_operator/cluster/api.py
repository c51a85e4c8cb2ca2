"""Calls to the API server, by the dynamic client of the official package. Objects are plain dictionaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient, Resource

from currant_operator.cluster.errors import ApiError, NotLeading, refusal
from currant_operator.cluster.login import USER_AGENT
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Kind
from currant_operator.plan.manifests import OPERATOR_MANAGER

Body = dict[str, Any]

REQUEST_TIMEOUT = 15.0  # seconds
PAGE = 500  # objects in one answer to a listing
MERGE_PATCH = "application/merge-patch+json"


class Api:
    """The calls. Each may raise `ApiError`; those that write raise `NotLeading` once `may_write` says no.

    Use it from one event loop, and `close` it.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._client = ApiClient(configuration)
        self._client.user_agent = USER_AGENT
        self._dynamic = DynamicClient(self._client)
        self.may_write: Callable[[], bool] = lambda: True

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def served(self, group_version: str) -> set[str]:
        """The plural names of the kinds in a group's version; empty if the server does not know the group."""
        try:
            found = await _answer(self._dynamic.request, "get", f"/apis/{group_version}")
        except ApiError as error:
            if error.missing:
                return set()
            raise
        return {str(resource["name"]) for resource in found.get("resources", ())}

    async def get(self, kind: Kind, namespace: str, name: str, within: float = REQUEST_TIMEOUT) -> Body | None:
        """One object, or None if it does not exist. `within`: seconds that the call may take."""
        try:
            return await self.call(kind, "get", within, name=name, namespace=namespace)
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None) -> AsyncIterator[Body]:
        """Every object that the operator watches of a kind, in pages, with its kind and apiVersion filled in."""
        following = None
        while following != "":
            page = await self.call(
                kind, "get", namespace=namespace, limit=PAGE, label_selector=kind.selector or None, _continue=following
            )
            for item in page.get("items") or ():
                yield {"apiVersion": kind.api_version, "kind": kind.name, **item}
            following = str(page["metadata"].get("continue") or "")

    async def apply(self, manifest: Body, manager: str) -> Body:
        """Server-side apply, taking over fields that others have; returns the object as it is now."""
        kind = kinds.BY_NAME[manifest["kind"]]
        return await self._write(kind, "server_side_apply", body=manifest, field_manager=manager, force_conflicts=True)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Body,
        subresource: str | None = None,
        manager: str = OPERATOR_MANAGER,
    ) -> Body:
        """Merge patch; returns the object as it is now."""
        return await self._write(
            kind,
            "patch",
            subresource=subresource,
            body=body,
            name=name,
            namespace=namespace,
            content_type=MERGE_PATCH,
            field_manager=manager,
        )

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """Delete an object, unless another has its name now (`uid`). Does nothing when the object is gone."""
        body: Body = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._write(kind, "delete", name=name, namespace=namespace, body=body)
        except ApiError as error:
            if not error.missing:
                raise

    async def create(self, kind: Kind, namespace: str, body: Body) -> Body:
        """Make an object."""
        return await self._write(kind, "create", namespace=namespace, body=body, field_manager=OPERATOR_MANAGER)

    async def call(
        self, kind: Kind, verb: str, within: float = REQUEST_TIMEOUT, subresource: str | None = None, **arguments: Any
    ) -> Body:
        """A verb of the dynamic client on a kind, whether or not this process may write."""
        resource = self._resource(kind)
        target = resource if subresource is None else resource.subresources[subresource]
        return await _answer(getattr(self._dynamic, verb), target, within=within, **arguments)

    async def _write(self, kind: Kind, verb: str, **arguments: Any) -> Body:
        if not self.may_write():
            raise NotLeading
        return await self.call(kind, verb, **arguments)

    def _resource(self, kind: Kind) -> Resource:
        """The kind as the client addresses it. It is not discovered: that would take calls, and rights for them."""
        return Resource(
            prefix="apis" if kind.group else "api",
            group=kind.group,
            api_version=kind.version,
            kind=kind.name,
            name=kind.plural,
            namespaced=True,
            client=self._dynamic,
            subresources={"status": {"kind": kind.name, "name": f"{kind.plural}/status", "namespaced": True}},
        )


async def _answer(call: Callable[..., Any], *arguments: Any, within: float = REQUEST_TIMEOUT, **named: Any) -> Body:
    """The answer to a call of the client, as a plain dictionary. Raises `ApiError`."""
    timeout = aiohttp.ClientTimeout(total=within)
    try:
        found: Body = await call(*arguments, serializer=_plain, _request_timeout=timeout, **named)
        return found
    except ApiException as error:
        raise refusal(int(error.status or 0), str(error.body or "")) from None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        what = str(error) or f"no answer within {within:g} s"
        raise ApiError(0, "Unavailable", f"the API server cannot be reached: {what}") from error


def _plain(_: DynamicClient, answer: Body) -> Body:
    return answer


async def wait_for_kinds(api: Api, said: Callable[[str], None], interval: float = 5.0) -> None:
    """Return when the API server serves both custom resources; calls `said` with each new reason why not yet."""
    wanted = {kinds.WORKER_POOL.plural, kinds.WORKFLOW.plural}
    last = ""
    while True:
        try:
            missing = wanted - await api.served(kinds.WORKER_POOL.api_version)
            why = (
                f"the custom resources {', '.join(sorted(missing))} of {kinds.GROUP} are not installed"
                if missing
                else ""
            )
        except ApiError as error:
            why = str(error)
        if not why:
            return
        if why != last:
            said(why)
            last = why
        await asyncio.sleep(interval)
