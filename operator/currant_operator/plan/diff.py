"""The difference between two statuses: only that is sent, and no call is made when there is none."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def merge_patch(old: Any, new: Body) -> Body:
    """The JSON merge patch (RFC 7386) that makes `new` of `old`; empty when they are equal.

    A member that is None in `new` counts as absent, because a merge patch removes a member by null.
    """
    old = old if isinstance(old, dict) else {}
    patch: Body = {key: None for key in old if new.get(key) is None and old[key] is not None}
    for key, value in new.items():
        before = old.get(key)
        if value is None or value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        else:
            patch[key] = value
    return patch
