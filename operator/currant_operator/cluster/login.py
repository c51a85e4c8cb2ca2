"""The API server's address and the credentials: from the pod's service account, else from KUBECONFIG."""

from __future__ import annotations

import os
from types import SimpleNamespace

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from currant_operator import metrics
from currant_operator.cluster.errors import LoginError

USER_AGENT = "currant-operator"


async def login() -> Configuration:
    """The configuration of the official client. Raises `LoginError`.

    The token of a service account is read again each minute: the kubelet replaces it before it expires.
    """
    configuration = Configuration()
    configuration.trace_configs = [_counting()]
    # Proxies of the environment are not used: they seldom lead to the API server of a pod's cluster.
    configuration.client_session_kwargs = {"trust_env": False}
    try:
        config.load_incluster_config(configuration)
        return configuration
    except config.ConfigException:
        pass  # this is no pod
    path = _kubeconfig()
    if not path:
        raise LoginError("there is neither a service account (this is no pod) nor KUBECONFIG nor ~/.kube/config")
    try:
        await config.load_kube_config(path, client_configuration=configuration, persist_config=False)
    except (config.ConfigException, OSError, KeyError, ValueError, TypeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise LoginError(f"the kubeconfig cannot be used: {type(error).__name__}: {said}") from None
    return configuration


def _kubeconfig() -> str:
    """The paths of the kubeconfig, as KUBECONFIG has them; empty when there is no such file."""
    paths = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    return paths if any(os.path.exists(path) for path in paths.split(os.pathsep)) else ""


async def open_session(configuration: Configuration) -> aiohttp.ClientSession:
    """A session for the running event loop with the configuration's credentials, for kopf's watches."""
    token = await configuration.get_api_key_with_prefix("BearerToken")
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(configuration).ssl_context),
        headers={"User-Agent": USER_AGENT, **({"Authorization": token} if token else {})},
        trace_configs=configuration.trace_configs,
        proxy=configuration.proxy,
    )


def _counting() -> aiohttp.TraceConfig:
    """Counts every request in `metrics.API_REQUESTS`."""
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
