"""The operator: who leads, what it repairs, what it may do."""

from __future__ import annotations

import re

import pytest

from e2e.clusters import KubectlError
from e2e.tests import manifests
from e2e.tests.conftest import SYSTEM, Release
from e2e.tests.kube import Namespace, cluster, eventually, say, show

ACCOUNT = f"system:serviceaccount:{SYSTEM.name}:currant-operator"
MAY = (
    ("patch", "workerpools.currant.dev/status", "default"),
    ("create", "deployments.apps", "default"),
    ("get", "pods", "default"),
    ("patch", "pods", "default"),
    ("get", "secrets", "default"),
    ("create", "events.events.k8s.io", "default"),
    ("update", "leases.coordination.k8s.io/currant-operator", SYSTEM.name),
)
MAY_NOT = (
    ("create", "pods", "default"),
    ("delete", "pods", "default"),
    ("create", "pods/exec", "default"),
    ("create", "secrets", "default"),
    ("patch", "secrets", "default"),
    ("delete", "secrets", "default"),
    ("create", "workerpools.currant.dev", "default"),
    ("delete", "workerpools.currant.dev", "default"),
    ("update", "leases.coordination.k8s.io/another", SYSTEM.name),
    ("create", "leases.coordination.k8s.io", "default"),
    ("create", "rolebindings.rbac.authorization.k8s.io", "default"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io", ""),
    ("list", "nodes", ""),
    ("get", "configmaps", "default"),
    ("impersonate", "users", ""),
)


@pytest.fixture(scope="module")
def pools(namespace: Namespace) -> Namespace:
    """A pool that works."""
    namespace.apply(manifests.pool("steady"))
    namespace.ready("wp", "steady")
    return namespace


def test_another_leads_when_the_leaders_pod_is_killed(release: Release, pools: Namespace) -> None:
    release.keep_logs()
    leader = release.leader
    pod = next(pod["metadata"]["name"] for pod in release.operators if pod["metadata"]["name"] in leader)
    SYSTEM.show("delete", "pod", pod, "--grace-period=0", "--force")
    pools.apply(manifests.pool("after"))
    pools.ready("wp", "after")
    assert release.leader
    assert pod not in release.leader
    SYSTEM.show("get", "lease,pods")
    SYSTEM("rollout", "status", "deployment/currant-operator", "--timeout=60s")


def test_a_hand_edited_deployment_is_put_back(pools: Namespace) -> None:
    before = pools.get("deployment", "steady")["spec"]["template"]["spec"]["containers"][0]
    patch = '{"spec": {"template": {"spec": {"containers": [{"name": "worker", "args": ["--help"]}]}}}}'
    pools("patch", "deployment", "steady", "--type=strategic", "-p", patch)
    pools("scale", "deployment", "steady", "--replicas=4")

    def restored() -> bool:
        spec = pools.get("deployment", "steady")["spec"]
        return bool(spec["template"]["spec"]["containers"][0] == before and spec["replicas"] == 1)

    eventually("the Deployment is as it was", restored)
    pools.ready("wp", "steady")


def test_a_deleted_deployment_is_made_again(pools: Namespace) -> None:
    old = pools.get("deployment", "steady")["metadata"]["uid"]
    pools("delete", "deployment", "steady", "--wait=false")
    eventually("a new Deployment", lambda: pools.get("deployment", "steady")["metadata"]["uid"] != old)
    pools.ready("wp", "steady")


def test_the_operators_rights_are_narrow(release: Release) -> None:
    rows = [(f"{'yes' if may(*ask) else 'no'}", *ask) for ask in (*MAY, *MAY_NOT)]
    say("\n".join(" ".join(row).rstrip() for row in rows))
    assert [row[0] for row in rows] == ["yes"] * len(MAY) + ["no"] * len(MAY_NOT)


def may(verb: str, resource: str, namespace: str) -> bool:
    """The answer of `kubectl auth can-i` for the operator's account."""
    words = ["auth", "can-i", verb, resource, f"--as={ACCOUNT}", *(["-n", namespace] if namespace else [])]
    try:
        return cluster()(*words).strip() == "yes"
    except KubectlError as error:
        # The exit code is 1 when the answer is no; the output may then be only a warning.
        if not re.search(r"^no$|^Warning: resource .* is not namespace scoped", str(error), re.MULTILINE):
            raise
        return False


def test_everything_runs_where_only_the_restricted_may(release: Release, pools: Namespace) -> None:
    for place in (SYSTEM, pools):
        labels = cluster().json("get", "namespace", place.name)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert place.items("pods")
    show("get", "pods", "-n", SYSTEM.name, "-o", "wide")


def test_the_metrics_page_tells_of_reconciles(release: Release, pools: Namespace) -> None:
    page = cluster()("get", "--raw", f"/api/v1/namespaces/{SYSTEM.name}/pods/{release.leader}:8080/proxy/metrics")
    counts = [line for line in page.splitlines() if line.startswith("currant_operator_reconciles_total")]
    say("\n".join(counts))
    assert counts
