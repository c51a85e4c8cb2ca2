"""The admission policy on a real API server: which WorkerPools it refuses, and that those from before it can be ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.clusters import Kubectl, KubectlError
from helm import Object, objects, render
from operators import eventually

WORKER = {"name": "worker"}


@pytest.fixture(scope="module")
def policy(kubectl: Kubectl) -> Iterator[Kubectl]:
    """The policy, in force."""
    found = [item for item in objects(render("admission-policy")) if item["kind"].startswith("ValidatingAdmission")]
    assert len(found) == 2
    text = yaml.safe_dump_all(found)
    kubectl("create", "-f", "-", stdin=text)
    bad = json.dumps(pool({"hostNetwork": True}))
    eventually(lambda: refusal(kubectl, bad))
    yield kubectl
    kubectl("delete", "-f", "-", stdin=text)


def pool(pod: dict[str, Any], **spec: Any) -> Object:
    """A WorkerPool whose template has this part of a pod's spec."""
    return {
        "apiVersion": "currant.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {
            "queues": ["orders"],
            "modules": ["shop.orders"],
            "image": "shop:1",
            "database": {"secretRef": {"name": "currant-db"}},
            "template": {"spec": pod},
            **spec,
        },
    }


def container(**fields: Any) -> dict[str, Any]:
    """A template with these fields of the worker's container."""
    return {"containers": [{"name": "worker", **fields}]}


def context(**fields: Any) -> dict[str, Any]:
    """A template with this security context of the worker's container."""
    return container(securityContext=fields)


def refusal(kubectl: Kubectl, body: str) -> str:
    """The message with which the API server refuses a pool; empty if it accepts the pool."""
    try:
        kubectl("create", "--dry-run=server", "-f", "-", stdin=body)
    except KubectlError as error:
        return str(error)
    return ""


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "network": ({"hostNetwork": True}, "hostNetwork, hostPID and hostIPC are not allowed"),
    "processes": ({"hostPID": True}, "hostNetwork, hostPID and hostIPC are not allowed"),
    "ipc": ({"hostIPC": True}, "hostNetwork, hostPID and hostIPC are not allowed"),
    "path": ({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "hostPath is not allowed"),
    "port": (container(ports=[{"containerPort": 1, "hostPort": 80}]), "hostPort is not allowed"),
    "node": ({"nodeName": "control-plane"}, "nodeName is not allowed"),
    "privileged": (context(privileged=True), "privileged, allowPrivilegeEscalation"),
    "escalation": (context(allowPrivilegeEscalation=True), "privileged, allowPrivilegeEscalation"),
    "capability": (context(capabilities={"add": ["SYS_ADMIN"]}), "added capabilities"),
    "proc": (context(procMount="Unmasked"), "procMount"),
    "seccomp": (context(seccompProfile={"type": "Unconfined"}), "Unconfined profiles"),
    "seccomp of the pod": ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "Unconfined profiles"),
    "apparmor": (context(appArmorProfile={"type": "Unconfined"}), "Unconfined profiles"),
    "windows": ({"securityContext": {"windowsOptions": {"hostProcess": True}}}, "hostProcess"),
    "root": (context(runAsUser=0), "may not run as root"),
    "root of the pod": ({"securityContext": {"runAsUser": 0}}, "may not run as root"),
    "perhaps root": (context(runAsNonRoot=False), "may not run as root"),
    "an init container": (
        {"initContainers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]},
        "privileged, allowPrivilegeEscalation",
    ),
    "a side-car": (
        {"containers": [WORKER, {"name": "b", "image": "b", "securityContext": {"privileged": True}}]},
        "privileged, allowPrivilegeEscalation",
    ),
    "account": ({"serviceAccountName": "admin"}, "this ServiceAccount is not allowed here"),
}


def test_a_pool_from_before_the_policy_can_be_ended_but_not_changed_for_another_bad_one(kubectl: Kubectl) -> None:
    """It is the first one: the policy of the others is not there yet."""
    bad = pool({"hostNetwork": True})
    bad["metadata"]["finalizers"] = ["currant.dev/drain"]
    kubectl("create", "-f", "-", stdin=json.dumps(bad))
    found = [item for item in objects(render("admission-policy")) if item["kind"].startswith("ValidatingAdmission")]
    text = yaml.safe_dump_all(found)
    kubectl("create", "-f", "-", stdin=text)
    try:
        eventually(
            lambda: refusal(
                kubectl, json.dumps(pool({"hostPID": True}) | {"metadata": {"name": "x", "namespace": "shop"}})
            )
        )
        with pytest.raises(KubectlError, match="hostNetwork, hostPID and hostIPC are not allowed"):
            kubectl("patch", "wp", "orders", "-n", "shop", "--type=merge", "-p", '{"spec": {"concurrency": 7}}')
        kubectl("delete", "wp", "orders", "-n", "shop", "--wait=false")
        # As the operator does when it is drained.
        kubectl("patch", "wp", "orders", "-n", "shop", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        assert kubectl("get", "wp", "-n", "shop", "-o", "name") == ""
    finally:
        kubectl("delete", "-f", "-", stdin=text)


@pytest.mark.parametrize(("pod", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_template_that_asks_for_more_than_a_worker_needs_is_refused(
    policy: Kubectl, pod: dict[str, Any], said: str
) -> None:
    message = refusal(policy, json.dumps(pool(pod)))
    assert said in message
    assert "ValidatingAdmissionPolicy" in message


def test_pods_without_any_security_context_are_refused(policy: Kubectl) -> None:
    assert "podSecurity: None is not allowed" in refusal(policy, json.dumps(pool({}, podSecurity="None")))


@pytest.mark.parametrize(
    "pod",
    [
        {},
        {"serviceAccountName": "orders"},
        {"serviceAccountName": "deployer"},
        {"volumes": [{"name": "a", "emptyDir": {}}], "nodeSelector": {"disk": "ssd"}, "hostNetwork": False},
        {"securityContext": {"runAsUser": 7, "fsGroup": 7, "seccompProfile": {"type": "RuntimeDefault"}}},
        container(
            ports=[{"containerPort": 1}], securityContext={"capabilities": {"drop": ["ALL"]}, "privileged": False}
        ),
    ],
    ids=str,
)
def test_an_ordinary_template_is_taken(policy: Kubectl, pod: dict[str, Any]) -> None:
    assert refusal(policy, json.dumps(pool(pod))) == ""


def test_a_pool_without_a_template_is_taken(policy: Kubectl) -> None:
    body = pool({})
    del body["spec"]["template"]
    assert refusal(policy, json.dumps(body)) == ""
