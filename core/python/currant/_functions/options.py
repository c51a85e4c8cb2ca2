"""What can be said of a durable call beside its arguments, checked when it is said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from currant import settings
from currant._base.checks import number, seconds, text, whole_number
from currant._functions.names import class_name
from currant.rust_bridge import Policy

_MOST_ATTEMPTS = 1_000_000
_LONGEST_CLASS_NAME = 1_000
_MOST_LOSSES = 1_000_000
_GIVEN = {"queue": 1, "priority": 2, "timeout": 4, "retry": 8, "retries": 8, "max_worker_losses": 16}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Default:
    """The type of `DEFAULT`: not given, so the setting decides (None is a value: no time-out)."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT = Default()


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is tried again.

    The delay before attempt n + 1 is `initial * multiplier ** (n - 1)` seconds, at most `max_delay`, made longer or
    shorter at random by up to the fraction `jitter`. Exceptions of the classes in `non_retryable` (or their names, such
    as `"ValueError"` or `"shop.CardDeclined"`) fail the execution at once. Raises `TypeError` or `ValueError`.
    """

    max_attempts: int = 4
    initial: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.1
    non_retryable: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        whole_number(self.max_attempts, "Retry(max_attempts)", least=1, most=_MOST_ATTEMPTS)
        number(self.initial, "Retry(initial)", least=0)
        number(self.multiplier, "Retry(multiplier)", least=1)
        number(self.max_delay, "Retry(max_delay)", least=0)
        number(self.jitter, "Retry(jitter)", least=0, most=1)
        if not isinstance(self.non_retryable, (tuple, list, set, frozenset)):
            raise TypeError(f"Retry(non_retryable) is a tuple of exception classes, not {self.non_retryable!r}")
        for entry in self.non_retryable:
            if not (isinstance(entry, str) or (isinstance(entry, type) and issubclass(entry, BaseException))):
                raise TypeError(f"Retry(non_retryable) holds exception classes or their names, not {entry!r}")
            if isinstance(entry, str):
                text(entry, "a name in Retry(non_retryable)", _LONGEST_CLASS_NAME)

    def policy(self) -> Policy:
        """As it is stored with the execution."""
        names = [entry if isinstance(entry, str) else class_name(entry) for entry in self.non_retryable]
        return Policy(
            self.max_attempts,
            float(self.initial),
            float(self.multiplier),
            float(self.max_delay),
            float(self.jitter),
            names,
        )


@dataclass(frozen=True)
class Options:
    """The options of a function or a bound copy of it. `delay`: seconds; `run_at`: microseconds since 1970, UTC."""

    queue: str | None = None
    priority: int = 5
    timeout: float | Default | None = DEFAULT
    retry: Retry | None = None
    max_worker_losses: int | None = None
    delay: float | None = None
    run_at: int | None = None
    idempotency_key: str | None = None
    connection: Any = None
    given: int = 0  # what `.options()` was given, as in `rust_bridge.Call`: it outranks the function's definition

    def changed(self, given: dict[str, Any]) -> Options:
        """A copy with `given`, checked. Raises `TypeError` for an unknown option, a wrong type, or both of a pair."""
        unknown = sorted(given.keys() - _CHECKS.keys())
        if unknown:
            raise TypeError(f"there is no option {unknown[0]!r}; there are {', '.join(_CHECKS)}")
        for one, other in (("retry", "retries"), ("delay", "run_at")):
            if given.get(one) is not None and given.get(other) is not None:
                raise ValueError(f"give {one} or {other}, not both")
        values = {name: _CHECKS[name](value) for name, value in given.items()}
        if values.get("retries") is not None:
            values["retry"] = values["retries"]
        values.pop("retries", None)
        if "delay" in values or "run_at" in values:  # the later word on when it is due replaces the earlier one
            values = {"delay": None, "run_at": None, **values}
        return replace(self, **values)

    def overriding(self, given: dict[str, Any]) -> Options:
        """As `changed`, for one call or bound copy: what is given also outranks the function's definition."""
        bits = self.given
        for name, bit in _GIVEN.items():
            if name in given:
                # None takes it back; as a time-out it is a value.
                bits = bits & ~bit if given[name] is None and name != "timeout" else bits | bit
        return replace(self.changed(given), given=bits)

    def policy_for(self, kind: str) -> Policy:
        """The retry policy given, else that of the settings: a workflow is not tried again, it would fail alike."""
        retry, losses = self.retry, self.max_worker_losses
        if retry is None:
            retry = Retry(max_attempts=settings.load().default_retries + 1 if kind == "task" else 1)
        if losses is None:
            losses = settings.load().default_max_worker_losses
        return retry.policy()._replace(max_worker_losses=losses)

    def timeout_for(self, kind: str) -> float | None:
        """The time-out given, else that of the settings, in seconds; None: no time-out."""
        if not isinstance(self.timeout, Default):
            return self.timeout
        found = settings.load()
        return found.default_timeout if kind == "task" else found.default_workflow_timeout


def _timeout(value: Any) -> float | Default | None:
    return value if value is None or isinstance(value, Default) else seconds(value, "timeout")


def _retry(value: Any) -> Retry | None:
    if value is not None and not isinstance(value, Retry):
        raise TypeError(f"retry is a Retry(...), not {value!r}; for a number of retries write retries={value!r}")
    return value


def _retries(value: Any) -> Retry | None:
    return None if value is None else Retry(max_attempts=whole_number(value, "retries", 0, _MOST_ATTEMPTS - 1) + 1)


def _max_worker_losses(value: Any) -> int | None:
    return None if value is None else whole_number(value, "max_worker_losses", 0, _MOST_LOSSES)


def _run_at(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"run_at is a datetime, not {value!r}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"run_at needs a time zone: {value.isoformat()} could be meant in any")
    return (value - _EPOCH) // timedelta(microseconds=1)


def _idempotency_key(value: Any) -> str | None:
    return None if value is None else text(value, "idempotency_key", 500)


_CHECKS: dict[str, Any] = {
    "queue": lambda value: None if value is None else text(value, "queue"),
    "priority": lambda value: whole_number(value, "priority", 0, 10),
    "timeout": _timeout,
    "retry": _retry,
    "retries": _retries,
    "max_worker_losses": _max_worker_losses,
    "delay": lambda value: None if value is None else seconds(value, "delay", above=False),
    "run_at": _run_at,
    "idempotency_key": _idempotency_key,
    "connection": lambda value: value,
}
