"""Secrets: what is read, and which pools may name those beside the operator."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from currant_operator.cluster.api import Body
from currant_operator.cluster.errors import ApiError
from currant_operator.cluster.secrets import POOLS_OF, Secrets
from currant_operator.plan.database_url import fingerprint
from currant_operator.plan.kinds import Kind
from currant_operator.plan.observations import SecretFound, SecretMissing, SecretNotAllowed, SecretUnknown

URL = "postgresql://owner:secret@db:5432/shop"


class Cluster:
    """Secrets by namespace and name; `refuses` is what the API answers instead."""

    def __init__(self, **annotations: str) -> None:
        data = {"url": base64.b64encode(URL.encode()).decode()}
        metadata: dict[str, Any] = {"annotations": annotations} if annotations else {}
        self.secrets: dict[tuple[str, str], Body] = {("system", "owner"): {"metadata": metadata, "data": data}}
        self.refuses: ApiError | None = None

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        if self.refuses is not None:
            raise self.refuses
        return self.secrets.get((namespace, name))


def secrets(cluster: Cluster) -> Secrets:
    return Secrets(cluster, 300, home="system")


@pytest.mark.parametrize("names", ["shop", "reports,shop", "reports, shop ", "*"])
async def test_a_pool_may_name_a_secret_beside_the_operator_that_allows_its_namespace(names: str) -> None:
    found = await secrets(Cluster(**{POOLS_OF: names})).admin_url("shop", "owner", "url")
    assert found == (SecretFound(fingerprint(URL)), URL)


@pytest.mark.parametrize("names", [None, "", "reports", "shopping", "sho*"])
async def test_the_url_of_a_secret_that_does_not_allow_a_namespace_is_not_used_for_its_pools(names: str | None) -> None:
    cluster = Cluster() if names is None else Cluster(**{POOLS_OF: names})
    assert await secrets(cluster).admin_url("shop", "owner", "url") == (SecretNotAllowed(), "")


async def test_what_keys_a_secret_has_is_reported_to_those_only_that_it_allows() -> None:
    found = await secrets(Cluster(**{POOLS_OF: "reports"})).admin_url("shop", "owner", "no-such-key")
    assert found == (SecretNotAllowed(), "")


async def test_a_secret_beside_the_operator_that_is_missing_or_cannot_be_read_is_said_to_be() -> None:
    cluster = Cluster(**{POOLS_OF: "*"})
    assert await secrets(cluster).admin_url("shop", "other", "url") == (SecretMissing(), "")
    cluster.refuses = ApiError(403, "Forbidden", "secrets is forbidden")
    assert await secrets(cluster).admin_url("shop", "owner", "url") == (SecretUnknown("secrets is forbidden"), "")
