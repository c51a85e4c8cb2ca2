"""The chart grants what the operator uses and nothing else, where it uses it."""

from __future__ import annotations

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


# What the operator calls, and why: see operator/currant_operator/{watch,api,secrets}.py.
USED = expand(
    {
        # It watches both kinds, and patches them for their finalizers.
        ("currant.dev", "workerpools"): "get list watch patch",
        ("currant.dev", "workflows"): "get list watch patch",
        ("currant.dev", "workerpools/status"): "patch",
        ("currant.dev", "workflows/status"): "patch",
        # For owner references that block the owner's deletion.
        ("currant.dev", "workerpools/finalizers"): "update",
        # A server-side apply is a patch, and a create where the object is new.
        ("apps", "deployments"): "get list watch create patch delete",
        ("", "serviceaccounts"): "get list watch create patch delete",
        ("policy", "poddisruptionbudgets"): "get list watch create patch delete",
        ("", "pods"): "get list watch patch delete",
        ("", "secrets"): "get list watch",
        ("events.k8s.io", "events"): "create patch",
    }
)
LEASE = expand(
    {
        ("coordination.k8s.io", "leases"): "create",
        ("coordination.k8s.io", "leases:currant-operator"): "get update patch",
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


def test_it_elects_its_leader_in_its_own_namespace_by_one_lease() -> None:
    for mode in ("default", "watch-namespace"):
        found = objects(render(mode))
        binding = one(found, "RoleBinding", "currant-operator-leader")
        assert binding["metadata"]["namespace"] == "currant-system"
        assert grants(bound(found, binding)) == LEASE


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
