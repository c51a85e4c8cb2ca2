"""A real API server takes every object of every mode, and its strictest pod security lets every pod in."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from e2e.clusters import Kubectl, KubectlError
from helm import CHART, CHECKOUT, MODES, NAMESPACE, Object, helm, objects, of_kind, render, values_of

EXAMPLES = sorted((CHECKOUT / "examples" / "kubernetes").glob("*.yaml"))


def as_pod(item: Object) -> Object | None:
    """The pod that an object is or makes, with an account that every namespace has."""
    template = item if item["kind"] == "Pod" else item.get("spec", {}).get("template")
    if template is None:
        return None
    # A StatefulSet adds a volume for each of its claims.
    claims = [claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])]
    volumes = [*template["spec"].get("volumes", []), *({"name": name, "emptyDir": {}} for name in claims)]
    metadata = {"name": item["metadata"]["name"], "namespace": NAMESPACE, "labels": template["metadata"]["labels"]}
    spec = {**template["spec"], "volumes": volumes, "serviceAccountName": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def pods_of(mode: str) -> list[Object]:
    """The pods of a mode."""
    return [pod for item in objects(render(mode)) if (pod := as_pod(item)) is not None]


@pytest.mark.parametrize("mode", MODES)
def test_the_api_server_takes_every_object_of_a_mode(mode: str, kubectl: Kubectl) -> None:
    # The definitions are there already (they have a test below), and a lone pod would need its account to be.
    found = [item for item in objects(render(mode)) if item["kind"] not in ("CustomResourceDefinition", "Pod")]
    answer = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump_all(found))
    assert len(answer.splitlines()) == len(found)


@pytest.mark.parametrize("mode", MODES)
def test_every_pod_of_a_mode_is_let_into_a_restricted_namespace(mode: str, kubectl: Kubectl) -> None:
    for pod in pods_of(mode):
        kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(pod))


def test_the_namespace_of_these_tests_does_refuse_what_is_not_restricted(kubectl: Kubectl) -> None:
    pod = pods_of("default")[0]
    del pod["spec"]["securityContext"]
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
        kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_the_api_server_takes_the_definitions_as_the_chart_renders_them(kubectl: Kubectl) -> None:
    found = of_kind(objects(render("default")), "CustomResourceDefinition")
    kubectl(
        "apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(found)
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_api_server_takes_the_examples(path: Path, kubectl: Kubectl) -> None:
    kubectl("create", "-n", NAMESPACE, "--dry-run=server", "--validate=strict", "-f", str(path))


def test_the_shops_pod_is_let_into_a_restricted_namespace(kubectl: Kubectl) -> None:
    shop = objects((CHECKOUT / "examples" / "kubernetes" / "shop.yaml").read_text())
    pods = [pod for item in shop if (pod := as_pod(item)) is not None]
    assert pods
    for pod in pods:
        kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def notes(mode: str, kubectl: Kubectl) -> str:
    """The notes at the end of an install in a mode."""
    install = ("install", "currant", CHART, "--namespace", NAMESPACE, "--values", values_of(mode))
    # The definitions are there, and of nobody's release.
    done = helm(*install, "--set", "crds.install=false", "--dry-run=server", kubeconfig=kubectl.kubeconfig)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize("mode", ["default", "demo-postgres", "existing-secret", "watch-namespace"])
def test_the_pool_that_the_notes_tell_to_make_is_one(mode: str, kubectl: Kubectl) -> None:
    manifest = notes(mode, kubectl).partition("<<EOF\n")[2].partition("    EOF\n")[0]
    kubectl("create", "-n", "shop", "--dry-run=server", "--validate=strict", "-f", "-", stdin=manifest)


def test_the_notes_name_the_secret_that_there_is_or_how_to_make_one(kubectl: Kubectl) -> None:
    assert "kubectl create secret generic currant-db --from-literal=url=postgresql://" in notes("default", kubectl)
    assert "Secret currant-db, key url, of currant-system, default" in notes("demo-postgres", kubectl)
    assert "NOT FOR PRODUCTION" in notes("demo-postgres", kubectl)
    assert "your Secret postgres-app, key uri" in notes("existing-secret", kubectl)


def test_the_api_server_takes_the_resources_in_the_documentation(kubectl: Kubectl) -> None:
    text = "".join((CHECKOUT / path).read_text() for path in ("README.md", "docs/operate/kubernetes.md"))
    blocks = re.findall(r"```yaml\n(apiVersion: currant.dev/.*?)```", text, re.DOTALL)
    assert {kind for block in blocks for kind in re.findall(r"(?m)^kind: (\w+)", block)} == {"WorkerPool", "Workflow"}
    for block in blocks:
        kubectl("create", "-n", "shop", "--dry-run=server", "--validate=strict", "-f", "-", stdin=block)


def test_the_one_off_command_line_of_the_docs_is_a_pod_with_the_databases_url(kubectl: Kubectl) -> None:
    text = (CHECKOUT / "docs" / "operate" / "kubernetes.md").read_text()
    found = re.search(r"^kubectl (run currant .*?-- list)$", text, re.MULTILINE | re.DOTALL)
    assert found
    run, _, words = found[1].partition(" -- ")
    # kubectl attaches and deletes nothing in a dry run.
    asked = [word for word in shlex.split(run) if word not in ("--rm", "-i")]
    pod = json.loads(kubectl(*asked, "-n", "default", "--dry-run=server", "-o", "json", "--", *words.split()))
    (container,) = pod["spec"]["containers"]
    assert (container["name"], container["image"], container["args"]) == (
        "currant",
        "registry.example/shop:1.4",
        ["list"],
    )
    (variable,) = container["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "currant-db", "key": "url"}
