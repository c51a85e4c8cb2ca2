"""get_version across deploys: what a run has passed stays as it was, for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps import versions as app
from currant import Handle, RustBridge, Worker, registry, send_signal
from support import eventually_async

LocalWorker = Callable[..., Worker]
Deploy = Callable[[str], Worker]
LIMIT = 30.0


@pytest.fixture
def deploy(local_worker: LocalWorker, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """A worker with this version of the code."""
    functions = [function for name, function in registry.items() if name.startswith("apps.versions.")]

    def make(code: str) -> Worker:
        monkeypatch.setattr(app, "CODE", code)
        return local_worker(["q", "default"], *functions, WORKFLOWS_BUILD_ID=code)

    return make


async def asks_for_signals(handle: Handle[Any], count: int) -> None:
    def signals() -> int:
        return sum(step["kind"] == "signal" for step in RustBridge.show(str(handle))["steps"])

    await eventually_async(lambda: signals() >= count)


async def finish(*handles: Handle[Any], signals: tuple[str, ...] = ("go", "end")) -> list[Any]:
    results = []
    for handle in handles:
        for name in signals:
            await send_signal(handle, name)
        results.append(await handle.result(LIMIT))
    return results


async def test_a_new_run_records_the_newest_version(deploy: Deploy) -> None:
    async with deploy("new"):
        handle = await app.changing.queue()
        assert await finish(handle) == [[2, 2, "sms a", "sms b", 2]]
    versions = {s["name"]: s["payload"] for s in RustBridge.show(str(handle))["steps"] if s["kind"] == "version"}
    assert versions == {"first": 2, "second": 2}


async def test_a_run_that_passed_the_point_before_the_change_keeps_to_the_old_code_for_ever(deploy: Deploy) -> None:
    async with deploy("old"):
        passed_one, passed_both = [await app.changing.queue() for _ in range(2)]
        await asks_for_signals(passed_one, 1)
        await send_signal(passed_both, "go")
        await asks_for_signals(passed_both, 2)
    async with deploy("new"):
        await send_signal(passed_one, "go")
        await asks_for_signals(passed_one, 2)
        young = await app.changing.queue()
        await asks_for_signals(young, 1)
    async with deploy("newer"):
        await asks_for_signals(young, 1)
    async with deploy("newer"):
        youngest = await app.changing.queue()
        assert await finish(passed_one, passed_both, signals=("end",)) == [
            [1, 2, "mail a", "sms b", 1],
            [1, 1, "mail a", "mail b", 1],
        ]
        assert await finish(young, youngest) == [[2, 2, "sms a", "sms b", 2], [3, 2, "mail a", "sms b", 3]]


async def test_a_point_that_is_passed_again_in_a_loop_keeps_its_version(deploy: Deploy) -> None:
    async with deploy("looping_old"):
        handle = await app.changing.queue()
        await asks_for_signals(handle, 1)
    async with deploy("looping_new"):
        await send_signal(handle, "go")
        await asks_for_signals(handle, 2)
    async with deploy("looping_new"):
        assert await finish(handle, signals=("go",)) == [[1, 1]]


async def test_a_run_that_needs_code_which_is_gone_is_incompatible(deploy: Deploy) -> None:
    async with deploy("new"):
        handle = await app.changing.queue()
        await asks_for_signals(handle, 1)
    await send_signal(handle, "go")
    async with deploy("without_the_old"):
        await eventually_async(lambda: RustBridge.get_execution(str(handle))["held"])
        error = RustBridge.get_execution(str(handle))["error"]
        assert "get_version('first'): recorded is 2, the code takes 3 to 3" in error["message"]
    async with deploy("new"):
        assert await finish(handle, signals=("end",)) == [[2, 2, "sms a", "sms b", 2]]
