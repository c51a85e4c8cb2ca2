"""The objects of a pool: what is in them, how a template changes them, and when they are applied again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from currant_operator.plan import manifests
from currant_operator.plan.drift import drift_digest, needs_apply
from currant_operator.plan.merging import merge
from currant_operator.plan.quantities import amount
from currant_operator.plan.resources import parse_pool
from worlds import World, applied, converged, pool, pool_body

Body = dict[str, Any]


def worker(**changes: Any) -> Body:
    """The worker's container of a pool with these changes."""
    spec = manifests.pod_template(pool(**changes), None)["spec"]
    return next(dict(container) for container in spec["containers"] if container["name"] == "worker")


def environment(**changes: Any) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in worker(**changes)["env"]}


def template(spec: Body) -> Body:
    return {"spec__template": {"spec": spec}}


def container(**fields: Any) -> Body:
    return template({"containers": [{"name": "worker", **fields}]})


def test_the_worker_is_given_its_queues_modules_and_name() -> None:
    assert worker(spec__queues=["a", "b"], spec__modules=["m", "n"])["args"] == [
        *("worker", "-q", "a", "-q", "b", "-m", "m", "-m", "n"),
        *("--name", "$(WORKFLOWS_POD_NAME)"),
    ]


def test_the_name_of_a_queue_is_never_taken_for_a_variable() -> None:
    assert worker(spec__queues=["$(HOME)"])["args"][2] == "$$(HOME)"


def test_the_worker_has_its_settings_from_the_pool() -> None:
    found = environment(
        spec__concurrency=7, spec__drain={"timeout": "90s"}, spec__database__secretRef={"name": "s", "key": "k"}
    )
    assert found == {
        "WORKFLOWS_DATABASE_URL": {"secretKeyRef": {"name": "s", "key": "k"}},
        "WORKFLOWS_POOL": "shop/orders",
        "WORKFLOWS_POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "WORKFLOWS_POD_UID": {"fieldRef": {"fieldPath": "metadata.uid"}},
        "WORKFLOWS_WORKER_MAX_CONCURRENT": "7",
        "WORKFLOWS_WORKER_SHUTDOWN_GRACE": "85",
        "WORKFLOWS_HTTP_PORT": "8080",
    }


def test_the_pod_has_as_long_to_end_as_the_worker_has_to_drain() -> None:
    spec = manifests.pod_template(pool(spec__drain={"timeout": "1m30.5s"}), None)["spec"]
    assert spec["terminationGracePeriodSeconds"] == 91


