"""The schema of `template.spec` in crds/workerpools.yaml, from the OpenAPI document of the tests' Kubernetes.

A pod template that the API server would refuse later is so refused when the pool is applied. What a pool may leave out
is not required, descriptions are left out (the definition must fit into an annotation of `kubectl apply`), and `RULES`
adds Currant's own. The document comes from a running API server, since only there it has the enums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from e2e.cluster_tool import build
from e2e.clusters import control_plane
from e2e.programs import find
from scripts.generate.outputs import CHECKOUT, Missing, Outputs

Schema = dict[str, Any]

DEFINITION = "crds/workerpools.yaml"
BEGIN = "# Written by make generate (scripts/generate/pod_template.py) from here"
END = "# to here."

# Schemas that replace the document's, by type.
# A quantity may be a number with a point, as `cpu: 0.5`, which int-or-string would refuse. A field without a type takes
# anything; the rules leave numbers and text, and no rule for one kind of value applies to another.
QUANTITY = {
    "x-kubernetes-preserve-unknown-fields": True,
    "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
    "maxProperties": 0,
    "maxItems": 0,
    "not": {"enum": [True, False, {}, []]},
}
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
MAP_OF_TEXT = {"type": "object", "additionalProperties": {"type": "string"}}
TYPES: dict[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
    # The metadata of the claim of an ephemeral volume may have no more than these.
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {
        "type": "object",
        "properties": {"labels": MAP_OF_TEXT, "annotations": MAP_OF_TEXT},
    },
}
KEPT = ("type", "format", "enum", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type")
# Fields that a pod template cannot have, and old names of other fields.
LEFT_OUT = {"io.k8s.api.core.v1.PodSpec": {"ephemeralContainers", "serviceAccount"}}
# Fields that the operator fills in, so that a part may be written without them.
OPTIONAL = {"io.k8s.api.core.v1.PodSpec": {"containers"}, "io.k8s.api.core.v1.HTTPGetAction": {"port"}}

NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
OURS = (
    "WORKFLOWS_DATABASE_URL (database), WORKFLOWS_WORKER_MAX_CONCURRENT (concurrency), "
    "WORKFLOWS_WORKER_SHUTDOWN_GRACE (drain.timeout), WORKFLOWS_POOL, WORKFLOWS_POD_NAME, WORKFLOWS_POD_UID, "
    "WORKFLOWS_HTTP_PORT"
)
OUR_NAMES = ", ".join(f"'{part.split()[0]}'" for part in OURS.split(", "))

# Currant's own part of the schema, by the path of the field. It overrides the document.
RULES: dict[str, Schema] = {
    "": {
        "description": "A part of a PodSpec (kubectl explain pod.spec). A field that no pod could have is refused.",
        "x-kubernetes-validations": [
            {
                "rule": "!has(self.terminationGracePeriodSeconds)",
                "message": "write drain.timeout in place of terminationGracePeriodSeconds: the worker must know it too",
            },
            {
                "rule": "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
                "message": "leave out restartPolicy: Kubernetes always restarts workers",
            },
        ],
    },
    "terminationGracePeriodSeconds": {"description": "Refused; write drain.timeout of the pool."},
    "restartPolicy": {"description": "Always, or absent."},
    "serviceAccountName": {
        "description": "A ServiceAccount of your own; the operator then makes none.",
        "maxLength": 253,
    },
    "containers": {
        "description": "Parts of the container worker, and side-cars; see kubectl explain pod.spec.containers.",
        "maxItems": 20,
    },
    "containers[]": {
        "x-kubernetes-validations": [
            {
                "rule": "self.name == 'worker' || has(self.image)",
                "message": "write an image: a container of another name than worker is a side-car",
            }
        ]
    },
    "containers[].name": {
        "description": "The container's name; worker is the one that runs the worker.",
        "maxLength": 63,
        "pattern": NAME,
    },
    "containers[].image": {
        "description": "The image of the container; for worker, instead of spec.image.",
        "maxLength": 500,
    },
    "containers[].env": {
        "description": "Environment variables. Those that begin with WORKFLOWS_ are settings of the worker.",
        "maxItems": 200,
        "x-kubernetes-validations": [
            {
                "rule": f"self.all(variable, !(variable.name in [{OUR_NAMES}]))",
                "message": f"leave out the variables that the operator writes: {OURS}",
            }
        ],
    },
    "containers[].env[].name": {"description": "The variable's name.", "maxLength": 253},
    "containers[].env[].value": {"description": "The variable's value."},
    "containers[].resources": {"description": "Requests and limits."},
    "initContainers[].name": {"maxLength": 63, "pattern": NAME},
}


def pod_spec(document: Schema) -> Schema:
    """The schema of `template.spec`."""
    types = document["components"]["schemas"]
    return _described(_of_type(types, "io.k8s.api.core.v1.PodSpec"), "")


def _of_type(types: Schema, name: str) -> Schema:
    if name in TYPES:
        return TYPES[name]
    source = types[name]
    if "properties" not in source:
        return {key: source[key] for key in KEPT if key in source}
    properties = {
        field: _of_field(types, below)
        for field, below in sorted(source["properties"].items())
        if field not in LEFT_OUT.get(name, ())
    }
    required = [field for field in source.get("required", []) if field not in OPTIONAL.get(name, ())]
    schema: Schema = {key: source[key] for key in KEPT if key in source}
    return schema | {"properties": properties} | ({"required": sorted(required)} if required else {})


def _of_field(types: Schema, source: Schema) -> Schema:
    """A field's schema. References come alone or, with a default, as `allOf` of one."""
    (reference,) = source.get("allOf", [source])
    if "$ref" in reference:
        schema = dict(_of_type(types, reference["$ref"].rpartition("/")[2]))
        return schema | {key: source[key] for key in KEPT if key in source}
    schema = {key: source[key] for key in KEPT if key in source}
    for below in ("items", "additionalProperties"):
        if below in source:
            schema[below] = _of_field(types, source[below])
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys:
        schema["items"] = _with_keys(schema["items"], keys)
    return schema


