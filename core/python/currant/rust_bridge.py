"""The thin typed wrapper over the extension `currant._core`: names for its tuples, and one object for its verbs."""

from __future__ import annotations

from typing import NamedTuple


class Policy(NamedTuple):
    """When a failed attempt is tried again. Durations in seconds; `non_retryable` holds names of exception classes."""

    max_attempts: int
    initial: float
    multiplier: float
    max_delay: float
    jitter: float
    non_retryable: list[str]


class Call(NamedTuple):
    """One durable call as it is stored. `delay` is in seconds, `run_at` in microseconds since 1970, UTC."""

    kind: str
    function: str
    queue: str
    priority: int
    args: bytes
    policy: Policy
    timeout: float | None = None
    delay: float | None = None
    run_at: int | None = None


class NewExecution(NamedTuple):
    """An enqueue: the id its client made, the call, and perhaps an idempotency key."""

    id: str
    call: Call
    idempotency_key: str | None = None
