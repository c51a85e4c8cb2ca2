"""Unit tests run without a database, and without the extension where it is not built: `fake_core` plays both."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

import fake_core


def _extension_is_built() -> bool:
    package = importlib.util.find_spec("currant")  # does not import it
    folders = package.submodule_search_locations if package is not None else None
    return any(next(Path(folder).glob("_core*.so"), None) for folder in folders or [])


if not _extension_is_built():
    fake_core.install()

from currant import client, rust_bridge, worker  # noqa: E402  needs the above
from currant._payloads import codec  # noqa: E402
from currant._workflow import asyncio_patches  # noqa: E402
from currant.decorators import registry  # noqa: E402

URL = "postgresql://nobody@nowhere/nothing"


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_core.Core]:
    """A core in memory behind this process's client."""
    monkeypatch.setattr(rust_bridge, "Core", fake_core.Core)
    monkeypatch.setattr(client, "Mailbox", fake_core.Mailbox)
    monkeypatch.setattr(rust_bridge, "_cores", {})
    client.configure(database_url=URL)
    yield rust_bridge.shared_core(URL)  # type: ignore[misc]
    client.configure()


@pytest.fixture
def engines(core: fake_core.Core, monkeypatch: pytest.MonkeyPatch) -> list[fake_core.Engine]:
    """The engines of the workers that a test makes, in order."""
    monkeypatch.setattr(worker, "Engine", fake_core.Engine)
    monkeypatch.setattr(fake_core.Engine, "made", [])
    return fake_core.Engine.made


@pytest.fixture(scope="module")
def asyncio_is_ours() -> Iterator[None]:
    """As while a worker runs: what drives workflows without a worker needs it."""
    asyncio_patches.install()
    yield
    asyncio_patches.uninstall()


@pytest.fixture(autouse=True)
def _own_functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone behind it, and so is a limit that it set."""
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)
    codec.set_payload_limit(None)
