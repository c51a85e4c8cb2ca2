"""Logs of `currant worker` and `currant dev`: text, or with WORKFLOWS_LOG_FORMAT=json one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from currant import context, tracing
from currant._base.printable import json_text, lines

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("text", "json")

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_FIELDS = ("function", "execution_id", "attempt", "queue", "workflow_id", "trace_id", "span_id")


class TextFormatter(logging.Formatter):
    """Log records as text. No message or error can forge another record, or send control characters to a terminal."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. All lines of a record after its first, such as a traceback, are indented."""
        return lines(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the execution that it is about, an error's traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for field in _FIELDS:
            value = getattr(record, field, None)
            if value is not None:
                line[field] = value
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            text = msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # a text has a lone surrogate, which json writes as an escape
            text = json.dumps(line, default=str)
        return json_text(text)


def about_execution(record: logging.LogRecord) -> bool:
    """A filter that adds the execution whose code has logged the record, unless the record names one itself."""
    for field, value in _execution().items():
        if not hasattr(record, field):
            setattr(record, field, value)
    return True


def _execution() -> dict[str, Any]:
    run = context.active_run()
    if run is not None:
        found = {"function": run.name, "execution_id": run.id, "attempt": run.attempt, "queue": run.queue}
    elif (attempt := context.attempt.get(None)) is not None:
        found = {
            "execution_id": attempt.id,
            "attempt": attempt.attempt,
            "queue": attempt.queue,
            "workflow_id": attempt.workflow_id,
        }
    else:
        found = {}
    return {**found, **tracing.span_ids()}


def set_up(level: str, form: str) -> None:
    """Log to standard error from now on, unless the program has set up its logging itself."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(about_execution)
    logging.basicConfig(level=level, handlers=[handler])