def _with_keys(items: Schema, keys: Iterable[str]) -> Schema:
    """The schema of a list's items, whose keys must be given or have a default."""
    properties, required = dict(items["properties"]), set(items.get("required", []))
    for key in keys:
        if key == "protocol":
            properties[key] = {**properties[key], "default": "TCP"}
        else:
            required.add(key)
    return {**items, "properties": properties, "required": sorted(required)}


def _described(schema: Schema, path: str) -> Schema:
    schema = {**schema, **RULES.get(path, {})}
    if "properties" in schema:
        start = f"{path}." if path else ""
        schema["properties"] = {
            name: _described(below, f"{start}{name}") for name, below in schema["properties"].items()
        }
    if "items" in schema:
        schema["items"] = _described(schema["items"], f"{path}[]")
    return schema


def written(document: Schema, text: str) -> str:
    """The definition's text with the schema in its place: a line for each field of the pod's spec, as JSON."""
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    indent = " " * (len(before) - len(before.rstrip(" ")))
    schema = pod_spec(document)
    properties = schema.pop("properties")
    lines = [f"{BEGIN}", "spec:"]
    lines += [f"  {key}: {json.dumps(value)}" for key, value in schema.items()]
    lines += ["  properties:"]
    lines += [f"    {name}: {json.dumps(below)}" for name, below in properties.items()]
    return before + f"\n{indent}".join([*lines, END]) + after


def outputs() -> Outputs:
    """The definition with the schema. Raises `Missing` where no API server can be started."""
    return {DEFINITION: written(document(), (CHECKOUT / DEFINITION).read_text(encoding="utf-8"))}


def document() -> Schema:
    """The OpenAPI document of the API server that the tests run."""
    for program in ("openssl", *(() if build.up_to_date() else ("go",))):
        if find(program) is None:
            raise Missing("the schema of a WorkerPool's template", f"scripts/need.sh {program}")
    with control_plane() as plane:
        found: Schema = json.loads(plane.kubectl("get", "--raw", "/openapi/v3/apis/apps/v1"))
    return found
