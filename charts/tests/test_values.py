"""Bad values are refused with a message that says what is wrong; the README has every value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import CHART, refusal, template

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

# `--set` of a bad value, and what the message must hold.
REFUSED = {
    "an unknown key": ("watchNamespce=shop", "additional properties 'watchNamespce' not allowed"),
    "an unknown key below": ("crds.instal=true", "at '/crds': additional properties 'instal' not allowed"),
    "a word for a number": ("replicas=two", "at '/replicas': got string, want integer"),
    "replicas below zero": ("replicas=-1", "at '/replicas': minimum: got -1, want 0"),
    "a word for a switch": ("crds.install=maybe", "at '/crds/install': got string, want boolean"),
    "a pull policy there is not": (
        "image.pullPolicy=Sometimes",
        "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
    ),
    "a log level there is not": (
        "logging.level=loud",
        "at '/logging/level': value must be one of 'debug', 'info', 'warning', 'error'",
    ),
    "a log format there is not": ("logging.format=xml", "at '/logging/format': value must be one of 'json', 'text'"),
    "a monitoring switch there is not": (
        "monitoring.podMonitor.enabled=often",
        "at '/monitoring/podMonitor/enabled': value must be one of 'auto', true, false",
    ),
    "a digest that is none": ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
    "a duration without unit": (
        "monitoring.serviceMonitor.interval=30x",
        "at '/monitoring/serviceMonitor/interval': '30x' does not match pattern",
    ),
    "a namespace that is none": ("watchNamespace=Shop", "at '/watchNamespace': 'Shop' does not match pattern"),
    "a port of 0": ("service.port=0", "at '/service/port': minimum: got 0, want 1"),
    "a label of the chart's own": (
        "commonLabels.app\\.kubernetes\\.io/name=mine",
        "invalid propertyName 'app.kubernetes.io/name'",
    ),
    "a URL of another database": (
        "database.url=mysql://db/shop",
        "database.url is not a URL of Postgres: write postgresql://user:password@host:5432/name",
    ),
    "a URL and a Secret": (
        "database.url=postgresql://db/shop,database.existingSecret=mine",
        "database.url and database.existingSecret are both given: keep the one",
    ),
    "the demo and a URL": (
        "demoPostgres.enabled=true,database.url=postgresql://db/shop",
        "demoPostgres.enabled makes a database of its own: leave out",
    ),
    "the demo and a Secret": (
        "demoPostgres.enabled=true,database.existingSecret=mine",
        "demoPostgres.enabled makes a database of its own: leave out",
    ),
    "an owner's URL of another database": (
        "database.adminUrl=mysql://db/shop",
        "database.adminUrl is not a URL of Postgres: write postgresql://owner:password@host:5432/name",
    ),
    "a command line without a database": (
        "cli.enabled=true",
        "cli.enabled needs a database: give cli.existingSecret",
    ),
    "a ratio in percent": (
        "monitoring.prometheusRule.failureRatio=20",
        "at '/monitoring/prometheusRule/failureRatio': maximum: got 20, want 1",
    ),
    "no account": (
        "serviceAccount.create=false",
        "serviceAccount.create is false: give serviceAccount.name",
    ),
    "the resources of all taken by one": (
        "crds.keep=false,watchNamespace=shop",
        "would delete the WorkerPools of every namespace at an uninstall",
    ),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_value_is_refused_with_a_message_that_says_what_is_wrong(given: str, message: str) -> None:
    assert message in refusal("--set", given)


def test_a_refusal_never_shows_the_password() -> None:
    assert "hunter2" not in refusal("--set", "database.url=mysql://shop:hunter2@db/shop")


def test_a_cluster_without_admission_policies_is_refused_where_they_are_wanted() -> None:
    message = refusal("--set", "admissionPolicy.enabled=true", "--kube-version", "1.29.0")
    assert "admissionPolicy.enabled needs Kubernetes 1.30 (ValidatingAdmissionPolicy), and this is v1.29.0" in message


def test_a_cluster_too_old_is_refused() -> None:
    assert "chart requires kubeVersion: >=1.29.0-0" in refusal("--kube-version", "1.28.0")


def schema_keys(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """The path of every value that the schema knows."""
    found = set()
    for name, below in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        found |= schema_keys(below, f"{path}.") if "properties" in below else {path}
    return found


def leaves(values: dict[str, Any], known: set[str], prefix: str = "") -> dict[str, Any]:
    """The path and the default of every value; a map that the schema does not look into is one value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if path in known:
            found[path] = value
        else:
            found |= leaves(value, known, f"{path}.")
    return found


KNOWN = schema_keys(SCHEMA)
LEAVES = leaves(DEFAULTS, KNOWN)


def test_the_schema_knows_each_value_and_each_value_has_a_default() -> None:
    # Helm itself gives `global`; a tag is preferred to a digest, which has no default for the demo.
    assert KNOWN - {"global", "demoPostgres.image.digest"} == LEAVES.keys()


def test_every_object_of_the_schema_refuses_unknown_keys() -> None:
    def check(schema: dict[str, Any], path: str) -> None:
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path
        for name, below in schema.get("properties", {}).items():
            check(below, f"{path}.{name}")

    check(SCHEMA, "")


def test_the_readme_has_every_value_with_its_default() -> None:
    text = Path(CHART / "README.md").read_text()
    documented = dict(re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|", text, re.MULTILINE))
    assert documented.keys() == LEAVES.keys()
    for path, shown in documented.items():
        assert yaml.safe_load(shown) == LEAVES[path], path


def test_the_chart_as_a_part_of_another_takes_global_values() -> None:
    assert template("--set", "global.anything=1")
