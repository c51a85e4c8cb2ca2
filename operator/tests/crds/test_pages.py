"""The objects that the pages show are accepted by an API server, their rules in CEL included."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from blocks import Block, all_blocks
from e2e.clusters import Kubectl, KubectlError

OBJECTS = [
    (block, document)
    for block in all_blocks()
    if block.language == "yaml"
    for document in yaml.safe_load_all(block.text)
    if isinstance(document, dict) and "kind" in document
]


@pytest.mark.parametrize(("block", "document"), OBJECTS, ids=[str(block) for block, _ in OBJECTS])
def test_an_object_of_a_page_is_accepted(
    kubectl: Kubectl, namespace: str, block: Block, document: dict[str, Any]
) -> None:
    document["metadata"].pop("namespace", None)
    create(kubectl, namespace, document)


def test_an_object_that_breaks_a_rule_is_not(kubectl: Kubectl, namespace: str) -> None:
    _, pool = next((block, each) for block, each in OBJECTS if each["kind"] == "WorkerPool")
    scaling = {**pool["spec"]["scaling"], "minReplicas": 30}
    with pytest.raises(KubectlError, match="minReplicas"):
        create(kubectl, namespace, {**pool, "spec": {**pool["spec"], "scaling": scaling}})


def create(kubectl: Kubectl, namespace: str, document: dict[str, Any]) -> None:
    """Ask the API server whether it would create an object."""
    kubectl(
        "create", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(document)
    )
