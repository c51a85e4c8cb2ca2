"""The chart installs what is in crds/, upgrades it, and an uninstall leaves it or deletes it, as the values say."""

from __future__ import annotations

import copy

import pytest
import yaml

from helm import CHECKOUT, Object, objects, of_kind, render

SOURCES = sorted((CHECKOUT / "crds").glob("*.yaml"))
KIND = "CustomResourceDefinition"


def source_objects() -> dict[str, Object]:
    """The definitions of crds/ by name."""
    found = [yaml.safe_load(path.read_text()) for path in SOURCES]
    return {item["metadata"]["name"]: item for item in found}


@pytest.mark.parametrize("mode", ["default", "crds-not-kept", "everything-set"])
def test_what_is_rendered_equals_crds_but_for_labels_and_annotations(mode: str) -> None:
    rendered = {item["metadata"]["name"]: item for item in of_kind(objects(render(mode)), KIND)}
    assert rendered.keys() == source_objects().keys() == {"workerpools.currant.dev", "workflows.currant.dev"}
    for name, source in source_objects().items():
        found = copy.deepcopy(rendered[name])
        assert found["metadata"].pop("labels")["app.kubernetes.io/managed-by"] == "Helm"
        found["metadata"].pop("annotations", None)
        assert found == source


@pytest.mark.parametrize(("mode", "policy"), [("default", "keep"), ("crds-not-kept", None)])
def test_an_uninstall_leaves_the_definitions_unless_values_say_otherwise(mode: str, policy: str | None) -> None:
    for item in of_kind(objects(render(mode)), KIND):
        assert item["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == policy


def test_the_definitions_are_left_out_when_somebody_else_installs_them() -> None:
    assert of_kind(objects(render("crds-not-installed")), KIND) == []


def test_pools_are_drained_before_the_definitions_go_and_only_then() -> None:
    cleanup = [item["metadata"]["name"] for item in of_kind(objects(render("crds-not-kept")), "Job")]
    assert cleanup == ["currant-cleanup"]
    for mode in ("default", "crds-not-installed"):
        assert of_kind(objects(render(mode)), "Job") == []
