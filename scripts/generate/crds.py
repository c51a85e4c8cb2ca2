"""The files that are made from crds/: the chart's copies, the reference of all fields, the defaults in Python."""

from __future__ import annotations

import json
from typing import Any

from currant._base.durations import parse_duration
from scripts.generate.outputs import CHECKOUT, Outputs
from scripts.generate.schemas import NOTHING, Field, constant, fields, schema, version

KINDS = {"WorkerPool": "workerpools", "Workflow": "workflows"}
REFERENCE = "docs/reference/crds.md"
DEFAULTS = "operator/currant_operator/plan/crd_defaults.py"
SCALER_DEFAULTS = "core/python/currant/scaling/pool_defaults.py"
WRITTEN = "Written by `make generate` from crds/"


def outputs() -> Outputs:
    """Every file."""
    copies = {f"charts/currant/files/{path}": text for path, text in sources().items()}
    modules = {DEFAULTS: operator_defaults(), SCALER_DEFAULTS: scaler_defaults()}
    return {**copies, REFERENCE: reference(), **modules}


def sources() -> Outputs:
    """The files of crds/."""
    paths = sorted((CHECKOUT / "crds").glob("*.yaml"))
    return {f"crds/{path.name}": path.read_text(encoding="utf-8") for path in paths}


def reference() -> str:
    """The page that has every field of both resources."""
    lines = [
        "# WorkerPool and Workflow: every field",
        "",
        f"<!-- {WRITTEN}: change the descriptions there. -->",
        "",
        "`kubectl explain workerpool.spec` and `kubectl explain workflow.spec` say the same. A duration is a number",
        "with a unit (`ms`, `s`, `m`, `h`, `d`), or several of them: `30s`, `1h30m`, `7d`. How the resources are used:",
        "[Currant on Kubernetes](../operate/kubernetes.md).",
    ]
    for kind, plural in KINDS.items():
        lines += ["", f"## {kind}", "", text(schema(plural)["description"])]
        lines += ["", f"### {kind} spec", "", *spec_table(plural)]
        lines += ["", f"### {kind} status", "", *status_table(plural)]
        lines += ["", f"### {kind} columns of kubectl get", "", *columns_table(plural)]
    return "\n".join(lines) + "\n"


def spec_table(plural: str) -> list[str]:
    """A row for each field of `spec`."""
    rows = [
        f"| `{field.path}` | {type_of(field)} | {default_of(field)} | {text(field.schema.get('description', ''))} |"
        for field in fields(plural, "spec")
    ]
    return ["| field | type | default | meaning |", "|---|---|---|---|", *rows]


def status_table(plural: str) -> list[str]:
    """A row for each field of `status`."""
    rows = [
        f"| `{field.path}` | {type_of(field)} | {text(field.schema.get('description', ''))} |"
        for field in fields(plural, "status")
    ]
    return ["| field | type | meaning |", "|---|---|---|", *rows]


def columns_table(plural: str) -> list[str]:
    """A row for each column that `kubectl get` prints."""
    rows = [
        f"| {found['name']} | {'`-o wide`' if found.get('priority') else ''} | {text(found.get('description', ''))} |"
        for found in version(plural)["additionalPrinterColumns"]
    ]
    return ["| column | shown with | meaning |", "|---|---|---|", *rows]


def text(description: str) -> str:
    """A description as a cell of a table."""
    return description.replace("|", "\\|").replace("\n", " ").strip()


def type_of(field: Field) -> str:
    """The type of a field in words, with the values that it may have."""
    found = field.schema
    if "enum" in found:
        return " or ".join(", ".join(f"`{value}`" for value in found["enum"]).rsplit(", ", 1))
    if field.is_duration:
        return "duration"
    if found.get("x-kubernetes-int-or-string"):
        return "integer or text"
    if found.get("format") == "date-time":
        return "time"
    if found.get("type") == "array":
        return "list of objects" if "properties" in found["items"] else "list of text"
    if "additionalProperties" in found:
        return "text by name"
    kind = {"string": "text"}.get(found["type"], found["type"])
    return f"{kind}{bounds(found)}"


def bounds(found: dict[str, Any]) -> str:
    """The least and the greatest number, as far as there are any."""
    low, high = found.get("minimum"), found.get("maximum")
    if low is None and high is None:
        return ""
    if low is None:
        return f", at most {high}"
    return f", {low} or more" if high is None else f", {low} to {high}"


def default_of(field: Field) -> str:
    """The default as a cell of a table."""
    if field.required:
        return "required"
    if field.default is NOTHING:
        return ""
    return f"`{field.default}`" if isinstance(field.default, str) else f"`{json.dumps(field.default)}`"


def operator_defaults() -> str:
    """The operator's module of defaults: a constant for each field that has one."""
    return module([(kind, field) for kind, plural in KINDS.items() for field in fields(plural, "spec")])


def scaler_defaults() -> str:
    """The module of the scaler, which knows the numbers that size a pool."""
    numbers = (int, float)
    found = [
        field for field in fields("workerpools", "spec") if field.path.startswith(("scaling.", "concurrency", "drain."))
    ]
    return module([("WorkerPool", field) for field in found if type(value_of(field)) in numbers])


def module(found: list[tuple[str, Field]]) -> str:
    """A Python module with a constant for each of these fields that has a default."""
    constants = [
        f"{constant(kind, field.path)}: Final = {literal(value_of(field))}"
        for kind, field in found
        if field.default is not NOTHING and not isinstance(field.default, dict)
    ]
    title = f'"""The defaults of the resources\' fields. {WRITTEN}; durations are in seconds."""'
    return "\n".join([title, "", "from typing import Final", "", *constants, ""])


def value_of(field: Field) -> Any:
    """The default as Python has it; a duration in seconds."""
    return parse_duration(field.default) if field.is_duration and field.default is not NOTHING else field.default


def literal(value: Any) -> str:
    """A value as Python, with the quotes that ruff wants."""
    return json.dumps(value) if isinstance(value, str) else repr(value)
