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


def refused(kubectl: Kubectl, name: str, namespace: str, *words: str) -> str:
    """Helm's message about an install that it refuses."""
    install = ("install", name, CHART, "--namespace", namespace, *words)
    done = helm(*install, kubeconfig=kubectl.kubeconfig)
    assert done.returncode != 0, f"helm installs {name} in {namespace}"
    return done.stderr


def test_a_second_release_that_would_serve_the_same_namespaces_is_refused(release: Kubectl) -> None:
    first = f"the release currant of namespace {NAMESPACE} serves every namespace already, and this one would serve"
    for name, namespace in (("currant", "reports"), ("second", NAMESPACE)):
        assert f"{first} every namespace" in refused(release, name, namespace, "--set", "crds.install=false")
    message = refused(release, "second", "reports", "--set", "watchNamespace=shop")
    assert f"{first} the namespace shop: two operators must not serve one namespace" in message
    assert release("get", "deployments", "-n", "reports", "-o", "name") == ""


def test_two_releases_that_watch_one_namespace_are_refused_and_of_two_namespaces_are_not(kubectl: Kubectl) -> None:
    def words(watched: str) -> tuple[str, ...]:
        return ("--set", f"watchNamespace={watched},crds.install=false")

    try:
        for name, watched in (("first", "shop"), ("third", "reports")):
            done = helm("install", name, CHART, "-n", NAMESPACE, *words(watched), kubeconfig=kubectl.kubeconfig)
            assert done.returncode == 0, done.stderr
        # Helm refuses it by the Lease that both would share; this account may not list Deployments of other namespaces.
        message = refused(kubectl, "second", NAMESPACE, *words("shop"))
        assert (
            'Lease "currant-operator" in namespace "shop" exists and cannot be imported into the current release'
            in message
        )
        message = refused(kubectl, "second", NAMESPACE, "--set", "crds.install=false")
        assert "and this one would serve every namespace" in message
    finally:
        for name in ("first", "second", "third"):
            helm("uninstall", name, "-n", NAMESPACE, kubeconfig=kubectl.kubeconfig)
