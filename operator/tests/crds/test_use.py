"""The resources as people use them: changes, kubectl explain, get and scale, and the status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.clusters import Kubectl, KubectlError
from samples import pool, workflow

FIXED = {"spec__scaling": {"mode": "Fixed", "replicas": 2}}


def make(kubectl: Kubectl, namespace: str, body: dict[str, Any]) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(body))


def patch(kubectl: Kubectl, namespace: str, what: str, change: dict[str, Any], *words: str) -> None:
    kubectl("patch", "-n", namespace, what, "--type=merge", "-p", json.dumps(change), *words)


@pytest.mark.parametrize(
    ("what", "change", "message"),
    [
        ("wp/orders", {"spec": {"database": {"secretRef": {"name": "b"}}}}, "database cannot be changed"),
        ("wp/orders", {"spec": {"database": {"secretRef": {"key": "b"}}}}, "make another pool for the other database"),
        ("cwf/process-order", {"spec": {"function": "shop.other"}}, "make another Workflow for the other function"),
        ("cwf/process-order", {"spec": {"poolRef": {"name": "b"}}}, "make it again with the other pool"),
    ],
)
def test_what_cannot_be_changed_says_what_to_do_instead(
    kubectl: Kubectl, namespace: str, what: str, change: dict[str, Any], message: str
) -> None:
    make(kubectl, namespace, pool())
    make(kubectl, namespace, workflow())
    with pytest.raises(KubectlError, match=message):
        patch(kubectl, namespace, what, change)


def test_all_else_can_be_changed(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, pool())
    patch(kubectl, namespace, "wp/orders", {"spec": {"queues": ["b"], "image": "c", "concurrency": 2}})
    make(kubectl, namespace, workflow())
    patch(kubectl, namespace, "cwf/process-order", {"spec": {"queue": "b", "schedules": [], "suspended": True}})


def test_kubectl_scale_changes_a_fixed_pool(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, pool(**FIXED))
    kubectl("scale", "-n", namespace, "wp/orders", "--replicas=5")
    assert kubectl.json("get", "-n", namespace, "wp/orders")["spec"]["scaling"]["replicas"] == 5


def test_kubectl_scale_is_refused_on_a_native_pool(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, pool())
    with pytest.raises(KubectlError, match="replicas"):
        kubectl("scale", "-n", namespace, "wp/orders", "--replicas=5")
    assert "replicas" not in kubectl.json("get", "-n", namespace, "wp/orders")["spec"]["scaling"]


def test_an_autoscaler_finds_the_replicas_and_the_pods_in_the_scale_subresource(
    kubectl: Kubectl, namespace: str
) -> None:
    make(kubectl, namespace, pool(spec__scaling={"mode": "External", "replicas": 2}))
    status = {"status": {"replicas": 3, "selector": "currant.dev/pool=orders"}}
    patch(kubectl, namespace, "wp/orders", status, "--subresource=status")
    path = f"/apis/currant.dev/v1alpha1/namespaces/{namespace}/workerpools/orders/scale"
    scale = json.loads(kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 3, "selector": "currant.dev/pool=orders"}


def test_the_status_is_written_apart_from_the_spec(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, pool())
    patch(kubectl, namespace, "wp/orders", {"status": {"replicas": 7}})
    assert "status" not in kubectl.json("get", "-n", namespace, "wp/orders")
    patch(
        kubectl, namespace, "wp/orders", {"status": {"replicas": 7}, "spec": {"concurrency": 9}}, "--subresource=status"
    )
    body = kubectl.json("get", "-n", namespace, "wp/orders")
    assert body["status"]["replicas"] == 7
    assert body["spec"]["concurrency"] == 50


POOL_STATUS = {
    "readyReplicas": 2,
    "drainingReplicas": 1,
    "scaling": {"desired": 3, "reason": "scaling.replicas is 3"},
    "queue": {"ready": 17, "due": 4, "running": 12, "oldestReadySeconds": 30},
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "ImagePullFailed",
            "message": "1 of 3 pods: no such image",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
}


def columns(kubectl: Kubectl, namespace: str, what: str, *words: str) -> dict[str, str]:
    """The one row that kubectl prints, by the titles of its columns."""
    titles, row = kubectl("get", "-n", namespace, what, *words).splitlines()
    starts = [titles.index(title) for title in titles.split()]
    ends = [*starts[1:], None]
    return {titles[start:end].strip(): row[start:end].strip() for start, end in zip(starts, ends, strict=True)}


def test_kubectl_get_answers_whether_a_pool_is_healthy_and_why_not(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, pool(**FIXED))
    patch(kubectl, namespace, "wp/orders", {"status": POOL_STATUS}, "--subresource=status")
    shown = columns(kubectl, namespace, "wp")
    age = shown.pop("AGE")
    assert age.endswith("s")
    assert shown == {
        "NAME": "orders",
        "PODS": "2",
        "WANTED": "3",
        "QUEUED": "17",
        "READY": "False",
        "REASON": "ImagePullFailed",
    }
    wide = columns(kubectl, namespace, "wp", "-o", "wide")
    assert wide["MESSAGE"] == "1 of 3 pods: no such image"
    assert (wide["RUNNING"], wide["DUE"], wide["OLDEST"], wide["DRAINING"]) == ("12", "4", "30", "1")
    assert (wide["MODE"], wide["QUEUES"]) == ("Fixed", '["orders","notifications"]')


def test_kubectl_get_answers_whether_a_workflow_is_healthy(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, workflow())
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Applied",
        "message": "the definition is in the database",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {
        "runs": {"pending": 3, "running": 2, "suspended": 0, "completed": 9, "failed": 1, "cancelled": 0},
        "nextScheduleTime": "2030-01-01T03:00:00Z",
        "conditions": [ready, {**ready, "type": "Registered", "reason": "Served"}],
    }
    patch(kubectl, namespace, "cwf/process-order", {"status": status}, "--subresource=status")
    shown = columns(kubectl, namespace, "cwf", "-o", "wide")
    assert shown["FUNCTION"] == "examples.simple_example.process_order_workflow"
    assert (shown["POOL"], shown["RUNNING"], shown["PENDING"], shown["FAILED"]) == ("orders", "2", "3", "1")
    assert shown["NEXT"] == "2030-01-01T03:00:00Z"
    assert (shown["READY"], shown["REASON"], shown["REGISTERED"]) == ("True", "Applied", "True")
    assert shown["MESSAGE"] == "the definition is in the database"


def test_one_word_lists_everything_of_currant(kubectl: Kubectl, namespace: str) -> None:
    make(kubectl, namespace, pool())
    make(kubectl, namespace, workflow())
    names = kubectl("get", "-n", namespace, "currant", "-o", "name").split()
    assert sorted(names) == ["workerpool.currant.dev/orders", "workflow.currant.dev/process-order"]


def fields(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    """Every field below, with its path."""
    found = []
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        found += [(here, field), *fields(field, here), *fields(field.get("items", {}), here)]
    return found


@pytest.mark.parametrize("kind", ["workerpools", "workflows"])
def test_every_field_has_a_description(kubectl: Kubectl, kind: str) -> None:
    version = kubectl.json("get", "crd", f"{kind}.currant.dev")["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    below = fields(schema["properties"]["spec"], "spec") + fields(schema["properties"]["status"], "status")
    # Those of pods are Kubernetes' own (kubectl explain pod.spec); with them the definition would be too large to apply.
    ours = [(path, field) for path, field in below if not path.startswith("spec.template.spec.")]
    assert [path for path, field in ours if not field.get("description")] == []
    assert [name for name in ("spec", "status") if not schema["properties"][name].get("description")] == []


def test_kubectl_explain_says_what_a_field_is_for(kubectl: Kubectl) -> None:
    assert "within which a ready execution should start" in " ".join(
        kubectl("explain", "wp.spec.scaling.latencyTarget").split()
    )
    assert "Replace: the last run is cancelled" in " ".join(kubectl("explain", "cwf.spec.schedules.overlap").split())
