"""A partial pod template over our defaults, as server-side apply would merge two managers' fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The fields that identify an item of a list. A list that is not here is replaced as a whole by the last writer.
_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "protocol"),
    "imagePullSecrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "hostAliases": ("ip",),
}
_DEFAULTS = {"protocol": "TCP"}
# Fields of which at most one may be set: the template's replaces the default one.
_ONE_OF = (
    ("livenessProbe", "readinessProbe", "startupProbe"),
    ("httpGet", "exec", "tcpSocket", "grpc"),
)
# Lists whose items are replaced as a whole: half of one value and half of another would mean nothing.
_WHOLE_ITEMS = frozenset({"env", "volumes"})


def merge(base: Mapping[str, Any], over: Mapping[str, Any], field: str = "") -> dict[str, Any]:
    """`base` with what `over` says: maps by key, the lists above by their items' keys, the rest replaced; null removes.

    Items of `base` come first, in its order, then those that only `over` has, in theirs. Neither is changed.
    """
    result = dict(_without_other_handlers(base, over, field))
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_value(result.get(key), value, key)
    return result


def _merge_value(base: Any, over: Any, field: str) -> Any:
    if isinstance(over, Mapping):
        return merge(base if isinstance(base, Mapping) else {}, over, field)
    if isinstance(over, list) and isinstance(base, list) and field in _KEYS:
        return _merge_items(base, over, field)
    return over


def _merge_items(base: Sequence[Any], over: Sequence[Any], field: str) -> list[Any]:
    result = {item_key(item, field, index): item for index, item in enumerate(base)}
    for index, item in enumerate(over):
        key = item_key(item, field, len(base) + index)
        before = result.get(key)
        mixed = isinstance(item, Mapping) and isinstance(before, Mapping) and field not in _WHOLE_ITEMS
        result[key] = merge(before, item) if mixed and isinstance(before, Mapping) else item
    return list(result.values())


def item_key(item: Any, field: str, index: int) -> tuple[Any, ...]:
    """The identity of an item of a list: its key fields, or its index where the list has no such fields."""
    keys = _KEYS.get(field)
    if keys is None or not isinstance(item, Mapping) or keys[0] not in item:
        return ("#", index)
    return tuple(str(item.get(key, _DEFAULTS.get(key))) for key in keys)


def keyed(field: str) -> bool:
    """Whether the items of a list of that name are identified by key fields."""
    return field in _KEYS


def _without_other_handlers(base: Mapping[str, Any], over: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    probes, handlers = _ONE_OF
    if field not in probes or not any(handler in over for handler in handlers):
        return base
    return {key: value for key, value in base.items() if key not in handlers}
