"""When a failed attempt is tried again: `Retry` as users write it, and as it is stored."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from currant._base import limits
from currant._base.checks import number, text, whole_number
from currant._base.names import class_name


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is tried again.

    - `max_attempts`: how many attempts there are, the first one counted.
    - `initial`, `multiplier`, `max_delay`: the delay before attempt n + 1 is `initial * multiplier ** (n - 1)` seconds,
      at most `max_delay` seconds.
    - `jitter`: the fraction, 0 to 1, by which a delay is made longer or shorter at random, at most.
    - `non_retryable`: exceptions of these classes fail the execution at once. Classes, or their names, such as
      `"ValueError"` or `"shop.CardDeclined"`.

    Raises `TypeError` or `ValueError` for a value out of range.
    """

    max_attempts: int = 4
    initial: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.1
    non_retryable: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        whole_number(self.max_attempts, "Retry(max_attempts)", limits.MAX_ATTEMPTS)
        number(self.initial, "Retry(initial)", limits.INITIAL)
        number(self.multiplier, "Retry(multiplier)", limits.MULTIPLIER)
        number(self.max_delay, "Retry(max_delay)", limits.MAX_DELAY)
        number(self.jitter, "Retry(jitter)", limits.JITTER)
        if not isinstance(self.non_retryable, (tuple, list, set, frozenset)):
            raise TypeError(f"Retry(non_retryable) is a tuple of exception classes, not {self.non_retryable!r}")
        for entry in self.non_retryable:
            if not (isinstance(entry, str) or (isinstance(entry, type) and issubclass(entry, BaseException))):
                raise TypeError(f"Retry(non_retryable) holds exception classes or their names, not {entry!r}")
            if isinstance(entry, str):
                text(entry, "a name in Retry(non_retryable)", limits.NON_RETRYABLE_CHARACTERS)


def stored_policy(retry: Retry) -> dict[str, Any]:
    """The policy as it is stored with the execution: the option `retry` of SQL."""
    values: dict[str, Any] = {}
    for field in fields(retry):
        value = getattr(retry, field.name)
        values[field.name] = float(value) if isinstance(field.default, float) else value
    values["non_retryable"] = [entry if isinstance(entry, str) else class_name(entry) for entry in retry.non_retryable]
    return values
