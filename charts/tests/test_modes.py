"""Rules that every mode of the chart keeps. `make generate` writes what each mode renders into golden/, for reviews."""

from __future__ import annotations

import pytest

from helm import CHART, MODES, helm, objects, of_kind, render, values_of


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
