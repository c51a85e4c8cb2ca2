"""Each mode of the chart renders what its golden file says. `charts/update-golden.sh` writes them anew."""

from __future__ import annotations

import os
import re

import pytest

from helm import CHART, GOLDEN, MODES, helm, objects, of_kind, render, values_of

UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


def shortened(text: str) -> str:
    """Without the definitions and the dashboard: they are compared with their files elsewhere."""
    kept = []
    for document in re.split(r"(?m)^---\n", text):
        if "\nkind: CustomResourceDefinition\n" in document:
            kept.append(f"# CustomResourceDefinition {objects(document)[0]['metadata']['name']}, as in crds/\n")
        elif document.strip():
            kept.append(re.sub(r"(?s)(  currant.json: \|\n).*", r"\1    # as in files/dashboards/\n", document))
    return "---\n".join(kept)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_renders_its_golden_file(mode: str) -> None:
    rendered = shortened(render(mode))
    golden = GOLDEN / f"{mode}.yaml"
    if UPDATE:
        golden.write_text(rendered, encoding="utf-8")
    assert golden.exists(), f"there is no {golden.name}: run charts/update-golden.sh and look at what it wrote"
    assert rendered == golden.read_text(encoding="utf-8"), "run charts/update-golden.sh if this change is meant"


def test_every_golden_file_is_of_a_mode() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.yaml")) == MODES


@pytest.mark.parametrize("mode", MODES)
def test_helm_lint_finds_nothing_in_a_mode(mode: str) -> None:
    done = helm("lint", "--strict", CHART, "--kube-version", "1.34.0", "--values", values_of(mode))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_no_two_objects_have_the_same_name(mode: str) -> None:
    found = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects(render(mode))
    ]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("mode", MODES)
def test_every_object_but_the_cluster_wide_has_a_namespace_and_the_labels_of_the_release(mode: str) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    cluster_wide |= {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    for item in objects(render(mode)):
        metadata = item["metadata"]
        assert ("namespace" in metadata) == (item["kind"] not in cluster_wide), item["kind"]
        assert metadata["labels"]["app.kubernetes.io/instance"] == "currant"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_there_are_no_hooks_that_migrate() -> None:
    hooks = {
        item["metadata"]["name"]: item["metadata"]["annotations"]["helm.sh/hook"]
        for mode in MODES
        for item in objects(render(mode))
        if "helm.sh/hook" in item["metadata"].get("annotations", {})
    }
    assert set(hooks.values()) == {"test", "pre-delete"}


def test_monitoring_comes_with_the_api_of_the_prometheus_operator() -> None:
    kinds = ("ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap")
    assert [len(of_kind(objects(render("default")), kind)) for kind in kinds] == [0, 0, 0, 0]
    assert [len(of_kind(objects(render("monitoring-found")), kind)) for kind in kinds] == [1, 1, 1, 1]
