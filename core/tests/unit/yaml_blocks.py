"""Manifests in the pages' blocks of YAML, against the schemas of the resources and of the chart's values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import yaml

from pages import CHECKOUT

KINDS = {"WorkerPool": "workerpools", "Workflow": "workflows"}
# A configuration that a test of its own gives to a real program.
TESTED = {"scrape_configs": "charts/tests/test_scrape.py"}
CHART = CHECKOUT / "charts" / "currant"


def problems(text: str) -> Iterator[str]:
    """What is wrong with a block of YAML: an object of ours, one of Kubernetes, values of the chart, or a part of a spec."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        yield str(error)
        return
    for document in documents:
        yield from document_problems(document)


def document_problems(document: Any) -> Iterator[str]:
    """What is wrong with one document."""
    if not isinstance(document, dict):
        yield "it is no object"
    elif document.get("kind") in KINDS:
        yield from wrong(document, strict(schema(document["kind"])))
    elif "kind" in document:
        yield from (
            f"an object of Kubernetes has {name}" for name in ("apiVersion", "metadata") if name not in document
        )
    elif not document.keys() <= TESTED.keys():
        yield from part_problems(document)


def part_problems(document: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a part of a spec, or with values of the chart: nothing, if it fits one of them."""
    specs = {kind: schema(kind)["properties"]["spec"] for kind in KINDS}
    candidates = {
        **{f"the spec of {kind}": strict(found) for kind, found in specs.items()},
        "the chart's values": values(),
    }
    found = {name: list(wrong(document, {**each, "required": []})) for name, each in candidates.items()}
    if all(found.values()):
        yield from (f"as {name}: {problem}" for name, problems in found.items() for problem in problems[:1])


def wrong(document: Any, found: dict[str, Any]) -> Iterator[str]:
    """A line for each place where a document does not fit a schema."""
    for error in jsonschema.Draft202012Validator(found).iter_errors(document):
        yield f"{'.'.join(str(part) for part in error.absolute_path) or 'the object'}: {error.message[:300]}"


@cache
def schema(kind: str) -> dict[str, Any]:
    """The schema of a resource."""
    (version,) = yaml.safe_load((CHECKOUT / "crds" / f"{KINDS[kind]}.yaml").read_text(encoding="utf-8"))["spec"][
        "versions"
    ]
    return dict(version["schema"]["openAPIV3Schema"])


@cache
def values() -> dict[str, Any]:
    """The schema of the chart's values."""
    return dict(json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))


def strict(found: Any, below: bool = False) -> Any:
    """A schema that refuses fields which it does not have, as `kubectl apply` does. At its top are Kubernetes' own."""
    if not isinstance(found, dict):
        return found
    changed = {name: strict(each, True) for name, each in found.items() if name not in ("properties", "items")}
    if "items" in found:
        changed["items"] = strict(found["items"], True)
    if "properties" in found:
        changed["properties"] = {name: strict(each, True) for name, each in found["properties"].items()}
        free = found.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in found
        if not free and (below or "spec" not in found["properties"]):
            changed["additionalProperties"] = False
    return changed
