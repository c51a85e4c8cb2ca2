"""Which namespaces an operator of every namespace leaves to others, and when it waits."""

from __future__ import annotations

from typing import Any

import pytest

from currant_operator.plan.neighbours import WATCHES, Neighbours, neighbours

OWN = ("system", "currant-operator-6d5f-abcde")


def deployment(
    where: str, watches: str | None, made: str = "2026-01-02T00:00:00Z", replicas: int = 2
) -> dict[str, Any]:
    namespace, name = where.split("/")
    annotations = {} if watches is None else {WATCHES: watches}
    metadata = {"namespace": namespace, "name": name, "annotations": annotations, "creationTimestamp": made}
    return {"metadata": metadata, "spec": {"replicas": replicas}}


MINE = deployment("system/currant-operator", "*")


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], Neighbours()),
        ([deployment("shop/own-operator", "shop")], Neighbours(namespaces=frozenset({"shop"}))),
        ([deployment("shop/own-operator", "shop", replicas=0)], Neighbours()),
        ([deployment("shop/somebody-elses", None)], Neighbours()),
        ([deployment("b/x", "*", "2026-01-01T00:00:00Z")], Neighbours("b/x")),
        ([deployment("b/x", "*", "2026-01-03T00:00:00Z")], Neighbours()),
        # Made in the same second: one of the two waits, not both.
        ([deployment("b/x", "*")], Neighbours("b/x")),
        ([deployment("z/x", "*")], Neighbours()),
        # A release beside this one whose name begins alike.
        ([deployment("system/currant", "*", "2026-01-03T00:00:00Z")], Neighbours()),
        ([deployment("system/currant", "reports")], Neighbours(namespaces=frozenset({"reports"}))),
    ],
)
def test_an_operator_of_every_namespace_knows_its_neighbours(
    others: list[dict[str, Any]], expected: Neighbours
) -> None:
    assert neighbours([*others, MINE], *OWN) == expected


def test_an_operator_outside_the_cluster_waits_for_any_that_serves_every_namespace() -> None:
    assert neighbours([MINE], "default", "laptop-1234").older == "system/currant-operator"
