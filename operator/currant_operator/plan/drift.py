"""Whether an object that is there differs from its manifest, so that it must be applied again.

Every field of the manifest is compared, its digest among them: another digest means that what we want has changed, and
server-side apply takes back what we no longer want. The same digest but another value in one of our fields is a change
by somebody else, and is undone. Fields that only the object has are ignored: others own them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from currant_operator.plan.manifests import digest
from currant_operator.plan.merging import item_key, keyed
from currant_operator.plan.observations import Object
from currant_operator.plan.quantities import same_quantity


def needs_apply(manifest: Mapping[str, Any], live: Object | None, accepted: frozenset[str] = frozenset()) -> bool:
    """Whether the object is missing or differs from the manifest. `accepted`: digests of what makes no difference."""
    if live is None:
        return True
    found = drift_digest(manifest, live)
    return found is not None and found not in accepted


def drift_digest(manifest: Mapping[str, Any], live: Object) -> str | None:
    """A digest of how the object differs from the manifest, or None if it does not differ.

    The digest of an apply's own answer stands for what the API server writes in a way of its own, which must not be
    applied again for ever. Replicas are not compared.
    """
    spec = {key: value for key, value in (manifest.get("spec") or {}).items() if key != "replicas"}
    wanted = {**manifest, "spec": spec} if "spec" in manifest else dict(manifest)
    differences = sorted(_drift(wanted, live, (), ""))
    return digest([wanted, differences]) if differences else None


def _drift(wanted: Any, live: Any, path: tuple[str, ...], field: str) -> Iterator[str]:
    """Where `live` is not what `wanted` says; what only `live` has is ignored."""
    if isinstance(wanted, Mapping):
        live = live if isinstance(live, Mapping) else {}
        for key, value in wanted.items():
            yield from _drift(value, live.get(key), (*path, key), key)
    elif isinstance(wanted, list) and (keyed(field) or field == "ownerReferences"):
        yield from _drift_of_items(wanted, live if isinstance(live, list) else [], path, field)
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, pair in enumerate(zip(wanted, live, strict=True)):
            yield from _drift(*pair, (*path, str(index)), "")
    elif not _same(wanted, live, path):
        yield f"{'.'.join(path)} is {json.dumps(live, sort_keys=True)}"


def _drift_of_items(wanted: list[Any], live: list[Any], path: tuple[str, ...], field: str) -> Iterator[str]:
    def key(item: Any, index: int) -> tuple[Any, ...]:
        return (item.get("uid"),) if field == "ownerReferences" else item_key(item, field, index)

    there = {key(item, index): item for index, item in enumerate(live)}
    for index, item in enumerate(wanted):
        yield from _drift(item, there.get(key(item, index)), (*path, str(index)), "")


def _same(wanted: Any, live: Any, path: tuple[str, ...]) -> bool:
    if live is None:  # the API server leaves out what is empty
        return wanted in (None, "", False, 0, [], {})
    if wanted == live and isinstance(wanted, bool) == isinstance(live, bool):
        return True
    return same_quantity(wanted, live, path)
