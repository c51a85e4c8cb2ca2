"""The operator's Deployment and what is around it, mode by mode, where the golden files do not say why."""

from __future__ import annotations

from typing import Any

import pytest

from helm import MODES, Object, objects, of_kind, one, render, template

OPERATOR = "currant-operator"


def container(mode: str, name: str = OPERATOR) -> dict[str, Any]:
    """The operator's container in a mode."""
    found: Object = one(objects(render(mode)), "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(mode: str, name: str = OPERATOR) -> dict[str, str]:
    """Its variables; those that the cluster fills in are given as a pod would have them."""
    filled = {"metadata.name": "currant-operator-0", "metadata.namespace": "currant-system"}
    return {
        entry["name"]: entry["value"] if "value" in entry else filled[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in container(mode, name)["env"]
    }


def test_two_replicas_that_a_drain_of_nodes_takes_one_at_a_time() -> None:
    found = objects(render("default"))
    assert one(found, "Deployment", OPERATOR)["spec"]["replicas"] == 2
    assert one(found, "PodDisruptionBudget", OPERATOR)["spec"]["maxUnavailable"] == 1


def test_the_image_is_of_the_charts_version_unless_a_tag_or_a_digest_is_given() -> None:
    def image(*arguments: str) -> str:
        found = objects(template("--show-only", "templates/operator.yaml", *arguments))
        named: str = one(found, "Deployment", OPERATOR)["spec"]["template"]["spec"]["containers"][0]["image"]
        return named

    digest = "sha256:" + "0" * 64
    assert image() == "currant-operator:0.1.0"
    assert image("--set", "image.tag=dev,image.repository=currant.local/currant-operator") == (
        "currant.local/currant-operator:dev"
    )
    assert image("--set", f"image.tag=dev,image.digest={digest}") == f"currant-operator@{digest}"


@pytest.mark.parametrize("mode", MODES)
def test_services_budgets_and_policies_select_exactly_the_pods_they_are_for(mode: str) -> None:
    found = objects(render(mode))
    pods = {
        item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"]
        for item in [*of_kind(found, "Deployment"), *of_kind(found, "StatefulSet")]
    }
    selectors = {
        (item["kind"], item["metadata"]["name"]): item["spec"].get("podSelector", item["spec"].get("selector"))
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy")
        for item in of_kind(found, kind)
    }
    assert selectors
    for (kind, name), selector in selectors.items():
        wanted = selector.get("matchLabels", selector).items()
        assert [pod for pod, labels in pods.items() if wanted <= labels.items()] == [name], kind


def secrets(mode: str) -> dict[tuple[str, str], Object]:
    """The Secrets of a mode by namespace and name."""
    found = of_kind(objects(render(mode)), "Secret")
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in found}


@pytest.mark.parametrize(
    ("mode", "namespaces"),
    [
        ("default", []),
        ("existing-secret", []),
        ("watch-namespace", ["currant-system", "shop"]),
        ("database-url", ["currant-system", "reports", "shop"]),
        ("demo-postgres", ["currant-system", "default"]),
    ],
)
def test_the_databases_secret_is_where_pools_are_to_find_it(mode: str, namespaces: list[str]) -> None:
    assert sorted(namespace for namespace, name in secrets(mode) if name == "currant-db") == namespaces
    assert len({str(item["data"]) for (_, name), item in secrets(mode).items() if name == "currant-db"}) <= 1


def test_the_demos_password_is_made_when_none_is_given_and_is_the_one_in_the_url() -> None:
    import base64

    found = objects(template("--set", "demoPostgres.enabled=true"))
    password = base64.b64decode(one(found, "Secret", "currant-demo-postgres")["data"]["password"]).decode()
    assert len(password) == 32
    urls = {
        base64.b64decode(item["data"]["url"]).decode()
        for item in of_kind(found, "Secret")
        if item["metadata"]["name"] == "currant-db-owner"
    }
    host = "currant-demo-postgres.currant-system.svc"
    assert urls == {f"postgresql://currant:{password}@{host}:5432/currant"}
    again = objects(template("--set", "demoPostgres.enabled=true,replicas=2"))
    assert (
        one(again, "Secret", "currant-demo-postgres")["data"] != one(found, "Secret", "currant-demo-postgres")["data"]
    )


def test_the_demo_says_that_it_is_not_for_production_on_everything_it_makes() -> None:
    found = objects(render("demo-postgres"))
    of_demo = [item for item in found if item["metadata"]["name"] == "currant-demo-postgres"]
    assert sorted(item["kind"] for item in of_demo) == ["ConfigMap", "Secret", "Service", "StatefulSet"]
    for item in of_demo:
        assert "currant.dev/not-for-production" in item["metadata"]["annotations"]


def test_an_uninstall_takes_the_demos_data_along() -> None:
    stateful = one(objects(render("demo-postgres")), "StatefulSet", "currant-demo-postgres")["spec"]
    assert stateful["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    in_memory = one(objects(render("demo-postgres-in-memory")), "StatefulSet", "currant-demo-postgres")["spec"]
    assert "volumeClaimTemplates" not in in_memory


@pytest.mark.parametrize(
    ("mode", "secret"),
    [
        ("default", None),
        ("demo-postgres", {"name": "currant-db", "key": "url"}),
        ("database-url", {"name": "currant-db", "key": "url"}),
        ("existing-secret", {"name": "postgres-app", "key": "uri"}),
    ],
)
def test_helm_test_asks_the_database_that_the_release_knows(mode: str, secret: dict[str, str] | None) -> None:
    pod = one(objects(render(mode)), "Pod", "currant-test")
    variables = {entry["name"]: entry for entry in pod["spec"]["containers"][0]["env"]}
    found = variables.get("DATABASE_URL", {}).get("valueFrom", {}).get("secretKeyRef")
    assert found == secret


def test_the_lease_goes_with_the_release_and_an_upgrade_leaves_it_to_its_holder() -> None:
    lease = one(objects(render("default")), "Lease", OPERATOR)
    assert lease["metadata"]["name"] == environment("default")["CURRANT_OPERATOR_LEASE_NAME"]
    assert "spec" not in lease


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ("", [5432]),
        ("database.existingSecret=mine", [5432]),
        ("demoPostgres.enabled=true", [5432]),
        ("database.url=postgresql://u:p@db/x", [5432]),
        ("database.url=postgresql://u:p@db:6432/x", [6432]),
        ("database.url=postgres://u:p%40:1@db:6432", [6432]),
        (r"database.url=postgresql://u:p@a:5433\,b\,[::1]:5434/x?target_session_attrs=primary", [5433, 5432, 5434]),
        ("database.url=postgresql://u@[::1]/x", [5432]),
        ("database.url=postgresql:///x?host=db&port=5439", [5439]),
        ("database.url=postgresql://u:p@pooler:6432/x,database.adminUrl=postgresql://o:p@db:5433/x", [6432, 5433]),
        ("database.url=postgresql://u:p@db:6432/x,networkPolicy.databasePorts={7000,7001}", [7000, 7001]),
    ],
)
def test_the_network_policies_let_the_ports_of_the_databases_urls_through(values: str, ports: list[int]) -> None:
    found = objects(template("--set", "networkPolicy.enabled=true", "--set", f"cli.existingSecret=x,{values}"))
    for name, others in ((OPERATOR, [443, 6443]), ("currant-cli", [])):
        egress = one(found, "NetworkPolicy", name)["spec"]["egress"]
        assert [rule["port"] for rule in egress[1]["ports"]] == [*others, *ports], name


