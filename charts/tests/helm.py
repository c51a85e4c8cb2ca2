"""Running helm, and the modes of the chart: one file of `values/` each."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster_tool import layout

CHECKOUT = layout.CHECKOUT
CHART = CHECKOUT / "charts" / "currant"
VALUES = Path(__file__).with_name("values")
GOLDEN = Path(__file__).with_name("golden")

# The version of the cluster, for a helm that was built without a Kubernetes version of its own.
KUBERNETES = ("--kube-version", "1.34.0")
NAMESPACE = "currant-system"
# The parser in C, where PyYAML has it: the other one takes a quarter of a second for the chart, which most tests read.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MODES = sorted(path.stem for path in VALUES.glob("*.yaml"))

# Modes whose cluster has the Prometheus operator.
WITH_PROMETHEUS = {"monitoring-found"}

Object = dict[str, Any]


@functools.cache
def find_helm() -> str | None:
    """The helm of HELM, of PATH, or the one that `e2e/cluster` built."""
    return os.environ.get("HELM") or shutil.which("helm") or shutil.which("helm", path=str(layout.BIN))


def helm_binary() -> str:
    """The helm to run. Fails when there is none: nothing is skipped."""
    found = find_helm()
    assert found, "there is no helm: `e2e/cluster up --control-plane-only` builds one, or set HELM"
    return found


def helm(*arguments: str | Path, kubeconfig: Path = Path("/dev/null")) -> subprocess.CompletedProcess[str]:
    """Run helm, without looking at any cluster unless one is given."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run([helm_binary(), *arguments], capture_output=True, text=True, env=environment, timeout=60)


def values_of(mode: str) -> Path:
    """The values file of a mode."""
    return VALUES / f"{mode}.yaml"


@functools.cache
def template(*arguments: str | Path, namespace: str = NAMESPACE) -> str:
    """The output of `helm template`, once for the same arguments; fails with helm's message."""
    done = helm("template", "currant", CHART, "--namespace", namespace, *KUBERNETES, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(mode: str, *arguments: str | Path, namespace: str = NAMESPACE) -> str:
    """The chart, rendered in a mode."""
    prometheus = ("--api-versions", "monitoring.coreos.com/v1") if mode in WITH_PROMETHEUS else ()
    return template("--values", values_of(mode), *prometheus, *arguments, namespace=namespace)


def shortened(text: str) -> str:
    """Rendered text as golden files have it: without the definitions and the dashboard, which are files elsewhere."""
    kept = []
    for document in re.split(r"(?m)^---\n", text):
        if "\nkind: CustomResourceDefinition\n" in document:
            kept.append(f"# CustomResourceDefinition {objects(document)[0]['metadata']['name']}, as in crds/\n")
        elif document.strip():
            kept.append(re.sub(r"(?s)(  currant.json: \|\n).*", r"\1    # as in files/dashboards/\n", document))
    return "---\n".join(kept)


def objects(text: str) -> list[Object]:
    """The objects of rendered text."""
    return [document for document in yaml.load_all(text, Loader=LOADER) if document]


def of_kind(found: list[Object], kind: str) -> list[Object]:
    """Those of a kind."""
    return [item for item in found if item["kind"] == kind]


def one(found: list[Object], kind: str, name: str) -> Object:
    """The one object of a kind and name."""
    items = [item for item in of_kind(found, kind) if item["metadata"]["name"] == name]
    assert len(items) == 1, f"{len(items)} objects {kind} {name} among {[names(item) for item in found]}"
    return items[0]


def names(item: Object) -> str:
    """The name of an object in messages."""
    return f"{item['kind']} {item['metadata']['name']}"


def refusal(*arguments: str | Path) -> str:
    """Helm's message about values that the chart refuses; fails when it takes them."""
    done = helm("template", "currant", CHART, "--namespace", NAMESPACE, *KUBERNETES, *arguments)
    assert done.returncode != 0, f"helm takes {arguments}"
    return done.stderr
