"""Settings come from the environment (`WORKFLOWS_*`). A bad value is an error that names the variable."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from currant.errors import CurrantError


class SettingsError(CurrantError, ValueError):
    """A setting has a value that cannot be used, or `WORKFLOWS_DATABASE_URL` is not set.

    To do: write what the message says; it names the variable (docs/reference/settings.md).
    """


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError
    return seconds


def _grace(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError
    return seconds


def _seconds_or_none(text: str) -> float | None:
    return None if text.lower() == "none" else _seconds(text)


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return parse


def _port_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else _count(1, 65_535)(text)


def _on_or_off(text: str) -> bool:
    if text.lower() not in ("on", "off"):
        raise ValueError
    return text.lower() == "on"


def _url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    hosts = re.split("[/?]", rest, maxsplit=1)[0].rpartition("@")[2]
    if scheme not in ("postgres", "postgresql") or hosts.count("[") != hosts.count("]"):  # the core reads the rest
        raise ValueError
    return text


def _variable(
    name: str, default: Any, parse: Callable[[str], Any], wanted: str, about: str, shown: str | None = None
) -> Any:
    """A setting. `wanted` ends the message about a bad value; `about` (Markdown) and `shown`, where the default needs
    words, are for docs/reference/settings.md.
    """
    described = {"variable": name, "parse": parse, "wanted": wanted, "about": about, "shown": shown}
    return field(default=default, metadata=described)


KUBERNETES_HTTP_PORT = 8080  # health and metrics, where WORKFLOWS_HTTP_PORT is not set
_SECONDS = "a number of seconds above 0"
_SECONDS_OR_NONE = "a number of seconds above 0, or none"


@dataclass(frozen=True)
class Settings:
    """Every setting of Currant, as it is read from the environment. Durations are in seconds.

    Each field has a variable `WORKFLOWS_...`; docs/reference/settings.md has them all, with their meaning and default.
    """

    database_url: str | None = _variable(
        "WORKFLOWS_DATABASE_URL",
        None,
        _url,
        "a URL such as postgresql://user:password@host:5432/name",
        "The database. Several hosts, sockets, parameters and poolers: [database-url.md](database-url.md).",
    )
    heartbeat_interval: float = _variable(
        "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL",
        5.0,
        _seconds,
        _SECONDS,
        "How often a worker sends a heartbeat. It must be below the heartbeat time-out.",
    )
    heartbeat_timeout: float = _variable(
        "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT",
        30.0,
        _seconds,
        _SECONDS,
        "How long a worker may be silent before its work is taken over.",
    )
    poll_interval: float = _variable(
        "WORKFLOWS_WORKER_POLL_INTERVAL",
        5.0,
        _seconds,
        _SECONDS,
        "How often an idle worker looks for work without a notification.",
    )
    max_concurrent: int = _variable(
        "WORKFLOWS_WORKER_MAX_CONCURRENT",
        100,
        _count(1, 100_000),
        "a whole number from 1 to 100000",
        "How many tasks a worker runs at a time (its slots). Workflows do not count.",
    )
    shutdown_grace: float = _variable(
        "WORKFLOWS_WORKER_SHUTDOWN_GRACE",
        30.0,
        _grace,
        "a number of seconds, 0 or more",
        "How long a worker may finish its tasks after SIGTERM. Then it gives up the rest, so that other workers may "
        "claim it.",
    )
    default_timeout: float | None = _variable(
        "WORKFLOWS_DEFAULT_TIMEOUT",
        300.0,
        _seconds_or_none,
        _SECONDS_OR_NONE,
        "The time-out of a task's attempt, for tasks without a `timeout` of their own.",
    )
    default_workflow_timeout: float | None = _variable(
        "WORKFLOWS_DEFAULT_WORKFLOW_TIMEOUT",
        None,
        _seconds_or_none,
        _SECONDS_OR_NONE,
        "The time-out of a workflow, from its first start to its end, waits included.",
    )
    default_retries: int = _variable(
        "WORKFLOWS_DEFAULT_RETRIES",
        3,
        _count(0, 1_000_000),
        "a whole number from 0 to 1000000",
        "How often a task is tried again after its first attempt.",
    )
    default_max_worker_losses: int = _variable(
        "WORKFLOWS_DEFAULT_MAX_WORKER_LOSSES",
        3,
        _count(0, 1_000_000),
        "a whole number from 0 to 1000000",
        "How many lost workers an execution may cause before it fails ([retries.md](../use/retries.md)).",
    )
    max_payload_bytes: int = _variable(
        "WORKFLOWS_MAX_PAYLOAD_BYTES",
        1_048_576,
        _count(1, 512 * 1024 * 1024),
        "a number of bytes from 1 to 536870912",
        "The largest arguments, result or signal.",
    )
    max_hot: int = _variable(
        "WORKFLOWS_WORKER_MAX_HOT",
        10_000,
        _count(1, 10_000_000),
        "a whole number from 1 to 10000000",
        "How many workflows a worker keeps in memory. Above it those that have waited longest are evicted.",
    )
    long_wait: float = _variable(
        "WORKFLOWS_WORKER_LONG_WAIT",
        300.0,
        _seconds,
        _SECONDS,
        "A workflow that waits for longer than this, or for a signal, is evicted from memory.",
    )
    http_port: int | None = _variable(
        "WORKFLOWS_HTTP_PORT",
        None,
        _port_or_none,
        "a port from 1 to 65535, or none",
        "Where a worker serves `/healthz`, `/readyz` and `/metrics` ([observability.md](../operate/observability.md)).",
        f"none; in a pod of Kubernetes {KUBERNETES_HTTP_PORT}",
    )
    tracing: bool = _variable(
        "WORKFLOWS_TRACING",
        False,
        _on_or_off,
        "on or off",
        "OpenTelemetry spans of attempts, workflows and steps ([observability.md](../operate/observability.md)).",
        "off",
    )
    build_id: str | None = _variable(
        "WORKFLOWS_BUILD_ID",
        None,
        str,
        "a name of the code's version",
        "The name of your code's version.",
        "a hash of the code",
    )
    pool: str | None = _variable(
        "WORKFLOWS_POOL",
        None,
        str,
        "namespace/name of a WorkerPool",
        "The worker's pool in Kubernetes. The operator sets it.",
        "",
    )
    pod_name: str | None = _variable(
        "WORKFLOWS_POD_NAME", None, str, "the name of this pod", "The worker's pod. The operator sets it.", ""
    )
    pod_uid: str | None = _variable(
        "WORKFLOWS_POD_UID",
        None,
        str,
        "the uid of this pod",
        "The pod's UID. The operator sets it. A pod has one worker: a worker that starts in a pod takes over from an "
        "earlier one with the same UID, whose container died.",
        "",
    )


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read every setting. A variable that is not set, or empty, has its default. Raises `SettingsError`."""
    values = {}
    for entry in fields(Settings):
        text = environ.get(entry.metadata["variable"], "").strip()
        if not text:
            continue
        try:
            values[entry.name] = entry.metadata["parse"](text)
        except ValueError:
            shown = "that value" if entry.name == "database_url" else repr(text)  # a URL may hold a password
            wanted = entry.metadata["wanted"]
            raise SettingsError(f"{entry.metadata['variable']} cannot be {shown}: write {wanted}") from None
    if "KUBERNETES_SERVICE_HOST" in environ:  # the probes of the pod need the port
        values.setdefault("http_port", KUBERNETES_HTTP_PORT)
    settings = Settings(**values)
    if settings.heartbeat_interval >= settings.heartbeat_timeout:
        raise SettingsError(
            f"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL ({settings.heartbeat_interval:g}) must be below "
            f"WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT ({settings.heartbeat_timeout:g})"
        )
    return settings
