"""The custom resources as structs, and the small things that statuses are made of."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from currant._base.durations import parse_duration
from currant_operator.plan import conditions, definitions
from currant_operator.plan.resources import InvalidResource, parse_pool, parse_workflow
from samples import POOL, WORKFLOW, manifest
from worlds import NOW, pool_body, workflow_body

CRDS = Path(__file__).parents[4] / "crds"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604800), ("1.5h", 5400), ("0s", 0)],
)
def test_durations_are_read_to_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "-5s", "5x", "1h 30m", "five"])
def test_what_is_no_duration_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration such as 30s"):
        parse_duration(text)


def test_the_examples_of_the_contract_are_read() -> None:
    pool = parse_pool(manifest(POOL, metadata__namespace="shop"))
    assert pool.key == "shop/orders"
    assert (pool.spec.drain.timeout, pool.spec.scaling.latency_target) == (300.0, 30.0)
    workflow = parse_workflow(manifest(WORKFLOW, metadata__namespace="shop"))
    assert workflow.spec.retention == 604800.0
    assert workflow.spec.defaults.retry is not None
    assert workflow.spec.defaults.retry.max_delay == 60.0


def test_fields_that_a_newer_schema_has_do_no_harm() -> None:
    parse_pool(pool_body(spec__priority=3, spec__scaling__other="x"))


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"spec__queues": 3}, "$.spec.queues"), ({"spec__drain": {"timeout": "x"}}, "$.spec.drain.timeout")],
)
def test_an_object_that_cannot_be_read_names_the_field(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidResource, match=where.replace("$", r"\$")):
        parse_pool(pool_body(**changes))


def test_an_object_that_cannot_be_read_keeps_its_status_and_is_not_ready() -> None:
    body = pool_body(status={"replicas": 2, "conditions": []})
    status = conditions.refused(body, "Expected `array` - at `$.spec.queues`", NOW)
    assert status["replicas"] == 2
    assert status["conditions"][0]["reason"] == "SpecInvalid"
    assert "$.spec.queues" in status["conditions"][0]["message"]
    assert conditions.refused({**body, "status": status}, "Expected `array` - at `$.spec.queues`", NOW) == status


def defaulted(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The value as the API server stores it: with the schema's defaults, also in what a default adds."""
    found = dict(value)
    for name, below in schema.get("properties", {}).items():
        if name not in found and "default" in below:
            found[name] = below["default"]
        if isinstance(found.get(name), dict):
            found[name] = defaulted(below, found[name])
        elif below.get("type") == "array" and name in found and "properties" in below["items"]:
            found[name] = [defaulted(below["items"], item) for item in found[name]]
    return found


def schema_of(kind: str) -> dict[str, Any]:
    crd = yaml.safe_load((CRDS / f"{kind}.yaml").read_text())
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def test_an_object_without_the_schemas_defaults_is_read_as_with_them() -> None:
    spec = {
        "queues": ["orders"],
        "modules": ["shop"],
        "database": {"secretRef": {"name": "db"}, "adminSecretRef": {"name": "owner"}},
    }
    bare = {**pool_body(), "spec": spec}
    full = defaulted(schema_of("workerpools"), bare)
    assert full["spec"]["scaling"]["scaleDown"]["window"] == "120s"
    assert parse_pool(bare) == parse_pool(full)
    schedules = [{"name": "nightly", "cron": "@daily"}]
    bare = {**workflow_body(), "spec": {"function": "f", "poolRef": {"name": "p"}, "schedules": schedules}}
    full = defaulted(schema_of("workflows"), bare)
    assert full["spec"]["schedules"][0]["catchUp"] == "Last"
    assert parse_workflow(bare) == parse_workflow(full)


def test_a_workflow_is_the_item_that_the_database_is_given() -> None:
    item = definitions.definition(parse_workflow(manifest(WORKFLOW, metadata__namespace="shop")))
    assert item == {
        "function": "examples.simple_example.process_order_workflow",
        "owner": "shop/process-order",
        "version": 1,
        "queue": "orders",
        "priority": 5,
        "timeout": 600.0,
        "retry": {"max_attempts": 4, "initial": 1.0, "multiplier": 2.0, "max_delay": 60.0},
        "max_worker_losses": 0,
        "concurrency_limit": 10,
        "retention": 604800.0,
        "suspended": False,
        "schedules": [
            {
                "name": "nightly",
                "cron": "0 3 * * *",
                "time_zone": "Europe/Berlin",
                "args": {},
                "overlap": "Forbid",
                "catch_up": "Last",
                "starting_deadline": 3600.0,
                "suspended": False,
            }
        ],
    }


def test_what_the_database_says_in_its_own_words_is_the_same_definition() -> None:
    wanted = definitions.definition(parse_workflow(workflow_body()))
    (schedule,) = wanted["schedules"]
    stored = {
        **wanted,
        "priority": None,
        "retry": None,
        "concurrency_limit": None,
        "updated_at": 5,
        "schedules": [{**schedule, "jitter": None, "starting_deadline": None}],
    }
    assert definitions.same(wanted, stored)
    assert not definitions.same(wanted, {**stored, "priority": 5})
    assert not definitions.same(wanted, {**stored, "schedules": []})
    assert not definitions.same(wanted, {**stored, "suspended": True})


def test_the_order_of_schedules_means_nothing() -> None:
    schedules = [{"name": name, "cron": "0 3 * * *"} for name in ("b", "a")]
    one, other = (
        definitions.definition(parse_workflow(workflow_body(spec__schedules=order)))
        for order in (schedules, schedules[::-1])
    )
    assert one == other


@given(st.integers(0, 10**12), st.integers(2, 3))
def test_rounded_counts_are_never_above_and_never_far_below(number: int, digits: int) -> None:
    shown = conditions.rounded(number, digits)
    assert number * (1 - 10.0 ** (1 - digits)) <= shown <= number
    assert conditions.rounded(shown, digits) == shown


@given(st.floats())
def test_steps_of_time_are_whole_and_never_above(seconds: float) -> None:
    shown = conditions.stepped(seconds)
    assert shown >= 0
    assert math.isnan(seconds) or shown <= max(0, seconds)


def test_times_are_written_as_the_api_does() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 999999, tzinfo=UTC)
    assert conditions.timestamp(moment) == "2026-01-02T03:04:05Z"
    assert conditions.parse_timestamp("2026-01-02T03:04:05Z") == moment.replace(microsecond=0)


def test_a_message_is_one_line_without_colours() -> None:
    assert conditions.one_line("\x1b[31merror:\x1b[0m a\n  b\t c ") == "error: a b c"
