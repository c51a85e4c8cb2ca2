"""A Workflow as an item of `RustBridge.apply_definitions`, and whether the database has it already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from currant_operator.plan.resources import RunDefaults, Schedule, Seconds, Workflow


def definition(workflow: Workflow) -> dict[str, Any]:
    """The item; durations are in seconds, and what the Workflow leaves to the code is left out."""
    spec = workflow.spec
    return _given(
        {
            "function": spec.function,
            "owner": workflow.key,
            "version": spec.version,
            "queue": spec.queue,
            **_options(spec.defaults),
            "concurrency_limit": spec.concurrency.limit if spec.concurrency else None,
            "retention": _seconds(spec.retention),
            "input_schema": spec.input_schema or None,
            "suspended": spec.suspended,
            "schedules": [_schedule(schedule) for schedule in sorted(spec.schedules, key=lambda each: each.name)],
        }
    )


def same(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether the database has the item as it is wanted; its item may have more fields, and null for others."""
    return bool(_plain(wanted) == _plain({key: stored.get(key) for key in _ITEM}))


_ITEM = (
    "function",
    "owner",
    "version",
    "queue",
    *RunDefaults.__struct_fields__,
    "concurrency_limit",
    "retention",
    "input_schema",
    "suspended",
    "schedules",
)
_FREE = ("args", "input_schema")  # JSON of the user's, where null and empty mean something


def _plain(value: Any) -> Any:
    """Without nulls and what is empty, schedules by name, and each number as a float."""
    if isinstance(value, Mapping):
        plain = {key: item if key in _FREE else _plain(item) for key, item in value.items()}
        return {key: item for key, item in plain.items() if item is not None and item != {} and item != []}
    if isinstance(value, (list, tuple)):
        if all(isinstance(item, Mapping) and "cron" in item for item in value):
            value = sorted(value, key=lambda item: str(item.get("name")))
        return [_plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _options(defaults: Struct) -> dict[str, Any]:
    """The fields that are given, by name."""
    return _given({name: _plain_option(getattr(defaults, name)) for name in defaults.__struct_fields__})


def _plain_option(value: Any) -> Any:
    if isinstance(value, Struct):
        return _options(value) or None
    if isinstance(value, Seconds):
        return _seconds(value)
    return list(value) if isinstance(value, tuple) else value


def _schedule(schedule: Schedule) -> dict[str, Any]:
    return _given(
        {
            "name": schedule.name,
            "cron": schedule.cron,
            "time_zone": schedule.time_zone,
            "args": schedule.args,
            "overlap": schedule.overlap,
            "catch_up": schedule.catch_up,
            "starting_deadline": _seconds(schedule.starting_deadline),
            "jitter": _seconds(schedule.jitter),
            "suspended": schedule.suspended,
        }
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _seconds(duration: float | None) -> float | None:
    """A plain number, so that it is written to JSON as one."""
    return None if duration is None else float(duration)
