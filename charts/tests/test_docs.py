"""docs/operate/kubernetes.md has every field of the resources with its default, and the reasons that the operator gives."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from helm import CHECKOUT, Object

TEXT = (CHECKOUT / "docs" / "operate" / "kubernetes.md").read_text()
OPERATOR = CHECKOUT / "operator" / "currant_operator"


def section(title: str) -> str:
    """What is between a heading and the next of its level."""
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def spec_of(plural: str) -> Object:
    """The schema of `spec`."""
    definition = yaml.safe_load((CHECKOUT / "crds" / f"{plural}.yaml").read_text())
    found: Object = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def fields(schema: Object, path: str = "") -> dict[str, Any]:
    """Every field that holds a value, with its default. What is Kubernetes' own is not looked into."""
    if path == "template.spec":
        return {path: None}
    kind = schema.get("type")
    if kind == "array" and schema["items"].get("type") == "object":
        return fields(schema["items"], f"{path}[]")
    below = {} if schema.get("x-kubernetes-preserve-unknown-fields") else schema.get("properties", {})
    if kind != "object" or not below:
        return {path: schema.get("default")}
    prefix = f"{path}." if path else ""
    return {name: value for key in below for name, value in fields(below[key], prefix + key).items()}


@pytest.mark.parametrize(("title", "plural"), [("WorkerPool", "workerpools"), ("Workflow", "workflows")])
def test_the_reference_has_every_field_with_its_default(title: str, plural: str) -> None:
    rows = re.findall(r"^\| `([\w.\[\]]+)` \| (?:`([^`]*)`)? ?\|", section(title), re.MULTILINE)
    documented = {path: yaml.safe_load(default) if default else None for path, default in rows}
    assert len(documented) == len(rows)
    assert documented == fields(spec_of(plural))


def reasons_of_the_operator() -> set[str]:
    """The reasons of problems and conditions in its source."""
    text = "\n".join(path.read_text() for path in OPERATOR.rglob("*.py"))
    problems = re.findall(r'(?:Problem|PodProblem)\(\s*(?:_name\(pod\), )?"(\w+)"', text)
    returned = re.findall(r'return \(?\s*"([A-Z]\w+)",', text)
    return {*problems, *returned}


def test_every_problem_that_the_operator_names_is_explained() -> None:
    found = reasons_of_the_operator()
    assert "SecretNotFound" in found
    assert "ImportFailed" in found
    explained = set(re.findall(r"`([A-Z]\w+)`", section("Conditions, and what to do about each")))
    assert found - explained == set()


def test_every_reason_that_is_explained_exists() -> None:
    text = "\n".join(path.read_text() for path in OPERATOR.rglob("*.py"))
    rows = re.findall(
        r"^\| [^|]*\| ((?:`\w+`(?:, )?)+) \|", section("Conditions, and what to do about each"), re.MULTILINE
    )
    explained = {reason for row in rows for reason in re.findall(r"`(\w+)`", row)}
    assert explained
    assert {reason for reason in explained if f'"{reason}"' not in text} == set()


def test_every_file_that_it_names_exists() -> None:
    for path in re.findall(r"-f ([\w./-]+\.yaml)", TEXT):
        assert (CHECKOUT / path).exists(), path
    for path in re.findall(r"\]\(((?:\.\./)+[\w./-]+)\)", TEXT):
        assert (CHECKOUT / "docs" / "operate" / path).exists(), path
