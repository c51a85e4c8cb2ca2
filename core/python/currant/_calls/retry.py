"""When a failed attempt is tried again: `Retry` as users write it, `Policy` as it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from currant._base import limits
from currant._base.checks import number, text, whole_number
from currant._base.names import class_name


class Policy(NamedTuple):
    """When a failed attempt is tried again. Durations in seconds; `non_retryable` has names of exception classes.

    An attempt that is lost with its worker is no failed one. `max_worker_losses` workers that only this execution can
    have killed may be lost; with the next one it fails as `WorkerLost`. With 0 it fails so when any worker is lost that
    has claimed it, and a task also when its worker stops before the task has ended.
    """

    max_attempts: int
    initial: float
    multiplier: float
    max_delay: float
    jitter: float
    non_retryable: list[str]
    max_worker_losses: int = 3

    def retry(self) -> dict[str, Any]:
        """The option `retry` of SQL: all but `max_worker_losses`, which is an option of its own."""
        return {name: value for name, value in self._asdict().items() if name != "max_worker_losses"}

    def columns(self) -> dict[str, Any]:
        """The values by the columns of `currant.functions`."""
        return {name if name in _PLAIN_COLUMNS else f"retry_{name}": value for name, value in self._asdict().items()}


_PLAIN_COLUMNS = ("max_attempts", "non_retryable", "max_worker_losses")


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

    def policy(self, max_worker_losses: int) -> Policy:
        """The policy as it is stored with the execution."""
        names = [entry if isinstance(entry, str) else class_name(entry) for entry in self.non_retryable]
        return Policy(
            self.max_attempts,
            float(self.initial),
            float(self.multiplier),
            float(self.max_delay),
            float(self.jitter),
            names,
            max_worker_losses,
        )