@pytest.mark.parametrize(
    ("mode", "values", "secret"),
    [
        ("default", "", None),
        ("default", "cli.existingSecret=reader,cli.existingSecretKey=uri", ("reader", "uri")),
        ("existing-secret", "", ("postgres-app", "uri")),
        ("database-url", "", ("currant-db", "url")),
        ("demo-postgres", "", ("currant-cli", "url")),
        ("demo-postgres", "cli.enabled=false", None),
    ],
)
def test_the_command_line_has_a_pod_where_the_release_knows_a_database(
    mode: str, values: str, secret: tuple[str, str] | None
) -> None:
    found = objects(render(mode, "--set", values) if values else render(mode))
    pods = [item for item in of_kind(found, "Deployment") if item["metadata"]["name"] == "currant-cli"]
    assert len(pods) == (secret is not None)
    for item in pods:
        spec = item["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        (variable,) = spec["containers"][0]["env"]
        assert variable["name"] == "WORKFLOWS_DATABASE_URL"
        reference = variable["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == secret


def test_the_command_line_may_have_an_image_with_the_users_code() -> None:
    given = ("--set", "cli.existingSecret=x,cli.image.repository=registry.example/shop,cli.image.tag=1.4,image.tag=dev")
    found = objects(template(*given))
    images = {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"]
        for item in of_kind(found, "Deployment")
    }
    assert images == {OPERATOR: "currant-operator:dev", "currant-cli": "registry.example/shop:1.4"}


def test_the_chart_can_leave_user_and_group_to_the_cluster() -> None:
    unset = ",".join(f"podSecurityContext.{name}=null" for name in ("runAsUser", "runAsGroup", "fsGroup"))
    found = objects(template("--set", f"cli.existingSecret=x,{unset}"))
    for item in of_kind(found, "Deployment"):
        context = item["spec"]["template"]["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_two_releases_share_no_cluster_wide_name() -> None:
    def cluster_wide(namespace: str) -> set[tuple[str, str]]:
        found = objects(render("crds-not-kept", namespace=namespace))
        kinds = ("ClusterRole", "ClusterRoleBinding")
        return {(kind, item["metadata"]["name"]) for kind in kinds for item in of_kind(found, kind)}

    assert cluster_wide("one") & cluster_wide("two") == set()


def test_the_operator_understands_the_settings_that_the_chart_gives() -> None:
    from currant_operator.settings import OPTIONS, load

    known = {option.variable for option in OPTIONS}
    for mode in MODES:
        name = "flows-operator" if mode == "everything-set" else OPERATOR
        assert environment(mode, name).keys() <= known
    settings = load([], environment("watch-namespace"))
    assert (settings.watch_namespace, settings.http_port, settings.log_format) == ("shop", 8080, "json")
    assert (settings.pod_name, settings.pod_namespace) == ("currant-operator-0", "currant-system")
    # Releases that watch one namespace share its Lease, whatever they are called.
    assert (settings.lease_name, settings.lease_namespace) == ("currant-operator", "shop")
    assert load([], environment("default")).watch_namespace is None
    debug = load([], environment("everything-set", "flows-operator"))
    assert (debug.log_level, debug.log_format, debug.concurrency) == ("debug", "text", 16)
    assert debug.lease_name == "flows-operator"
