"""Logs on standard error: text, or with CURRANT_OPERATOR_LOG_FORMAT=json one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from currant._worker.logs import TextFormatter
from currant_operator.plan.kinds import Key

_FIELDS = ("kind", "namespace", "object")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, error, and the object that it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for field in _FIELDS:
            if hasattr(record, field):
                line[field] = getattr(record, field)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str, form: str) -> None:
    """Log from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_kopf_is_quiet)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _kopf_is_quiet(record: logging.LogRecord) -> bool:
    """Leave out kopf's messages about its own work: what it did with each event, and where its signals go."""
    if not record.name.startswith("kopf"):
        return True
    return record.levelno >= logging.WARNING and "OS signals are ignored" not in record.getMessage()


def about(key: Key) -> dict[str, str]:
    """The members of a JSON log line that name an object; `name` is taken by the logging module."""
    return {"kind": key.kind, "namespace": key.namespace, "object": key.name}
