"""Calls to the Kubernetes API: server-side apply, status, events, the lease, listings. Objects are plain dictionaries.

One aiohttp session, logged in as kopf is (the pod's service account, else KUBECONFIG), instead of a client library:
those bring a second login, a model class for every kind, and some 40 MB.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import kopf

from currant_operator import metrics
from currant_operator.cluster.lease import LeaseConflict
from currant_operator.plan import kinds
from currant_operator.plan.kinds import Kind
from currant_operator.plan.manifests import OPERATOR_MANAGER

Body = dict[str, Any]

REQUEST_TIMEOUT = 15.0
PAGE = 500
_TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TOKEN_LIFE = 60.0

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML, and older servers know only this name


class LoginError(Exception):
    """There is neither a service account nor a usable KUBECONFIG; the message says so."""


class ApiError(Exception):
    """The API refused a call, or could not be reached (`status` 0). The text is the API's own message."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def missing(self) -> bool:
        """What was addressed is not there."""
        return self.status == 404

    @property
    def refused(self) -> bool:
        """Trying the same again does not help: the object is invalid, malformed, or forbidden by a quota or a role."""
        # A value that cannot be parsed (memory: lots) is answered to an apply as an internal error.
        unreadable = self.status == 500 and "unable to convert" in str(self)
        return self.status in (400, 403, 422) or unreadable

    @property
    def terminating(self) -> bool:
        """The namespace is being deleted, and everything in it will be; or it is gone."""
        gone = self.status == 404 and str(self).startswith("namespaces ")
        return gone or (self.status == 403 and "because it is being terminated" in str(self))


class NotLeading(Exception):
    """This process no longer leads and must not write."""


def login() -> kopf.ConnectionInfo:
    """The API server and the credentials. Raises `LoginError`."""
    settings = kopf.OperatorSettings()
    try:
        info = kopf.login_with_service_account(settings=settings)
        if info is not None:
            return _by_address(info)
        info = kopf.login_with_kubeconfig(settings=settings)
    except (OSError, KeyError, ValueError, kopf.LoginError) as error:
        raise LoginError(f"the kubeconfig cannot be used: {type(error).__name__}: {error}") from None
    if info is None:
        raise LoginError("there is neither a service account (this is no pod) nor KUBECONFIG nor ~/.kube/config")
    return info


def _by_address(info: kopf.ConnectionInfo) -> kopf.ConnectionInfo:
    """Inside a pod, by the address in its environment: the API must not depend on the cluster's DNS."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return info
    host = f"[{host}]" if ":" in host else host
    return dataclasses.replace(info, server=f"https://{host}:{port}")


def open_session(info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
    """A session for the running event loop that counts its requests in `metrics.API_REQUESTS`."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers={**info.as_http_headers(), "User-Agent": "currant-operator"},
        trace_configs=[_counting()],
        proxy=info.proxy_url,
        trust_env=info.trust_env,
    )


