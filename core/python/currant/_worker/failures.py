"""Errors that end an attempt: whether a retry policy names them, and their line in the log."""

from __future__ import annotations

import logging

from currant._base.names import class_name
from currant._base.user_errors import SafeLogger, class_names, is_a, one_line
from currant._payloads.codec import decode_error, encode_error
from currant.errors import ExecutionFailed

_log = SafeLogger(logging.getLogger("currant.worker"))


def matches(error: BaseException, names: list[str]) -> bool:
    """Whether an error is of one of the classes named, qualified (`shop.CardDeclined`) or bare, or of a subclass."""
    if not names:
        return False
    if is_a(error, ExecutionFailed):
        failed_as = decode_error(encode_error(error)).type
        if any(failed_as == name.rpartition(".")[2] for name in names):
            return True
    return not class_names(error, class_name).isdisjoint(names)


def log_failure(name: str, id: str, attempt: int, queue: str, error: BaseException) -> None:
    """Log that an attempt of the function `name` has failed."""
    extra = {"function": name, "execution_id": id, "attempt": attempt, "queue": queue}
    _log.warning("%s %s attempt %d failed: %s", name, id, attempt, one_line(error), extra=extra)
