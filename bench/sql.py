"""A connection to Postgres for the suite itself. asyncpg has no types of its own: they end here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Any]:
    """An asyncpg connection, closed at the end."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
