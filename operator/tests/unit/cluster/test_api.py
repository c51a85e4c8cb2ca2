"""The requests that go over the wire to an API server, and what its answers become."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from currant_operator.cluster.api import Api
from currant_operator.cluster.errors import ApiError, LoginError, NotLeading
from currant_operator.cluster.lease import LeaseConflict
from currant_operator.cluster.lease_store import ApiLease
from currant_operator.cluster.login import login
from currant_operator.plan import kinds

POOL = {"apiVersion": "currant.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "orders", "namespace": "shop"}}


class FakeServer:
    """Answers every request as `answer` says, and keeps what was asked."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[Any] = []
        self.answer: Callable[[web.Request], web.Response] = lambda _: web.json_response({})
        self.silent = False

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        if self.silent:
            await asyncio.Event().wait()
        return self.answer(request)

    def refuse(self, status: int, text: str, content_type: str = "application/json", **headers: str) -> None:
        self.answer = lambda _: web.Response(status=status, text=text, content_type=content_type, headers=headers)


@pytest.fixture
def fake() -> FakeServer:
    return FakeServer()


@pytest_asyncio.fixture
async def configuration(fake: FakeServer) -> AsyncIterator[Configuration]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    server = TestServer(app)
    await server.start_server()
    yield Configuration(host=str(server.make_url("")).rstrip("/"), client_session_kwargs={"trust_env": False})
    await server.close()


@pytest_asyncio.fixture
async def api(configuration: Configuration) -> AsyncIterator[Api]:
    api = Api(configuration)
    yield api
    await api.close()


def status(message: str, reason: str = "Invalid") -> str:
    return json.dumps({"kind": "Status", "reason": reason, "message": message})


async def test_every_verb_is_one_call_to_the_objects_own_path_without_any_discovery(api: Api, fake: FakeServer) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop"}}
    await api.get(kinds.SECRET, "shop", "db")
    await api.apply(POOL, "currant-operator")
    await api.patch(kinds.WORKER_POOL, "shop", "orders", {"status": {"queue": None}}, "status")
    await api.create(kinds.SECRET, "shop", secret)
    await api.delete(kinds.POD, "shop", "one", "1234")
    pools = "/apis/currant.dev/v1alpha1/namespaces/shop/workerpools/orders"
    assert [(each.method, each.path_qs) for each in fake.requests] == [
        ("GET", "/api/v1/namespaces/shop/secrets/db"),
        ("PATCH", f"{pools}?fieldManager=currant-operator&force=true"),
        ("PATCH", f"{pools}/status?fieldManager=currant-operator"),
        ("POST", "/api/v1/namespaces/shop/secrets?fieldManager=currant-operator"),
        ("DELETE", "/api/v1/namespaces/shop/pods/one"),
    ]
    assert [each.content_type for each in fake.requests[1:3]] == [
        "application/apply-patch+yaml",
        "application/merge-patch+json",
    ]
    assert fake.bodies[1:3] == [POOL, {"status": {"queue": None}}]
    assert fake.bodies[4] == {"propagationPolicy": "Background", "preconditions": {"uid": "1234"}}
    assert {each.headers["User-Agent"] for each in fake.requests} == {"currant-operator"}


async def test_a_listing_goes_on_until_the_last_page(api: Api, fake: FakeServer) -> None:
    def page(request: web.Request) -> web.Response:
        first = "continue" not in request.query
        name, following = ("a", "more") if first else ("b", None)
        return web.json_response({"metadata": {"continue": following}, "items": [{"metadata": {"name": name}}]})

    fake.answer = page
    pods = [body async for body in api.list(kinds.POD, None)]
    assert [(pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) for pod in pods] == [
        ("v1", "Pod", "a"),
        ("v1", "Pod", "b"),
    ]
    assert [each.path_qs for each in fake.requests] == [
        "/api/v1/pods?labelSelector=currant.dev/pool&limit=500",
        "/api/v1/pods?continue=more&labelSelector=currant.dev/pool&limit=500",
    ]


async def test_a_refusal_has_the_servers_own_words(api: Api, fake: FakeServer) -> None:
    fake.refuse(422, status("spec.queues: Required value"))
    with pytest.raises(ApiError, match=r"^spec\.queues: Required value$") as refused:
        await api.apply(POOL, "m")
    assert (refused.value.status, refused.value.reason, refused.value.refused) == (422, "Invalid", True)


