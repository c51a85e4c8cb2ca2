"""The form of conditions and events in a status, steady while nothing happens. `pool_status` has those of a pool."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from currant._base import printable
from currant_operator.plan.plans import Event, StatusWrite

Status = Literal["True", "False", "Unknown"]

# Reasons of conditions that pass without anybody's help: no event, no warning.
CALM = frozenset(
    {"Progressing", "Migrating", "Draining", "ScaledToZero", "Paused", "Suspended", "NotYetKnown", "QueuesNotSeen"}
)
LONGEST_MESSAGE = 600
_NEGATIVE = frozenset({"Degraded"})  # conditions of which True is bad
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


@dataclass(frozen=True)
class Condition:
    """One condition as it is wished; `reason` is one word, `message` one line that says what to do."""

    type: str
    status: Status
    reason: str
    message: str

    @property
    def bad(self) -> bool:
        """Whether the condition is worth a warning event."""
        wrong = "True" if self.type in _NEGATIVE else "False"
        return self.status == wrong and self.reason not in CALM


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: the reason and the message of the conditions that show it."""

    reason: str
    message: str


def one_line(text: str) -> str:
    """The text on one line: colours removed, control characters made harmless, cut at `LONGEST_MESSAGE`."""
    line = printable.one_line(" ".join(_ESCAPES.sub("", text).split()))
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 4] + " ..."


def timestamp(moment: datetime) -> str:
    """A time as the API writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The moment that the API means. Raises `ValueError`."""
    return datetime.fromisoformat(text)


def found(status: Mapping[str, Any], kind: str) -> Condition | None:
    """The condition of a written status, if it has it."""
    for item in status.get("conditions") or ():
        if item.get("type") == kind:
            return Condition(kind, item.get("status", "Unknown"), item.get("reason", ""), item.get("message", ""))
    return None


def written(
    old: Mapping[str, Any], wished: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions as a status has them; `lastTransitionTime` is when the status of each changed last."""
    since = {
        item.get("type"): (item.get("status"), item.get("lastTransitionTime")) for item in old.get("conditions") or ()
    }
    result = []
    for condition in wished:
        status, time = since.get(condition.type, (None, None))
        result.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": one_line(condition.message),
                "lastTransitionTime": time if time and status == condition.status else timestamp(now),
                "observedGeneration": generation,
            }
        )
    return result


def events(old: Mapping[str, Any], wished: Iterable[Condition]) -> list[Event]:
    """A Warning for each reason that is bad now and was not, a Normal one when Ready becomes True."""
    reasons = {condition.reason for condition in _all(old) if condition.bad}
    result = []
    for condition in wished:
        if condition.bad and condition.reason not in reasons:
            reasons.add(condition.reason)
            result.append(Event("Warning", condition.reason, one_line(condition.message)))
        before = found(old, condition.type)
        if condition.type == "Ready" and condition.status == "True" and before and before.status != "True":
            result.append(Event("Normal", condition.reason, one_line(condition.message)))
    return result


def _all(status: Mapping[str, Any]) -> list[Condition]:
    kinds = [item.get("type", "") for item in status.get("conditions") or ()]
    return [condition for kind in kinds if (condition := found(status, kind))]


def status_write(old: Mapping[str, Any], new: Mapping[str, Any], counts: str) -> StatusWrite:
    """When the status is to be written: `later` if nothing but the field named by `counts` differs."""
    if old == new:
        return "none"
    rest = [{key: value for key, value in status.items() if key != counts} for status in (old, new)]
    return "later" if rest[0] == rest[1] else "now"


def refused(body: Mapping[str, Any], error: str, now: datetime) -> dict[str, Any]:
    """The status of an object that cannot be parsed: what it had, and Ready=False SpecInvalid."""
    old = body.get("status") or {}
    metadata = body.get("metadata") or {}
    message = f"this operator cannot read the object: {error}; upgrade the operator, or fix the object"
    others = [condition for condition in _all(old) if condition.type != "Ready"]
    wished = [Condition("Ready", "False", "SpecInvalid", message), *others]
    return {**old, "conditions": written(old, wished, metadata.get("generation") or 0, now)}


def rounded(number: int, digits: int) -> int:
    """The number rounded down to `digits` digits: a busy pool must not write its status after each of its jobs."""
    if number < 10**digits:
        return max(0, number)
    unit = int(10 ** (math.floor(math.log10(number)) + 1 - digits))
    return number // unit * unit


def next_step(seconds: float) -> float:
    """The least number of seconds above for which `stepped` returns another number."""
    return min((step for step in _STEPS if step > seconds), default=(seconds // 3600 + 1) * 3600)


def duration(seconds: int) -> str:
    """A duration as people write it: `50s`, `2m`, `1h30m`."""
    hours, minutes = divmod(seconds // 60, 60)
    parts = [(hours, "h"), (minutes, "m"), (seconds % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def stepped(seconds: float) -> int:
    """The greatest of some round numbers of seconds that is not above; whole hours beyond one."""
    if not seconds >= 1:  # NaN too
        return 0
    if seconds >= 3600:
        return int(min(seconds, 1e9) // 3600 * 3600)
    return max(step for step in _STEPS if step <= seconds)
