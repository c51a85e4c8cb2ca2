"""A database of its own with the schema of this checkout, for generators that ask one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from currant import RustBridge
from scripts.generate.sqlx_answers import server


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of a new, migrated database, which goes at the end. The extension migrates it, so it must be built."""
    with server() as url:
        name = f"generate_{uuid.uuid4().hex}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        own = urlsplit(url)._replace(path=f"/{name}").geturl()
        try:
            bridge = RustBridge(own)
            bridge.migrate()
            bridge.close()
            yield own
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"drop database {name} with (force)".encode())