@pytest.mark.parametrize(
    ("code", "text", "kind", "message"),
    [
        (502, "<html>Bad gateway</html>", "text/html", "<html>Bad gateway</html>"),
        (503, "", "text/plain", "HTTP status 503"),
        (500, "[]", "application/json", "[]"),
        (403, "x" * 5000, "text/plain", "x" * 500),
    ],
)
async def test_what_answers_in_the_servers_place_is_repeated_in_short(api, fake, code, text, kind, message) -> None:
    fake.refuse(code, text, kind)
    with pytest.raises(ApiError) as refused:
        await api.get(kinds.SECRET, "shop", "db")
    assert str(refused.value) == message
    assert refused.value.status == code


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_server_that_is_busy_is_asked_once_as_the_work_queue_tries_again(api, fake, code) -> None:
    fake.refuse(code, status("later", "TooManyRequests"), **{"Retry-After": "1"})
    for call in (api.get(kinds.SECRET, "shop", "db"), api.apply(POOL, "m")):
        with pytest.raises(ApiError, match="later"):
            await call
    assert len(fake.requests) == 2


async def test_an_answer_that_is_no_json_is_an_absence(api: Api, fake: FakeServer) -> None:
    fake.answer = lambda _: web.Response(text="<html>", content_type="text/html")
    with pytest.raises(ApiError, match="the API server cannot be reached") as absent:
        await api.get(kinds.SECRET, "shop", "db")
    assert absent.value.status == 0


async def test_a_call_ends_when_its_time_is_over(api: Api, fake: FakeServer) -> None:
    fake.silent = True
    with pytest.raises(ApiError, match=r"no answer within 0\.05 s") as absent:
        await api.get(kinds.LEASE, "shop", "lease", within=0.05)
    assert absent.value.status == 0


async def test_what_is_missing_is_none_and_is_deleted_already(api: Api, fake: FakeServer) -> None:
    fake.refuse(404, status("not found", "NotFound"))
    assert await api.get(kinds.SECRET, "shop", "db") is None
    await api.delete(kinds.POD, "shop", "one")
    assert await api.served("currant.dev/v1alpha1") == set()


async def test_only_the_lease_is_written_by_a_process_that_does_not_lead(api: Api, fake: FakeServer) -> None:
    api.may_write = lambda: False
    with pytest.raises(NotLeading):
        await api.apply(POOL, "m")
    assert fake.requests == []
    lease = ApiLease(api, "shop", "leader")
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}}
    await lease.create(body, 1)
    await lease.replace(body, 1)
    leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    assert [(each.method, each.path_qs) for each in fake.requests] == [("POST", leases), ("PUT", f"{leases}/leader")]
    fake.refuse(409, status("somebody was quicker", "Conflict"))
    with pytest.raises(LeaseConflict):
        await lease.replace(body, 1)


async def test_a_token_that_was_replaced_on_disk_is_used_within_a_minute(
    configuration: Configuration, fake: FakeServer, tmp_path: Path
) -> None:
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    certificate.write_text("unused")
    environment = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    loader = InClusterConfigLoader(str(token), str(certificate), environ=environment)
    host = configuration.host
    loader._load_config()
    loader.host, loader.ssl_ca_cert = host, None  # the fake server's, which has no TLS
    loader._set_config(configuration)
    api = Api(configuration)
    try:
        await api.get(kinds.SECRET, "shop", "db")
        token.write_text("second")
        await api.get(kinds.SECRET, "shop", "db")
        loader.token_expires_at -= loader._token_refresh_period
        await api.get(kinds.SECRET, "shop", "db")
    finally:
        await api.close()
    assert [each.headers["Authorization"] for each in fake.requests] == ["bearer first"] * 2 + ["bearer second"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is neither a service account"),
        ("clusters: [", "the kubeconfig cannot be used"),
        ("{}", "the kubeconfig cannot be used"),
        ("[]", "the kubeconfig cannot be used"),
        ("current-context: x\ncontexts: []\nclusters: []\nusers: []", "the kubeconfig cannot be used"),
    ],
)
async def test_a_login_that_is_not_possible_says_why_in_one_line(text, message, tmp_path, monkeypatch) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(LoginError, match=message) as shown:
        await login()
    assert "\n" not in str(shown.value)
