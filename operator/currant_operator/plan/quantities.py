"""Amounts in the form that Kubernetes writes (`0.5` of CPU is `500m`), and whether two are the same."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_PLACES = frozenset({"resources", "limits", "requests", "sizeLimit", "divisor"})
_QUANTITY = re.compile(r"([+-]?[0-9]*\.?[0-9]*)(?:([eE][+-]?[0-9]+)|(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|n|u)?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def same_quantity(one: Any, other: Any, path: tuple[str, ...]) -> bool:
    """Whether both are the same amount, in a field that holds amounts."""
    if _PLACES.isdisjoint(path):
        return False
    first, second = amount(one), amount(other)
    return first is not None and first == second


def amount(value: Any) -> Decimal | None:
    """The amount that a quantity such as `500m`, `1Gi`, `1e3` or `2` means, or None when it is not a quantity."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if not match or not any(character.isdigit() for character in match[1]):
        return None
    number = Decimal(match[1] + (match[2] or ""))
    unit = match[3] or ""
    if unit in _BINARY:
        return number * Decimal(1024 ** _BINARY[unit])
    return number * Decimal(10) ** _DECIMAL.get(unit, 0)
