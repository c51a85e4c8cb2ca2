"""The release itself: an upgrade that changes the definitions, and uninstalls that leave nothing behind. Comes last."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.tests import manifests
from e2e.tests.conftest import FIRST, RELEASE, SYSTEM, Release, leftovers, remove_namespaces
from e2e.tests.kube import Database, Namespace, cluster, eventually, say, show
from e2e.tests.manifests import CHART

DEFINITIONS = ("workerpools.currant.dev", "workflows.currant.dev")
OWNED = "deployments,statefulsets,replicasets,pods,services,serviceaccounts,secrets,configmaps,roles,rolebindings"
OWNED += ",poddisruptionbudgets,networkpolicies,jobs,leases"
CLUSTER_WIDE = "clusterroles,clusterrolebindings"


@pytest.fixture(scope="module")
def pools(namespace: Namespace) -> Namespace:
    """The one pool that must survive; pools of other modules would lose their databases."""
    remove_namespaces(*(name for name in leftovers() if name not in (SYSTEM.name, FIRST, namespace.name)))
    namespace.apply(
        manifests.pool("lasting", drain={"timeout": "10s"}), manifests.workflow("lasting", "e2e_app.order", "lasting")
    )
    namespace.ready("wp", "lasting")
    namespace.wait("cwf", "lasting", "Ready", "True")
    return namespace


def chart_with_a_field_more(directory: Path) -> Path:
    """A copy of the chart whose WorkerPool has a new optional field."""
    copy = directory / "currant"
    shutil.copytree(CHART, copy)
    changed = 0
    for path in (copy / "files" / "crds").iterdir():
        definition: dict[str, Any] = yaml.safe_load(path.read_text())
        if definition["metadata"]["name"] == DEFINITIONS[0]:
            schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            schema["properties"]["spec"]["properties"]["nextYear"] = {
                "type": "string",
                "description": "Comes next year.",
            }
            path.write_text(yaml.safe_dump(definition, sort_keys=False, width=1000))
            changed += 1
    assert changed == 1
    return copy


def ids_of(namespace: Namespace) -> dict[str, str]:
    """The ids of the pool, the workflow and the pool's pods."""
    pods = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in namespace.pods("lasting")}
    return {kind: namespace.get(kind, "lasting")["metadata"]["uid"] for kind in ("wp", "cwf")} | pods


def test_an_upgrade_with_a_changed_definition_keeps_the_objects(
    pools: Namespace, release: Release, tmp_path: Path
) -> None:
    before = ids_of(pools)
    assert "does not exist" in _explain_new_field()
    release.install(chart=chart_with_a_field_more(tmp_path))
    eventually("the field is served", lambda: "Comes next year." in _explain_new_field())
    show("explain", "workerpool.spec.nextYear")
    pools.patch("wp", "lasting", {"spec": {"nextYear": "soon"}})
    pools.ready("wp", "lasting")
    assert ids_of(pools) == before
    release.install()  # and back


def _explain_new_field() -> str:
    try:
        return cluster()("explain", "workerpool.spec.nextYear")
    except Exception as error:
        return str(error)


def test_the_operators_logged_no_error_and_no_refusal(release: Release, pools: Namespace) -> None:
    release.keep_logs()
    lines = [line for log in release.logs for line in log.splitlines()]
    # kopf calls it an error when a watch has to begin again, as when a definition changes.
    # A 403 after a full stop is the milliseconds of a time.
    ours = r'forbidden|(?<!\.)\b403\b|"level": "(error|critical)", "logger": "currant_operator'
    bad = [line for line in lines if re.search(ours, line, re.IGNORECASE)]
    say(f"{len(lines)} lines of {len(release.logs)} logs of operators, {len(bad)} with an error or a refusal")
    assert not bad, "\n".join(bad[:10])


def test_an_uninstall_leaves_pools_and_their_workers_and_nothing_of_its_own(pools: Namespace, release: Release) -> None:
    before = ids_of(pools)
    said = release.uninstall()
    assert "kept due to the resource policy" in said
    eventually("nothing of the release is left", lambda: not left())
    say("left of the release: nothing")
    pools.show("get", "wp,cwf,pods")
    assert ids_of(pools) == before


def left() -> str:
    """Objects with the release's label in any namespace, and what it stored in the cluster without a label."""
    selector = f"app.kubernetes.io/instance={RELEASE}"
    own = cluster()("get", OWNED, "-A", "-l", selector, "-o", "name")
    own += cluster()("get", CLUSTER_WIDE, "-l", selector, "-o", "name")
    own += SYSTEM("get", "leases,secrets,persistentvolumeclaims", "-o", "name")
    return own.strip()


def test_an_uninstall_that_keeps_nothing_drains_and_removes_everything(
    pools: Namespace, release: Release, database: Database
) -> None:
    foreign = [
        item["metadata"]["namespace"]
        for kind in DEFINITIONS
        for item in cluster().json("get", kind, "-A")["items"]
        if not item["metadata"]["namespace"].startswith("e2e-")
    ]
    if foreign:
        pytest.skip(f"it would delete the WorkerPools and Workflows of {', '.join(sorted(set(foreign)))}")
    before = ids_of(pools)
    release.install("--set", "crds.keep=false")
    SYSTEM("exec", "currant-demo-postgres-0", "--", "createdb", "-U", "currant", database.name)
    pools.ready("wp", "lasting")
    assert before.items() >= {kind: uid for kind, uid in ids_of(pools).items() if kind in ("wp", "cwf")}.items()
    release.uninstall()
    eventually("nothing of the release is left", lambda: not left())
    assert cluster()("get", "crd", *DEFINITIONS, "--ignore-not-found", "-o", "name") == ""
    assert pools.items("deployments") == []
