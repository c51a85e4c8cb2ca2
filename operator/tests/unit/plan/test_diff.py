"""A status is written only when it has changed, and only what has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from currant_operator.plan.diff import merge_patch

scalars = st.sampled_from([True, False, 0, 1, 2, "", "x"])
values = scalars | st.lists(scalars, max_size=2)
for _ in range(3):
    objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
    values = scalars | objects


def applied(old: Any, patch: Any) -> Any:
    """RFC 7386, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


@given(objects, objects)
def test_the_patch_makes_the_new_of_the_old(old, new):
    assert applied(old, merge_patch(old, new)) == new


@given(objects)
def test_nothing_is_sent_when_nothing_has_changed(status):
    assert merge_patch(status, dict(status)) == {}


def test_only_what_has_changed_is_sent():
    old = {"replicas": 1, "queue": {"ready": 3, "due": 0}, "conditions": [1, 2], "gone": "x"}
    new = {"replicas": 1, "queue": {"ready": 4, "due": 0}, "conditions": [1, 2]}
    assert merge_patch(old, new) == {"queue": {"ready": 4}, "gone": None}


def test_none_is_taken_for_absent():
    assert merge_patch({"a": 1, "b": None}, {"a": None, "b": None, "c": None}) == {"a": None}


def test_an_object_without_a_status_gets_all_of_it():
    assert merge_patch(None, {"replicas": 0}) == {"replicas": 0}
