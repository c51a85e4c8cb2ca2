"""The suite's own Postgres, with its durable defaults, and what it runs on."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg.sql import SQL, Identifier

from bench.meters import JUDGE
from currant.embedded import EmbeddedPostgres

SETTINGS = {"shared_buffers": "512MB", "shared_preload_libraries": "pg_stat_statements"}
SHOWN = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "wal_level",
    "autovacuum",
    "max_connections",
    "shared_preload_libraries",
)


def server(directory: Path) -> EmbeddedPostgres:
    """The server of the suite, not started."""
    return EmbeddedPostgres(directory, SETTINGS)


def set_up(url: str) -> dict[str, str]:
    """Make the extension that counts statements; give the settings to print. Raises `RuntimeError` unless durable."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("create extension if not exists pg_stat_statements")
        admin.execute(SQL("create role {} superuser").format(Identifier(JUDGE)))
        found = admin.execute(
            "select name, current_setting(name) from pg_settings where name = any (%s)", [list(SHOWN)]
        )
        settings: dict[str, str] = dict(found.fetchall())
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if settings[name] != "on":
            raise RuntimeError(f"{name} is {settings[name]}: the figures would mean nothing")
    return {name: settings[name] for name in SHOWN}


@contextmanager
def fresh_database(admin_url: str, name: str) -> Iterator[str]:
    """A new database on the server, dropped at the end with whoever is still connected; gives its URL."""
    drop = SQL("drop database if exists {} with (force)").format(Identifier(name))
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(drop)
        admin.execute(SQL("create database {}").format(Identifier(name)))
        try:
            yield urlsplit(admin_url)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(drop)


def machine(directory: Path) -> dict[str, str]:
    """The machine and server that the figures depend on. `directory` is on the disk of the database."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {re.split('[-+]', platform.release())[0]}",
        "python": platform.python_version(),
        "load before the run": f"{os.getloadavg()[0]:.1f} (others at work make every figure worse, unevenly)",
        "one 8 kB write and fdatasync": f"{_sync_micros(directory):.0f} us (median of 200)",
    }


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def _sync_micros(directory: Path) -> float:
    path = directory / "sync-probe"
    sync = getattr(os, "fdatasync", os.fsync)
    times = []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(8192 * 64), 0)
        os.fsync(descriptor)
        for number in range(200):
            start = time.perf_counter()
            os.pwrite(descriptor, os.urandom(8192), number % 64 * 8192)
            sync(descriptor)
            times.append((time.perf_counter() - start) * 1e6)
    finally:
        os.close(descriptor)
        path.unlink()
    return median(times)
