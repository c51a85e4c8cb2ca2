"""Objects that the API server takes, with its defaults, and refuses, with a message that says what to write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.clusters import Kubectl, KubectlError
from samples import REMOVED, SMALLEST_POOL, SMALLEST_WORKFLOW, manifest, pool, workflow

WORKER = {"name": "worker", "image": "registry.example/other:1"}
DURATION = "write a duration such as 30s, 5m, 1h30m or 7d"
LONGER_DURATION = "write a duration above 0, such as 30s, 5m, 1h30m or 7d"


def container(**fields: Any) -> dict[str, Any]:
    """A pool's template with these fields of the worker's container."""
    return {"spec__template": {"spec": {"containers": [{"name": "worker", **fields}]}}}


def create(kubectl: Kubectl, body: dict[str, Any], *words: str) -> dict[str, Any]:
    created: dict[str, Any] = json.loads(
        kubectl("create", "--dry-run=server", "-o", "json", *words, "-f", "-", stdin=json.dumps(body))
    )
    return created


def refusal(kubectl: Kubectl, body: dict[str, Any]) -> str:
    with pytest.raises(KubectlError) as caught:
        create(kubectl, body)
    return str(caught.value)


@pytest.mark.parametrize("body", [pool(), workflow()], ids=["WorkerPool", "Workflow"])
def test_the_examples_of_the_contract_are_taken_as_they_are(kubectl: Kubectl, body: dict[str, Any]) -> None:
    created = create(kubectl, body)
    for field, value in body["spec"].items():
        assert contains(created["spec"][field], value), field


def contains(there: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(contains(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(there) == len(wanted) and all(map(contains, there, wanted))
    return bool(there == wanted)


def test_a_small_pool_gets_every_default(kubectl: Kubectl) -> None:
    spec = create(kubectl, manifest(SMALLEST_POOL))["spec"]
    assert spec == {
        "queues": ["orders"],
        "modules": ["shop.orders"],
        "image": "registry.example/shop-worker:1.4",
        "concurrency": 100,
        "podSecurity": "Restricted",
        "database": {"secretRef": {"name": "currant-db", "key": "url"}},
        "scaling": {
            "mode": "Native",
            "minReplicas": 0,
            "maxReplicas": 10,
            "latencyTarget": "30s",
            "targetUtilization": 0.8,
            "scaleDown": {"window": "120s", "maxStepPercent": 15},
            "scaleToZeroAfter": "60s",
            "paused": False,
        },
        "drain": {"timeout": "5m"},
        "rollout": {"maxUnavailable": 0},
        "template": {},
    }


def test_a_small_workflow_gets_every_default(kubectl: Kubectl) -> None:
    spec = create(kubectl, manifest(SMALLEST_WORKFLOW))["spec"]
    assert spec["suspended"] is False
    assert spec["defaults"] == {}
    assert spec["schedules"] == [
        {
            "name": "nightly",
            "cron": "0 3 * * *",
            "timeZone": "UTC",
            "args": {},
            "overlap": "Forbid",
            "catchUp": "Last",
            "suspended": False,
        }
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"spec__scaling": {"mode": "Fixed", "replicas": 0}},
        {"spec__scaling": {"mode": "Fixed", "replicas": 30}},  # the bounds are for Native
        {"spec__scaling": {"mode": "External", "replicas": 1}},
        {"spec__rollout": {"maxUnavailable": 2}},
        {"spec__rollout": {"maxUnavailable": "25%"}},
        {"spec__scaling": {"mode": "External"}},  # the number is the autoscaler's
        {"spec__scaling__targetUtilization": 0.1},
        {"spec__scaling__targetUtilization": 1},
        {"spec__drain__timeout": "0.5d"},
        {"spec__scaling__minReplicas": 20},
        {"spec__image": REMOVED, "spec__template": {"spec": {"containers": [WORKER]}}},
        {"spec__template": {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"cpu": 1}}}]}}},
        {"spec__template": {"spec": {"containers": [{"name": "log", "image": "x", "tty": True}]}}},
        {"spec__template": {"metadata": {"annotations": {"a/b": "c"}}, "spec": {"nodeSelector": {"disk": "ssd"}}}},
        {"spec__template": {"spec": {"containers": [{"name": "worker", "env": [{"name": "TZ", "value": "UTC"}]}]}}},
        {"spec__drain__timeout": "1h30m"},
        {"spec__drain__timeout": "2d"},
        {"spec__modules": ["shop", "shop._inner.v2"]},
        {"spec__podSecurity": "AssignedUser"},
        {"spec__database__adminSecretRef": {"name": "currant-db-owner"}},
    ],
    ids=str,
)
def test_a_pool_may_also_be(kubectl: Kubectl, changes: dict[str, Any]) -> None:
    create(kubectl, pool(**changes))


@pytest.mark.parametrize(
    "cron",
    [
        *("*/5 * * * *", "0 8-17 1,15 * mon-fri", "59 23 31 12 7", "0-30/10 */6 * JAN,jul 0", "05 03 01 01 sun"),
        *("@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"),
    ],
)
def test_a_schedule_may_be_any_line_of_crontab(kubectl: Kubectl, cron: str) -> None:
    create(kubectl, workflow(spec__schedules__0__cron=cron))


POOL_REFUSALS = {
    "unknown field": ({"spec__qeues": ["orders"]}, 'unknown field "spec.qeues"'),
    "unknown field deeper": ({"spec__scaling__max": 3}, 'unknown field "spec.scaling.max"'),
    "no queues": ({"spec__queues": REMOVED}, "spec.queues: Required value"),
    "empty queues": ({"spec__queues": []}, "spec.queues: .*write at least one queue, such as queues: [default]"),
    "empty queue": ({"spec__queues": [""]}, "spec.queues: .*write at least one queue"),
    "same queue twice": ({"spec__queues": ["a", "a"]}, "spec.queues[1]: Duplicate value"),
    "no modules": ({"spec__modules": REMOVED}, "spec.modules: Required value"),
    "empty modules": ({"spec__modules": []}, "such as modules: [shop.orders]"),
    "file as module": ({"spec__modules": ["shop/orders.py"]}, "such as shop.orders and not shop/orders.py"),
    "no database": ({"spec__database": REMOVED}, "spec.database: Required value"),
    "no secret": ({"spec__database": {"secretRef": {}}}, "spec.database.secretRef.name: Required value"),
    "url as secret": (
        {"spec__database__secretRef__name": "postgres://db"},
        "write the name of a Secret in this namespace, such as currant-db",
    ),
    "min above max": (
        {"spec__scaling__minReplicas": 21},
        "spec.scaling.minReplicas: .*minReplicas is above maxReplicas .*write a lower minReplicas or a higher maxReplicas",
    ),
    "unknown pod security": (
        {"spec__podSecurity": "Privileged"},
        'supported values: "Restricted", "AssignedUser", "None"',
    ),
    "path as the operator's secret": (
        {"spec__database__adminSecretRef": {"name": "system/owner"}},
        "write the name of a Secret in the operator's namespace, such as currant-db-owner",
    ),
    "negative gap in a roll-out": (
        {"spec__rollout": {"maxUnavailable": -1}},
        "write a number of pods such as 1, or a part",
    ),
    "more than all in a roll-out": ({"spec__rollout": {"maxUnavailable": "101%"}}, "write a number of pods such as 1"),
    "negative min": ({"spec__scaling__minReplicas": -1}, "spec.scaling.minReplicas .*greater than or equal to 0"),
    "fixed without replicas": ({"spec__scaling__mode": "Fixed"}, "mode Fixed needs replicas: write the number of pods"),
    "native with replicas": (
        {"spec__scaling__replicas": 3},
        "mode Native has no replicas, .*leave replicas out and write minReplicas and maxReplicas, or write mode: Fixed",
    ),
    "unknown mode": ({"spec__scaling__mode": "Auto"}, 'supported values: "Native", "Fixed", "External"'),
    "no image": ({"spec__image": REMOVED}, "write image: the image with your code in it"),
    "two images": (
        {"spec__template": {"spec": {"containers": [WORKER]}}},
        "write either image or an image for the container named worker in template.spec.containers, not both",
    ),
    "image with a space": (
        {"spec__image": "a b"},
        "write the name of an image, such as registry.example/shop-worker:1.4",
    ),
    "side-car without image": (
        {"spec__template": {"spec": {"containers": [{"name": "log"}]}}},
        "write an image: a container of another name than worker is a side-car",
    ),
    "container without name": (
        {"spec__template": {"spec": {"containers": [{"image": "x"}]}}},
        "spec.template.spec.containers[0].name: Required value",
    ),
    "grace period in the template": (
        {"spec__template": {"spec": {"terminationGracePeriodSeconds": 10}}},
        "write drain.timeout in place of terminationGracePeriodSeconds",
    ),
    "our variable in the template": (
        {"spec__template": {"spec": {"containers": [{"name": "worker", "env": [{"name": "WORKFLOWS_POOL"}]}]}}},
        "leave out the variables that the operator writes",
    ),
    "unknown field in the template": (
        {"spec__template": {"spec": {"containerz": []}}},
        'unknown field "spec.template.spec.containerz"',
    ),
    "unknown field of a container": (
        container(resource={"limits": {"cpu": 1}}),
        'unknown field "spec.template.spec.containers[0].resource"',
    ),
    "quantity with a space": (
        container(resources={"limits": {"memory": "1 Gi"}}),
        'spec.template.spec.containers[0].resources.limits.memory: Invalid value: "1 Gi"',
    ),
    "quantity of a truth value": (
        container(resources={"limits": {"cpu": True}}),
        "spec.template.spec.containers[0].resources.limits.cpu",
    ),
    "quantity of fields": (
        container(resources={"limits": {"cpu": {"cores": 1}}}),
        "spec.template.spec.containers[0].resources.limits.cpu",
    ),
    "quantity of nothing": (
        container(resources={"limits": {"cpu": []}}),
        "spec.template.spec.containers[0].resources.limits.cpu",
    ),
    "quantity in words": (
        {"spec__template": {"spec": {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "lots"}}]}}},
        'emptyDir.sizeLimit: Invalid value: "lots"',
    ),
    "command of a truth value": (
        container(command=[True]),
        'spec.template.spec.containers[0].command[0] in body must be of type string: "boolean"',
    ),
    "value of a number": (
        container(env=[{"name": "PORT", "value": 8080}]),
        'env[0].value in body must be of type string: "integer"',
    ),
    "word for a number": (
        {"spec__template": {"spec": {"securityContext": {"runAsUser": "root"}}}},
        "spec.template.spec.securityContext.runAsUser in body must be of type integer",
    ),
    "pull policy there is not": (
        container(imagePullPolicy="Sometimes"),
        'supported values: "Always", "IfNotPresent", "Never"',
    ),
    "mount without a path": (
        container(volumeMounts=[{"name": "code"}]),
        "spec.template.spec.containers[0].volumeMounts[0].mountPath: Required value",
    ),
    "volume without a name": (
        {"spec__template": {"spec": {"volumes": [{"emptyDir": {}}]}}},
        "spec.template.spec.volumes[0].name: Required value",
    ),
    "container with a capital": (
        {"spec__template": {"spec": {"containers": [{"name": "Log", "image": "x"}]}}},
        'spec.template.spec.containers[0].name: Invalid value: "Log"',
    ),
    "old name of the account": (
        {"spec__template": {"spec": {"serviceAccount": "mine"}}},
        'unknown field "spec.template.spec.serviceAccount"',
    ),
    "label that is none": (
        {"spec__template": {"metadata": {"labels": {"team": "a b"}}}},
        'spec.template.metadata.labels.team: Invalid value: "a b"',
    ),
    "our label in the template": (
        {"spec__template": {"metadata": {"labels": {"currant.dev/pool": "other"}}}},
        "leave out currant.dev/pool",
    ),
    "duration in words": ({"spec__drain__timeout": "5 minutes"}, f"spec.drain.timeout: .*{DURATION}"),
    "duration without unit": ({"spec__scaling__scaleToZeroAfter": "60"}, DURATION),
    "duration as a number": ({"spec__drain__timeout": 300}, 'must be of type string: "integer"'),
    "no latency at all": ({"spec__scaling__latencyTarget": "0s"}, LONGER_DURATION),
    "drain too short": ({"spec__drain__timeout": "5s"}, "write at least 10s"),
    "no concurrency": ({"spec__concurrency": 0}, "spec.concurrency .*greater than or equal to 1"),
    "no utilization": ({"spec__scaling__targetUtilization": 0}, "targetUtilization: .*write a number from 0.1 to 1"),
    "tiny utilization": ({"spec__scaling__targetUtilization": 1e-300}, "write a number from 0.1 to 1"),
    "negative utilization": ({"spec__scaling__targetUtilization": -1}, "write a number from 0.1 to 1"),
    "utilization that is no number": ({"spec__scaling__targetUtilization": "NaN"}, "must be of type number"),
    "no step": ({"spec__scaling__scaleDown__maxStepPercent": 0}, "maxStepPercent .*greater than or equal to 1"),
    "no drain in days": ({"spec__drain__timeout": "0d"}, "write at least 10s"),
    "hardly any drain in days": ({"spec__drain__timeout": "0.0001d"}, "write at least 10s"),
    "utilization above 1": ({"spec__scaling__targetUtilization": 80}, "less than or equal to 1"),
    "name with a dot": ({"metadata__name": "a.b"}, "metadata.name: write at most 63 lower-case letters, digits and -"),
    "name too long": ({"metadata__name": "a" * 64}, "metadata.name: write at most 63"),
    "named default": ({"metadata__name": "default"}, "metadata.name: write another name than default"),
}


@pytest.mark.parametrize(("changes", "message"), POOL_REFUSALS.values(), ids=POOL_REFUSALS.keys())
def test_a_bad_pool_is_refused_with_what_to_write(kubectl: Kubectl, changes: dict[str, Any], message: str) -> None:
    assert_shown(refusal(kubectl, pool(**changes)), message)


WORKFLOW_REFUSALS = {
    "unknown field": ({"spec__pool": "orders"}, 'unknown field "spec.pool"'),
    "no function": ({"spec__function": REMOVED}, "spec.function: Required value"),
    "empty function": (
        {"spec__function": ""},
        "write the registered name of a workflow, such as shop.orders.process_order",
    ),
    "no pool": ({"spec__poolRef": REMOVED}, "spec.poolRef: Required value"),
    "pool with namespace": ({"spec__poolRef__name": "shop/orders"}, "write the name of a WorkerPool in this namespace"),
    "empty queue": ({"spec__queue": ""}, "write the name of a queue, or leave queue out"),
    "priority above 10": ({"spec__defaults__priority": 11}, "spec.defaults.priority .*less than or equal to 10"),
    "no time at all": ({"spec__defaults__timeout": "0s"}, f"spec.defaults.timeout: .*{LONGER_DURATION}"),
    "fewer than no lost workers": (
        {"spec__defaults__maxWorkerLosses": -1},
        "maxWorkerLosses .*greater than or equal to 0",
    ),
    "no attempts": ({"spec__defaults__retry__maxAttempts": 0}, "maxAttempts .*greater than or equal to 1"),
    "shrinking pauses": ({"spec__defaults__retry__multiplier": 0.5}, "multiplier .*greater than or equal to 1"),
    "bad pause": ({"spec__defaults__retry__initialInterval": "soon"}, DURATION),
    "bad retention": ({"spec__retention": "a week"}, f"spec.retention: .*{LONGER_DURATION}"),
    "no runs at once": ({"spec__concurrency__limit": 0}, "spec.concurrency.limit .*greater than or equal to 1"),
    "schema as text": ({"spec__inputSchema": "{}"}, 'spec.inputSchema in body must be of type object: "string"'),
    "four fields": ({"spec__schedules__0__cron": "0 3 * *"}, "write five fields with one space between them"),
    "at the start": (
        {"spec__schedules__0__cron": "@reboot"},
        "write @hourly, @daily, @weekly, @monthly, @yearly or @annually",
    ),
    "unknown name": ({"spec__schedules__0__cron": "@midnight"}, "write @hourly, @daily"),
    "name and fields": ({"spec__schedules__0__cron": "@daily * * * *"}, "write @hourly, @daily"),
    "name in a field": ({"spec__schedules__0__cron": "@daily @daily * * *"}, "write @hourly, @daily"),
    "word": ({"spec__schedules__0__cron": "daily"}, 'such as "0 3 * * *" for 3 o\'clock each day'),
    "two spaces": ({"spec__schedules__0__cron": "0  3 * * *"}, "write five fields with one space between them"),
    "minute 60": (
        {"spec__schedules__0__cron": "60 3 * * *"},
        "the first field of cron is the minute: write *, or 0 to 59",
    ),
    "hour 24": (
        {"spec__schedules__0__cron": "0 24 * * *"},
        "the second field of cron is the hour: write *, or 0 to 23",
    ),
    "day 0": ({"spec__schedules__0__cron": "0 3 0 * *"}, "the third field of cron is the day of the month"),
    "month 13": ({"spec__schedules__0__cron": "0 3 * 13 *"}, "the fourth field of cron is the month"),
    "weekday 8": ({"spec__schedules__0__cron": "0 3 * * 8"}, "the fifth field of cron is the day of the week"),
    "step 0": ({"spec__schedules__0__cron": "*/0 3 * * *"}, "the first field of cron is the minute"),
    "step of one number": ({"spec__schedules__0__cron": "5/15 3 * * *"}, "write *, or 0 to 59, such as 0, */15, 0-10"),
    "no cron": ({"spec__schedules__0__cron": REMOVED}, "spec.schedules[0].cron: Required value"),
    "time zone in words": (
        {"spec__schedules__0__timeZone": "Berlin time"},
        "write the name of a time zone, such as Europe/",
    ),
    "unknown overlap": ({"spec__schedules__0__overlap": "Skip"}, 'supported values: "Allow", "Forbid", "Replace"'),
    "unknown catch-up": ({"spec__schedules__0__catchUp": "Some"}, 'supported values: "None", "Last", "All"'),
    "bad deadline": ({"spec__schedules__0__startingDeadline": "1 hour"}, LONGER_DURATION),
    "bad jitter": ({"spec__schedules__0__jitter": "x"}, DURATION),
    "name of two": (
        {"spec__schedules": [{"name": "a", "cron": "0 3 * * *"}, {"name": "a", "cron": "0 4 * * *"}]},
        "spec.schedules[1]: Duplicate value",
    ),
}


@pytest.mark.parametrize(("changes", "message"), WORKFLOW_REFUSALS.values(), ids=WORKFLOW_REFUSALS.keys())
def test_a_bad_workflow_is_refused_with_what_to_write(kubectl: Kubectl, changes: dict[str, Any], message: str) -> None:
    assert_shown(refusal(kubectl, workflow(**changes)), message)


def assert_shown(shown: str, message: str) -> None:
    """Every part of the message, which `.*` separates, is there in its order."""
    place = 0
    for part in message.split(".*"):
        place = shown.find(part, place)
        assert place >= 0, f"{part!r} is not in: {shown}"
