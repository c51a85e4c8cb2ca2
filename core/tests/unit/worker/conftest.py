"""A running worker on an engine that does what the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from currant import Worker
from fake_core import Engine
from worker_app import FLOWS, OWN, finish, started


@pytest.fixture(autouse=True)
def _events() -> None:
    started.clear()
    finish.clear()


@pytest.fixture
async def engine(engines: list[Engine]) -> AsyncIterator[Engine]:
    """The engine of a running worker."""
    async with Worker(["jobs"], concurrency=2, name="w", functions=[*OWN, *FLOWS]):
        yield engines[0]
        finish.set()