def test_the_last_line_of_a_worker_that_fails_is_kept() -> None:
    assert worker()["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_where_the_cluster_assigns_the_user_the_pods_name_none_and_are_as_restricted_for_the_rest() -> None:
    spec = manifests.pod_template(pool(spec__podSecurity="AssignedUser"), None)["spec"]
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert worker(spec__podSecurity="AssignedUser")["securityContext"] == worker()["securityContext"]


def test_without_pod_security_the_templates_is_all_there_is() -> None:
    spec = manifests.pod_template(pool(spec__podSecurity="None"), None)["spec"]
    assert "securityContext" not in spec
    assert "securityContext" not in worker(spec__podSecurity="None")
    own = manifests.pod_template(
        pool(spec__podSecurity="None", **template({"securityContext": {"runAsUser": 7}})), None
    )
    assert own["spec"]["securityContext"] == {"runAsUser": 7}


def test_the_pods_fit_the_restricted_standard() -> None:
    spec = manifests.pod_template(pool(), None)["spec"]
    assert (
        spec["securityContext"] | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        == spec["securityContext"]
    )
    assert worker()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert spec["automountServiceAccountToken"] is False


def test_every_object_is_labelled_and_owned_by_the_pool() -> None:
    for manifest in (
        manifests.deployment(pool(), None),
        manifests.service_account(pool()),
        manifests.pod_disruption_budget(pool()),
    ):
        assert manifest is not None
        assert manifest["metadata"]["labels"] == {
            "app.kubernetes.io/name": "currant-worker",
            "app.kubernetes.io/managed-by": "currant",
            "currant.dev/pool": "orders",
        }
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("WorkerPool", "orders", True)


def test_another_url_makes_new_pods() -> None:
    one, other = (manifests.deployment(pool(), fingerprint) for fingerprint in ("aaaa", "bbbb"))
    assert one["spec"]["template"] != other["spec"]["template"]


def test_the_template_is_merged_by_names_as_server_side_apply_does() -> None:
    merged = worker(
        **container(
            image="other:2",
            resources={"limits": {"cpu": "2"}},
            env=[{"name": "TZ", "value": "UTC"}],
            ports=[{"containerPort": 9000, "name": "debug"}],
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
            readinessProbe={"periodSeconds": 1},
        )
    )
    assert merged["image"] == "other:2"
    assert merged["resources"] == {"limits": {"cpu": "2"}}
    assert [port["name"] for port in merged["ports"]] == ["http", "debug"]
    assert [mount["mountPath"] for mount in merged["volumeMounts"]] == ["/tmp", "/data"]
    assert merged["readinessProbe"]["periodSeconds"] == 1
    assert merged["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert [each["name"] for each in merged["env"]][-1] == "TZ"


def probes(found: Body) -> list[Any]:
    return [found[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")]


def test_the_probes_ask_for_the_port_by_its_number_whatever_a_template_calls_it() -> None:
    for ports in ([], [{"containerPort": 8080, "name": "metrics"}], [{"containerPort": 9000, "name": "http"}]):
        assert probes(worker(**container(ports=ports))) == [8080, 8080, 8080]


def test_our_port_has_another_name_where_a_template_gives_its_name_to_another_port() -> None:
    found = worker(**container(ports=[{"containerPort": 9000, "name": "http"}, {"containerPort": 9001}]))["ports"]
    assert [(port["containerPort"], port.get("name")) for port in found] == [
        (8080, "currant-http"),
        (9000, "http"),
        (9001, None),
    ]


def test_a_probe_of_the_template_may_ask_another_port() -> None:
    probe = worker(**container(livenessProbe={"httpGet": {"port": "other"}}))["livenessProbe"]
    assert probe["httpGet"] == {"port": "other"}, "a handler of the template is whole"


def test_a_probe_of_another_kind_replaces_ours() -> None:
    probe = worker(**container(livenessProbe={"exec": {"command": ["true"]}}))["livenessProbe"]
    assert "httpGet" not in probe
    assert probe["exec"] == {"command": ["true"]}
    assert probe["failureThreshold"] == 6


def test_a_volume_of_the_template_replaces_ours_of_that_name() -> None:
    spec = manifests.pod_template(
        pool(**template({"volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}]})), None
    )["spec"]
    assert spec["volumes"] == [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}]


def test_null_takes_a_default_away() -> None:
    assert "livenessProbe" not in worker(**container(livenessProbe=None))


def test_side_cars_come_after_the_worker_and_keep_their_environment() -> None:
    spec = manifests.pod_template(
        pool(**template({"containers": [{"name": "log", "image": "log:1", "env": [{"name": "A", "value": "b"}]}]})),
        None,
    )["spec"]
    assert [each["name"] for each in spec["containers"]] == ["worker", "log"]
    assert spec["containers"][1] == {"name": "log", "image": "log:1", "env": [{"name": "A", "value": "b"}]}


def test_what_the_operator_must_decide_cannot_be_changed_by_a_template() -> None:
    """The schema refuses it too; this is for objects that are older than its rules."""
    changes = {
        "spec__template": {
            "metadata": {"labels": {"currant.dev/pool": "x", "team": "y"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "restartPolicy": "Never",
                "containers": [{"name": "worker", "env": [{"name": "WORKFLOWS_POOL", "value": "x"}]}],
            },
        }
    }
    made = manifests.pod_template(pool(**changes), None)
    assert made["metadata"]["labels"]["currant.dev/pool"] == "orders"
    assert made["metadata"]["labels"]["team"] == "y"
    assert made["spec"]["terminationGracePeriodSeconds"] == 300
    assert "restartPolicy" not in made["spec"]
    assert environment(**changes)["WORKFLOWS_POOL"] == "shop/orders"


def test_a_service_account_of_the_users_is_used_and_ours_goes() -> None:
    world = converged()
    world.body["spec"]["template"] = {"spec": {"serviceAccountName": "mine"}}
    plan = world.plan()
    assert [(ref.kind, ref.name, ref.uid) for ref in plan.delete] == [
        ("ServiceAccount", "orders", "uid-of-ServiceAccount")
    ]
    (deployment,) = plan.apply
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


def test_the_template_of_the_pool_is_left_as_it_is() -> None:
    body = pool_body(**container(env=[{"name": "A", "value": "b"}]))
    before = copy.deepcopy(body)
    manifests.deployment(parse_pool(body), "aaaa")
    assert body == before


# Differences


def live(**changes: Any) -> tuple[Body, Body]:
    """A manifest, and the object that the API server made of it."""
    manifest = manifests.deployment(pool(**changes), "aaaa")
    return manifest, applied(None, manifest, "currant-operator")


def test_what_was_applied_is_not_applied_again() -> None:
    manifest, there = live()
    there["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    there["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    assert not needs_apply(manifest, there)


def test_a_pool_that_no_longer_wants_something_is_applied_again() -> None:
    _, there = live(**container(env=[{"name": "A", "value": "b"}]))
    assert needs_apply(manifests.deployment(pool(), "aaaa"), there)


EDITS: dict[str, Any] = {
    "image": lambda spec: spec["containers"][0].update(image="evil:1"),
    "argument": lambda spec: spec["containers"][0]["args"].append("--concurrency=1"),
    "variable": lambda spec: spec["containers"][0]["env"][1].update(value="x/y"),
    "variable gone": lambda spec: spec["containers"][0]["env"].pop(1),
    "container gone": lambda spec: spec["containers"].clear(),
    "grace": lambda spec: spec.update(terminationGracePeriodSeconds=1),
    "user": lambda spec: spec["securityContext"].update(runAsNonRoot=False),
    "limit": lambda spec: spec["containers"][0]["resources"]["limits"].update(cpu="750m"),
    "probe": lambda spec: spec["containers"][0].pop("livenessProbe"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_by_hand_is_put_back(edit: Any) -> None:
    manifest, there = live(**container(resources={"limits": {"cpu": "0.5"}}))
    edit(there["spec"]["template"]["spec"])
    assert needs_apply(manifest, there)


def test_what_others_add_is_left_to_them() -> None:
    manifest, there = live()
    there["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    there["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    there["spec"]["template"]["spec"]["containers"].insert(0, {"name": "mesh", "image": "mesh:1"})
    there["spec"]["template"]["spec"]["containers"][1]["env"].append({"name": "ADDED", "value": "1"})
    there["spec"]["replicas"] = 9
    assert not needs_apply(manifest, there)


def test_amounts_in_another_form_are_the_same() -> None:
    manifest, there = live(
        **container(resources={"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": {"cpu": "1000m"}})
    )
    there["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "limits": {"cpu": "500m", "memory": "1Gi"},
        "requests": {"cpu": "1"},
    }
    assert not needs_apply(manifest, there)


def test_what_the_server_writes_in_its_own_way_is_applied_once_and_then_accepted() -> None:
    manifest, there = live()
    there["spec"]["template"]["spec"]["containers"][0]["args"][0] = "WORKER"
    digest = drift_digest(manifest, there)
    assert digest is not None
    assert not needs_apply(manifest, there, frozenset({digest}))
    there["spec"]["template"]["spec"]["containers"][0]["args"][0] = "other"
    assert needs_apply(manifest, there, frozenset({digest}))


def test_empty_values_that_the_server_leaves_out_are_no_difference() -> None:
    manifest, there = live(**container(env=[{"name": "EMPTY", "value": ""}], tty=False))
    for each in there["spec"]["template"]["spec"]["containers"]:
        del each["tty"]
        del each["env"][-1]["value"]
    assert not needs_apply(manifest, there)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1000m"),
        (1, "1"),
        (0.5, "500m"),
        ("1Gi", "1024Mi"),
        ("1e3", "1k"),
        ("0.1", "100m"),
        ("1G", "1000M"),
        ("2E", "2E"),
    ],
)
def test_amounts_are_compared_by_their_value(one: Any, other: Any) -> None:
    assert amount(one) == amount(other) is not None


@pytest.mark.parametrize("text", ["", "x", "1x", "m", ".", True, None, [], "1 Gi"])
def test_what_is_no_amount_is_none(text: Any) -> None:
    assert amount(text) is None


def test_merging_changes_neither_side() -> None:
    base: Body = {"a": {"b": [1]}, "containers": [{"name": "x", "env": [{"name": "A"}]}]}
    over: Body = {"a": {"c": 2}, "containers": [{"name": "x", "env": [{"name": "B"}]}]}
    before = copy.deepcopy((base, over))
    result = merge(base, over)
    assert (base, over) == before
    assert result == {"a": {"b": [1], "c": 2}, "containers": [{"name": "x", "env": [{"name": "A"}, {"name": "B"}]}]}


# The replicas, which pass from the manifest to the scaler


def test_a_deployment_is_made_with_its_replicas_so_that_not_one_pod_is_there_too_soon() -> None:

    world = World(pool_body(spec__scaling={"mode": "Fixed", "replicas": 0}))
    deployment = next(each for each in world.plan().apply if each["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 0


def test_replicas_stay_in_the_manifest_until_the_scaler_has_them() -> None:
    world = converged()
    assert world.deployment is not None
    entries = world.deployment["metadata"]["managedFields"]
    entries[:] = [entry for entry in entries if entry["manager"] == "currant-operator"]
    world.body["spec"]["image"] = "new:1"
    plan = world.plan()
    assert plan.apply[0]["spec"]["replicas"] == 2
    assert plan.replicas == 2


def test_replicas_are_left_out_of_the_manifest_once_the_scaler_has_them() -> None:
    world = converged()
    world.body["spec"]["image"] = "new:1"
    plan = world.plan()
    assert "replicas" not in plan.apply[0]["spec"]
    assert plan.replicas is None


def test_replicas_that_somebody_else_has_changed_are_put_back() -> None:
    world = converged()
    assert world.deployment is not None
    world.deployment["spec"]["replicas"] = 7
    assert world.plan().replicas == 2
