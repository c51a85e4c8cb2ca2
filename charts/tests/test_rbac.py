"""The chart grants what the operator uses and nothing else, where it uses it."""

from __future__ import annotations

from currant_operator.plan import kinds
from helm import Object, objects, of_kind, one, render

OPERATOR = "currant-operator"
EVERYWHERE = "currant-operator-currant-system"

Grant = tuple[str, str, str]


def grants(role: Object) -> set[Grant]:
    """Every (group, resource, verb) that a role allows, with `resource/name` where it names an object."""
    return {
        (group, f"{resource}:{name}" if name else resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [None])
        for verb in rule["verbs"]
    }


def expand(table: dict[tuple[str, str], str]) -> set[Grant]:
    """A table of verbs, written out."""
    return {(group, resource, verb) for (group, resource), verbs in table.items() for verb in verbs.split()}


# The operator's calls: its watches and lists are `kinds.WATCHED`, its writes are in api.py, reconcile.py, events.py.
_OWNED = "get list watch create patch delete"  # server-side apply is a patch, and a create where there is nothing yet
USED = expand(
    {
        ("currant.dev", "workerpools"): "list watch patch",  # patch: the first replicas of mode External
        ("currant.dev", "workflows"): "list watch",
        ("currant.dev", "workerpools/status"): "patch",
        ("currant.dev", "workflows/status"): "patch",
        ("currant.dev", "workerpools/finalizers"): "update",  # for owner references that block the owner's deletion
        ("apps", "deployments"): _OWNED,
        ("", "serviceaccounts"): _OWNED,
        ("policy", "poddisruptionbudgets"): _OWNED,
        ("", "pods"): "get list watch patch",  # patch: for their deletion cost
        ("", "secrets"): "get",
        ("events.k8s.io", "events"): "create",
    }
)
LEASE = expand(
    {
        ("coordination.k8s.io", "leases"): "create",
        ("coordination.k8s.io", "leases:currant-operator"): "get update",
    }
)


def bound(found: list[Object], binding: Object) -> Object:
    """The role of a binding, whose subject is the operator's account."""
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": "currant-system"}]
    return one(found, binding["roleRef"]["kind"], binding["roleRef"]["name"])


def test_the_operator_may_do_what_it_uses_in_every_namespace() -> None:
    found = objects(render("default"))
    role = bound(found, one(found, "ClusterRoleBinding", EVERYWHERE))
    assert role["kind"] == "ClusterRole"
    assert grants(role) == USED


def test_an_operator_of_one_namespace_may_do_nothing_outside_it() -> None:
    found = objects(render("watch-namespace"))
    assert of_kind(found, "ClusterRole") == of_kind(found, "ClusterRoleBinding") == []
    binding = one(found, "RoleBinding", OPERATOR)
    assert binding["metadata"]["namespace"] == "shop"
    role = bound(found, binding)
    assert role["metadata"]["namespace"] == "shop"
    assert grants(role) == USED


def test_it_elects_its_leader_where_it_watches_by_one_lease() -> None:
    for mode, namespace in (("default", "currant-system"), ("watch-namespace", "shop")):
        found = objects(render(mode))
        binding = one(found, "RoleBinding", "currant-operator-leader")
        assert binding["metadata"]["namespace"] == namespace
        role = bound(found, binding)
        assert role["metadata"]["namespace"] == namespace
        assert grants(role) == LEASE


def test_an_operator_of_one_namespace_may_read_the_owners_secrets_beside_it_and_no_others() -> None:
    given = (
        "--set",
        "database.adminUrl=postgresql://owner:secret@db.example/shop,database.adminSecrets={reports-owner}",
    )
    found = objects(render("watch-namespace", *given))
    role = bound(found, one(found, "RoleBinding", "currant-operator-databases"))
    assert role["metadata"]["namespace"] == "currant-system"
    assert grants(role) == {("", "secrets:reports-owner", "get"), ("", "secrets:currant-db-owner", "get")}
    names = [item["metadata"]["name"] for item in of_kind(objects(render("watch-namespace")), "Role")]
    assert "currant-operator-databases" not in names
    # One of every namespace may read them by its ClusterRole.
    assert of_kind(objects(render("demo-postgres")), "Role") == of_kind(objects(render("default")), "Role")


def test_what_is_granted_to_watch_is_what_the_operator_watches() -> None:
    watched = {(kind.group, kind.plural) for kind in kinds.WATCHED}
    assert {(group, resource) for group, resource, verb in USED if verb == "watch"} == watched


def test_nothing_is_granted_by_a_wild_card() -> None:
    for mode in ("default", "crds-not-kept", "watch-namespace"):
        found = objects(render(mode))
        for role in [*of_kind(found, "ClusterRole"), *of_kind(found, "Role")]:
            assert not any("*" in "".join(grant) for grant in grants(role))


def test_helm_test_may_read_the_lease_and_nothing_else() -> None:
    role = one(objects(render("default")), "Role", "currant-test")
    assert grants(role) == {("coordination.k8s.io", "leases:currant-operator", "get")}


def test_the_cleanup_may_list_and_delete_pools_and_workflows_and_nothing_else() -> None:
    role = one(objects(render("crds-not-kept")), "ClusterRole", "currant-cleanup-currant-system")
    kinds = {("currant.dev", "workerpools"): "list delete", ("currant.dev", "workflows"): "list delete"}
    assert grants(role) == expand(kinds)


def test_accounts_and_roles_made_by_hand_are_used() -> None:
    found = objects(render("own-accounts"))
    assert [kind for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") if of_kind(found, kind)] == []
    assert [item["metadata"]["name"] for item in of_kind(found, "ServiceAccount")] == ["currant-test"]
    pod = one(found, "Deployment", OPERATOR)["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "currant-by-hand"
