"""The operator's settings: each is an environment variable and a flag of the same meaning; the flag wins.

`currant-operator --help` prints the table. A bad value raises `SettingsError` with one line that names the variable.
"""

from __future__ import annotations

import argparse
import math
import re
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names the variable and says what is expected."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings. Durations are in seconds; the defaults are those of `OPTIONS`."""

    watch_namespace: str | None
    http_port: int
    pod_name: str
    pod_namespace: str
    lease_namespace: str
    lease_name: str
    lease_duration: float
    lease_renew_deadline: float
    lease_retry_period: float
    concurrency: int
    resync_interval: float
    secret_interval: float
    watch_timeout: float
    watch_inactivity: float
    fleet_interval: float
    stats_interval: float
    neighbours_interval: float
    status_interval: float
    database_backoff: float
    log_level: str
    log_format: str


class Option(NamedTuple):
    """One setting: its field in `Settings`, variable, flag, reader of the text, default as text, and what it is for."""

    field: str
    variable: str
    flag: str
    read: Callable[[str], Any]
    default: str
    help: str


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises `SettingsError`; `--help` and unknown flags end the process as argparse does."""
    given = vars(_parser().parse_args(arguments))
    values = {}
    for option in OPTIONS:
        flag, variable = given[option.field], environment.get(option.variable, "")
        name, text = (option.flag, flag) if flag is not None else (option.variable, variable or option.default)
        try:
            values[option.field] = option.read(text)
        except ValueError as error:
            raise SettingsError(f"{name} must be {error}, not {text!r}") from None
    values["lease_namespace"] = values["lease_namespace"] or values["pod_namespace"]
    settings = Settings(**values)
    _check_lease(settings)
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="currant-operator",
        description="Runs Currant's worker pools and workflow definitions on Kubernetes.",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    for option in OPTIONS:
        default = f"default: {option.default}" if option.default else "no default"
        text = f"{option.help}\n({option.variable}; {default})"
        parser.add_argument(option.flag, dest=option.field, metavar="VALUE", help=text.replace("%", "%%"))
    return parser


def _check_lease(settings: Settings) -> None:
    """A leader must give up before another may take over, and must have had the time to try twice."""
    if not 2 * settings.lease_retry_period <= settings.lease_renew_deadline < settings.lease_duration:
        raise SettingsError(
            "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE must be less than CURRANT_OPERATOR_LEASE_DURATION, and at least "
            "twice CURRANT_OPERATOR_LEASE_RETRY_PERIOD"
        )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError("a port, 0 to 65535 (0: any free one)")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise ValueError("a whole number from 1 to 100")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 86400:
        raise ValueError("a number of seconds, more than 0 and at most 86400")
    return value


def _optional_namespace(text: str) -> str | None:
    if text and not _DNS_LABEL.fullmatch(text):
        raise ValueError("the name of one namespace, or empty for all of them")
    return text or None


def _pod_namespace(text: str) -> str:
    if not text:
        text = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
    if not _DNS_LABEL.fullmatch(text):
        raise ValueError("the name of a namespace")
    return text


def _pod_name(text: str) -> str:
    # Outside a pod two processes of one host must not take each other's lease for their own.
    return text or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


def _object_name(text: str) -> str:
    if not _DNS_NAME.fullmatch(text):
        raise ValueError("a name of a Kubernetes object: lower-case letters, digits, - and .")
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


OPTIONS = (
    Option(
        "watch_namespace",
        "WATCH_NAMESPACE",
        "--namespace",
        _optional_namespace,
        "",
        "the one namespace to watch; empty: all of them",
    ),
    Option(
        "http_port",
        "CURRANT_OPERATOR_HTTP_PORT",
        "--http-port",
        _port,
        "8080",
        "port of /healthz, /readyz and /metrics",
    ),
    Option(
        "pod_name",
        "POD_NAME",
        "--pod-name",
        _pod_name,
        "",
        "who holds the lease: the pod's name; empty: the host's name and a random end",
    ),
    Option(
        "pod_namespace",
        "POD_NAMESPACE",
        "--pod-namespace",
        _pod_namespace,
        "",
        "the namespace of the operator's pod; empty: that of the service account, or `default`",
    ),
    Option(
        "lease_namespace",
        "CURRANT_OPERATOR_LEASE_NAMESPACE",
        "--lease-namespace",
        _optional_namespace,
        "",
        "namespace of the lease; empty: that of the pod. Operators that watch the same must have the same lease",
    ),
    Option(
        "lease_name",
        "CURRANT_OPERATOR_LEASE_NAME",
        "--lease-name",
        _object_name,
        "currant-operator",
        "name of the lease that elects the leader",
    ),
    Option(
        "lease_duration",
        "CURRANT_OPERATOR_LEASE_DURATION",
        "--lease-duration",
        _seconds,
        "15",
        "seconds after which another may take over from a leader that is silent",
    ),
    Option(
        "lease_renew_deadline",
        "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE",
        "--lease-renew-deadline",
        _seconds,
        "10",
        "seconds after which a leader that cannot renew its lease ends itself",
    ),
    Option(
        "lease_retry_period",
        "CURRANT_OPERATOR_LEASE_RETRY_PERIOD",
        "--lease-retry-period",
        _seconds,
        "3",
        "seconds between two reads or renewals of the lease",
    ),
    Option(
        "concurrency",
        "CURRANT_OPERATOR_CONCURRENCY",
        "--concurrency",
        _count,
        "8",
        "how many objects are reconciled at once",
    ),
    Option(
        "resync_interval",
        "CURRANT_OPERATOR_RESYNC_INTERVAL",
        "--resync-interval",
        _seconds,
        "600",
        "seconds between two listings of everything, each followed by a reconcile of everything",
    ),
    Option(
        "secret_interval",
        "CURRANT_OPERATOR_SECRET_INTERVAL",
        "--secret-interval",
        _seconds,
        "300",
        "seconds for which a secret is cached (it is read again sooner when its database refuses)",
    ),
    Option(
        "watch_timeout",
        "CURRANT_OPERATOR_WATCH_TIMEOUT",
        "--watch-timeout",
        _seconds,
        "300",
        "seconds after which a watch is made again, by the server or else by the operator",
    ),
    Option(
        "watch_inactivity",
        "CURRANT_OPERATOR_WATCH_INACTIVITY",
        "--watch-inactivity",
        _seconds,
        "90",
        "seconds without a word (the server sends a bookmark each minute) after which a watch counts as dead",
    ),
    Option(
        "fleet_interval",
        "CURRANT_OPERATOR_FLEET_INTERVAL",
        "--fleet-interval",
        _seconds,
        "5",
        "seconds between two fetches of the queues and workers of a database",
    ),
    Option(
        "stats_interval",
        "CURRANT_OPERATOR_STATS_INTERVAL",
        "--stats-interval",
        _seconds,
        "30",
        "seconds between two counts of the runs of each workflow",
    ),
    Option(
        "neighbours_interval",
        "CURRANT_OPERATOR_NEIGHBOURS_INTERVAL",
        "--neighbours-interval",
        _seconds,
        "30",
        "seconds between two listings of other operators, where every namespace is watched",
    ),
    Option(
        "status_interval",
        "CURRANT_OPERATOR_STATUS_INTERVAL",
        "--status-interval",
        _seconds,
        "30",
        "seconds between two writes of a status in which only counts have changed",
    ),
    Option(
        "database_backoff",
        "CURRANT_OPERATOR_DATABASE_BACKOFF",
        "--database-backoff",
        _seconds,
        "60",
        "longest pause in seconds between two tries to reach a database that is away",
    ),
    Option(
        "log_level",
        "CURRANT_OPERATOR_LOG_LEVEL",
        "--log-level",
        _one_of("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning or error",
    ),
    Option(
        "log_format",
        "CURRANT_OPERATOR_LOG_FORMAT",
        "--log-format",
        _one_of("text", "json"),
        "text",
        "text, or json: one object a line",
    ),
)
