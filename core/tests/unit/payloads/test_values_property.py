"""A value arrives as it was, or the call raises `SerializationError`; there is no third thing."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings

import random_types
from currant import SerializationError
from currant._calls.options import Options
from currant._payloads import codec
from currant.decorators import Task

EXAMPLES = int(os.environ.get("CURRANT_VALUE_EXAMPLES", "200"))
thoroughly = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def carrying(annotation: Any) -> Task[Any, Any]:
    async def carry(value: Any, *more: Any, named: Any = None) -> Any:
        return value

    carry.__annotations__ = {"value": annotation, "more": annotation, "named": annotation, "return": annotation}
    return Task(carry, "carry", Options(), {})


def all_ways(function: Task[Any, Any], value: Any) -> list[Any]:
    """What arrives of a value, as an argument of each kind and as a result."""
    args, kwargs = function.decode_args(function.encode_args((value, value), {"named": value}))
    return [*args, *kwargs.values(), function.decode_result(function.encode_result(value))]


@thoroughly
@given(random_types.carried)
def test_what_json_can_hold_arrives_as_it_was(case: tuple[Any, Any]) -> None:
    annotation, value = case
    function = carrying(annotation)
    for _ in range(2):  # the second time it knows the type
        for arrived in all_ways(function, value):
            assert random_types.arrived_as(annotation, value, arrived)


@thoroughly
@given(random_types.doubtful)
def test_anything_arrives_as_it_was_or_is_refused(case: tuple[Any, Any]) -> None:
    annotation, value = case
    try:
        arrived = all_ways(carrying(annotation), value)
    except SerializationError:
        return
    for one in arrived:
        assert random_types.arrived_as(annotation, value, one)


@thoroughly
@given(random_types.doubtful)
def test_a_signal_arrives_as_it_was_for_who_names_its_class_or_is_refused(case: tuple[Any, Any]) -> None:
    _, value = case
    try:
        data = codec.encode_untyped(value, "a signal")
    except SerializationError:
        return
    if type(value) in (list, tuple, dict, set, frozenset):
        return
    assert random_types.are_same(value, codec.decode(data, getattr(value, "__orig_class__", type(value))))