def _counting() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def ended(_: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        metrics.api_request(params.method, params.url.path, params.url.query, params.response.status)

    async def failed(
        _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        metrics.api_request(params.method, params.url.path, params.url.query, 0)

    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace


class Api:
    """The calls. Each may raise `ApiError`; those that write raise `NotLeading` once `may_write` says no.

    Use it from one event loop, and `close` it.
    """

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        self._info = info
        self._server = info.server.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._token, self._token_read = "", 0.0
        self.may_write: Callable[[], bool] = lambda: True

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def served(self, group_version: str) -> set[str]:
        """The plural names of the kinds that the server has in a group's version; empty: it does not know the group."""
        try:
            found = await self._call("GET", f"/apis/{group_version}")
        except ApiError as error:
            if error.missing:
                return set()
            raise
        return {str(resource["name"]) for resource in found.get("resources", ())}

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """One object; None: there is none."""
        try:
            return await self._call("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None) -> AsyncIterator[Body]:
        """Every object that the operator watches of a kind, in pages, with its kind and apiVersion filled in."""
        params = {"limit": str(PAGE)}
        if kind.selector:
            params["labelSelector"] = kind.selector
        while True:
            page = await self._call("GET", kind.path(namespace), params=params)
            for item in page.get("items") or ():
                yield {"apiVersion": kind.api_version, "kind": kind.name, **item}
            params["continue"] = str(page["metadata"].get("continue") or "")
            if not params["continue"]:
                return

    async def apply(self, manifest: Body, manager: str) -> Body:
        """Server-side apply, taking over fields that others have; gives the object as it is now."""
        metadata = manifest["metadata"]
        path = kinds.BY_NAME[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        return await self._write("PATCH", path, manifest, APPLY_PATCH, {"fieldManager": manager, "force": "true"})

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Body,
        subresource: str | None = None,
        manager: str = OPERATOR_MANAGER,
    ) -> Body:
        """Merge patch; gives the object as it is now."""
        path = kind.path(namespace, name, subresource)
        return await self._write("PATCH", path, body, MERGE_PATCH, {"fieldManager": manager})

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """Delete an object, unless another has its name now (`uid`). Does nothing when it is gone."""
        body: Body = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._write("DELETE", kind.path(namespace, name), body)
        except ApiError as error:
            if not error.missing:
                raise

    async def create(self, kind: Kind, namespace: str, body: Body) -> Body:
        """Make an object."""
        return await self._write("POST", kind.path(namespace), body, params={"fieldManager": OPERATOR_MANAGER})

    async def call_lease(self, method: str, path: str, body: Body | None, within: float) -> Body:
        """A call of the election, which is allowed to write before it leads."""
        return await self._call(method, path, body, within=within)

    async def _write(
        self,
        method: str,
        path: str,
        body: Body,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
    ) -> Body:
        if not self.may_write():
            raise NotLeading
        return await self._call(method, path, body, content_type, params)

    async def _call(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
        within: float = REQUEST_TIMEOUT,
    ) -> Body:
        headers = {"Accept": "application/json", "Content-Type": content_type, **self._authorization()}
        if self._session is None:
            self._session = open_session(self._info)
        try:
            async with self._session.request(
                method,
                self._server + path,
                data=None if body is None else json.dumps(body, separators=(",", ":")),
                headers=headers,
                params=params,
                timeout=aiohttp.ClientTimeout(total=within),
            ) as response:
                text = await response.text()
                if response.status >= 400:
                    raise _error(response.status, text, response.headers.get("Retry-After"))
                return cast(Body, json.loads(text))
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
            what = str(error) or f"no answer within {within:g} s"
            raise ApiError(0, "Unavailable", f"the API server cannot be reached: {what}") from error

    def _authorization(self) -> dict[str, str]:
        """The service account's token as it is on disk now: the kubelet replaces it before it expires."""
        if self._info.token is None or not _TOKEN_FILE.exists():
            return {}
        if time.monotonic() - self._token_read > _TOKEN_LIFE or not self._token:
            self._token, self._token_read = _TOKEN_FILE.read_text().strip(), time.monotonic()
        return {"Authorization": f"Bearer {self._token}"}


def _error(status: int, text: str, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(text)
        reason, message = str(answer.get("reason", "Unknown")), str(answer["message"])
    except (ValueError, KeyError, TypeError):
        reason, message = "Unknown", text.strip()[:500]
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return ApiError(status, reason, message or f"HTTP status {status}", seconds)


class ApiLease:
    """`lease.LeaseStore` on the API."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self._collection = kinds.LEASE.path(namespace)
        self._path = kinds.LEASE.path(namespace, name)

    async def get(self, within: float) -> Body | None:
        """See `LeaseStore`."""
        try:
            return await self._api.call_lease("GET", self._path, None, within)
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def create(self, body: Body, within: float) -> Body:
        """See `LeaseStore`."""
        return await self._written("POST", self._collection, body, within)

    async def replace(self, body: Body, within: float) -> Body:
        """See `LeaseStore`."""
        return await self._written("PUT", self._path, body, within)

    async def _written(self, method: str, path: str, body: Body, within: float) -> Body:
        try:
            return await self._api.call_lease(method, path, body, within)
        except ApiError as error:
            if error.status == 409:
                raise LeaseConflict(str(error)) from None
            raise


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
