"""The sources of generators: the schemas of the resources, and the values of the chart with their comments."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.generate import crds, schemas, values_file, version
from scripts.generate.schemas import NOTHING, Field
from scripts.generate.values_file import Value, flow

VALUES = """\
# About the whole file.

# One line,
# and another.
name: ""
group:
  # below
  number: 2
  # A map in one line is one value.
  map: {a: 1, b: [x]}

# A group may have a comment too.
other:
  list: []
"""


def test_a_value_has_the_comment_above_it_and_its_default() -> None:
    assert values_file.parse(VALUES) == [
        Value("name", "One line, and another.", ""),
        Value("group.number", "below", 2),
        Value("group.map", "A map in one line is one value.", {"a": 1, "b": ["x"]}),
        Value("other", "A group may have a comment too.", is_group=True),
        Value("other.list", "", []),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("18", '"18"'),
        ("auto", "auto"),
        (True, "true"),
        ({"a": {"b": "1Gi"}}, "{a: {b: 1Gi}}"),
        ([1], "[1]"),
    ],
)
def test_a_value_is_shown_as_one_would_write_it(value: object, shown: str) -> None:
    assert flow(value) == shown


def field(path: str, found: dict[str, Any], required: bool = False) -> str:
    """The cells of type and default."""
    shown = Field(path, found, required)
    return f"{crds.type_of(shown)}; {crds.default_of(shown)}"


def test_the_type_of_a_field_says_what_it_may_be() -> None:
    duration = {
        "type": "string",
        "default": "30s",
        "x-kubernetes-validations": [{"rule": "self.matches('(ms|s|m|h|d)')"}],
    }
    assert field("a", {"type": "integer", "minimum": 1, "maximum": 9, "default": 3}) == "integer, 1 to 9; `3`"
    assert field("a", {"type": "number", "maximum": 1}) == "number, at most 1; "
    assert field("a", {"type": "string", "enum": ["A", "B", "C"], "default": "A"}) == "`A`, `B` or `C`; `A`"
    assert field("a", duration) == "duration; `30s`"
    assert field("a", {"type": "array", "items": {"type": "string"}}, required=True) == "list of text; required"
    assert field("a", {"type": "boolean", "default": False}) == "boolean; `false`"


def test_fields_come_in_order_with_those_below_them() -> None:
    found = {entry.path: entry for entry in schemas.fields("workflows", "spec")}
    paths = list(found)
    assert paths.index("schedules") + 1 == paths.index("schedules[].name")
    assert found["schedules[].name"].required
    assert found["schedules[].timeZone"].default == "UTC"
    assert found["defaults"].default is NOTHING
    assert schemas.constant("WorkerPool", "scaling.scaleDown.window") == "WORKER_POOL_SCALING_SCALE_DOWN_WINDOW"
    assert schemas.constant("Workflow", "schedules[].timeZone") == "WORKFLOW_SCHEDULES_TIME_ZONE"


def test_the_pods_own_fields_are_one() -> None:
    paths = [entry.path for entry in schemas.fields("workerpools", "spec")]
    assert [path for path in paths if path.startswith("template.spec")] == ["template.spec"]


@pytest.mark.parametrize("plural", ["workerpools", "workflows"])
def test_the_default_of_an_object_has_only_the_defaults_of_its_fields(plural: str) -> None:
    found = {entry.path: entry for entry in schemas.fields(plural, "spec")}
    repeated = {
        f"{path}.{name}": value
        for path, entry in found.items()
        if entry.schema.get("properties")
        for name, value in entry.schema.get("default", {}).items()
    }
    assert {path: found[path].default for path in repeated} == repeated
    assert plural == "workflows" or "scaling.maxReplicas" in repeated


def test_a_message_that_names_a_default_names_the_schemas() -> None:
    (scaling,) = [entry for entry in schemas.fields("workerpools", "spec") if entry.path == "scaling"]
    message = scaling.schema["x-kubernetes-validations"][0]["message"]
    assert f"({scaling.schema['properties']['maxReplicas']['default']} if left out)" in message


def test_the_version_is_written_wherever_the_place_for_it_is_found() -> None:
    manifest = '[project]\nname = "x"\nversion = "1.0.0"\ndependencies = ["currant[schemas]==1.0.0"]\n'
    changed = version.replaced("p", manifest, '\nversion = "', '"', "1.2.0")
    assert changed == manifest.replace('version = "1.0.0"', 'version = "1.2.0"')
    assert version.replaced("p", changed, "[schemas]==", '"', "1.2.0") == manifest.replace("1.0.0", "1.2.0")


def test_a_place_for_the_version_that_is_gone_or_there_twice_is_named() -> None:
    for text, times in (("name: x\n", 0), ("\nversion: 1\n\nversion: 2\n", 2)):
        with pytest.raises(
            ValueError, match=f"Chart.yaml has {times} places for the version after 'version:', not one"
        ):
            version.replaced("Chart.yaml", text, "\nversion: ", "\n", "1.2.0")
