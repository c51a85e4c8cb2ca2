"""A release on a real API server: what an upgrade keeps, and what an uninstall leaves."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.clusters import Kubectl
from helm import CHART, NAMESPACE, helm

KINDS = "deployments,statefulsets,services,serviceaccounts,secrets,configmaps,roles,rolebindings,leases,"
KINDS += "poddisruptionbudgets,networkpolicies,jobs,pods,clusterroles,clusterrolebindings"
# The definitions are there, and of nobody's release.
VALUES = ("--set", "crds.install=false,demoPostgres.enabled=true,networkPolicy.enabled=true")


@pytest.fixture
def release(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The chart with its demo, installed; gone when the test ends."""
    run("install", kubectl.kubeconfig, *VALUES)
    yield kubectl
    helm("uninstall", "currant", "--namespace", NAMESPACE, kubeconfig=kubectl.kubeconfig)


def run(verb: str, kubeconfig: Path, *words: str) -> None:
    """`helm install` or `helm upgrade`; fails with helm's message."""
    done = helm(verb, "currant", CHART, "--namespace", NAMESPACE, *words, kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr


def secret(kubectl: Kubectl, namespace: str, name: str, key: str) -> str:
    """A value of a Secret."""
    data = kubectl.json("get", "secret", name, "-n", namespace)["data"]
    return base64.b64decode(data[key]).decode()


def test_upgrades_keep_the_demos_password(release: Kubectl) -> None:
    def seen() -> tuple[str, str, str]:
        urls = [secret(release, namespace, "currant-db", "url") for namespace in (NAMESPACE, "default")]
        return secret(release, NAMESPACE, "currant-demo-postgres", "password"), urls[0], urls[1]

    before = seen()
    assert len(before[0]) == 32
    assert before[1] == before[2]
    run("upgrade", release.kubeconfig, *VALUES, "--set", "replicas=1")
    assert seen() == before


def test_an_upgrade_leaves_the_lease_to_its_holder(release: Kubectl) -> None:
    held = '{"spec": {"holderIdentity": "currant-operator-0", "leaseDurationSeconds": 15}}'
    release("patch", "lease", "currant-operator", "-n", NAMESPACE, "--type=merge", "-p", held)
    run("upgrade", release.kubeconfig, *VALUES, "--set", "commonLabels.team=platform")
    lease = release.json("get", "lease", "currant-operator", "-n", NAMESPACE)
    assert lease["metadata"]["labels"]["team"] == "platform"
    assert lease["spec"]["holderIdentity"] == "currant-operator-0"


def test_an_uninstall_leaves_nothing_of_the_release(release: Kubectl) -> None:
    ours = ("get", KINDS, "--all-namespaces", "-l", "app.kubernetes.io/instance=currant", "-o", "name")
    assert release(*ours)
    done = helm("uninstall", "currant", "--namespace", NAMESPACE, "--wait", kubeconfig=release.kubeconfig)
    assert done.returncode == 0, done.stderr
    assert release(*ours) == ""
    assert release("get", "leases,secrets", "-n", NAMESPACE, "-o", "name") == ""
