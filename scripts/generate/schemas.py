"""The schemas of crds/ as flat lists of fields, from which the reference page and the operator's defaults are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from scripts.generate.outputs import CHECKOUT

Schema = dict[str, Any]

# A rule of a field that is written as a duration has this in its pattern.
DURATION = "(ms|s|m|h|d)"
NOTHING = object()  # a field without a default; None would be one


@dataclass(frozen=True)
class Field:
    """A field of `spec` or `status`, by its path there; `[]` follows the name of a list whose items have fields."""

    path: str
    schema: Schema
    required: bool

    @property
    def default(self) -> Any:
        """Its default in the schema; `NOTHING` without one, and where each field below has its own."""
        return NOTHING if self.schema.get("properties") else self.schema.get("default", NOTHING)

    @property
    def is_duration(self) -> bool:
        """Whether it is written as `30s`, `5m`, `7d`."""
        rules = self.schema.get("x-kubernetes-validations", ())
        return self.schema.get("type") == "string" and any(DURATION in rule["rule"] for rule in rules)


def definition(plural: str) -> Schema:
    """The resource's definition."""
    found: Schema = yaml.safe_load((CHECKOUT / "crds" / f"{plural}.yaml").read_text(encoding="utf-8"))
    return found


def version(plural: str) -> Schema:
    """The one version of the resource."""
    (found,) = definition(plural)["spec"]["versions"]
    return dict(found)


def schema(plural: str) -> Schema:
    """The schema of the whole object."""
    return dict(version(plural)["schema"]["openAPIV3Schema"])


def fields(plural: str, part: str) -> list[Field]:
    """The fields of `spec` or `status`, each before those below it. A pod's spec is Kubernetes' own: one field."""
    return list(_below(schema(plural)["properties"][part], ""))


def _below(parent: Schema, prefix: str) -> Iterator[Field]:
    for name, found in parent.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield Field(path, found, name in parent.get("required", ()))
        if path == "template.spec":
            continue
        items = found.get("items", {})
        yield from _below(items, f"{path}[].") if "properties" in items else _below(found, f"{path}.")


def constant(kind: str, path: str) -> str:
    """The name of a field's default as a constant, as WORKER_POOL_SCALING_MAX_REPLICAS."""
    words = re.findall(r"[A-Z]?[a-z0-9]+", f"{kind}.{path}")
    return "_".join(word.upper() for word in words)
