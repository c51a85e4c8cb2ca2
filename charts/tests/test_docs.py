"""docs/operate/kubernetes.md explains the reasons that the operator gives, and names files that exist."""

from __future__ import annotations

import re

from helm import CHECKOUT

TEXT = (CHECKOUT / "docs" / "operate" / "kubernetes.md").read_text()
OPERATOR = CHECKOUT / "operator" / "currant_operator"


def section(title: str) -> str:
    """The text between a heading and the next of its level."""
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


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
