"""The URL of a database: whether it can be one, what of it may be shown, and how long a connection may take."""

from __future__ import annotations

import hashlib
import re

CONNECT_TIMEOUT = 5  # seconds, for a URL without `connect_timeout`
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:\d*)?")


class WrongUrl(Exception):
    """The URL cannot be one of a database; the message does not contain it."""


def check_url(url: str) -> None:
    """Raise `WrongUrl` for what cannot be the URL of a database. The core reads the rest when it connects."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise WrongUrl("it must start with postgresql://, as in postgresql://user:password@host:5432/name")
    before, _, query = rest.partition("?")
    hosts = before.partition("/")[0].rpartition("@")[2].split(",")  # libpq's form: one host or several
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise WrongUrl("it is not a URL: write postgresql://user:password@host:5432/name")
    if not any(hosts) and "host=" not in query and "hostaddr=" not in query:
        raise WrongUrl("it names no host: write postgresql://user:password@host:5432/name")


def shown_as(url: str) -> str:
    """The name of a database in metrics: hosts and database, no user, no password. Two roles' URLs have the same."""
    hosts, slash, name = url.partition("://")[2].partition("?")[0].partition("/")
    return f"{hosts.rpartition('@')[2]}{slash}{name}"


def with_connect_timeout(url: str) -> str:
    """The URL with a short wait for a database that does not answer; a URL that says how long keeps its own."""
    if "connect_timeout=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={CONNECT_TIMEOUT}"


def fingerprint(url: str) -> str:
    """Four hexadecimal digits that change with the URL: pods are replaced when it does.

    It is shown in an annotation, so it must not help to guess a password: 16 bits rule out almost nothing.
    """
    return hashlib.sha256(url.encode()).hexdigest()[:4]
