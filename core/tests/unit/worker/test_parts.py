"""Parts of the worker: which errors a policy names, the build, the threads."""

from __future__ import annotations

import platform
import threading

import pytest

import currant
from currant._worker.builds import build_id
from currant._worker.failures import matches
from fake_core import Core
from support import eventually_async as eventually
from worker_app import FLOWS, VeryDeclined, double, quadruple


@pytest.mark.parametrize(
    ("names", "matched"),
    [
        ([], False),
        (["Declined"], True),
        (["VeryDeclined"], True),
        ([f"{VeryDeclined.__module__}.Declined"], True),
        (["other.Declined"], False),
        (["Exception"], True),
        (["ValueError"], False),
    ],
)
def test_an_error_matches_the_names_of_its_classes(names: list[str], matched: bool) -> None:
    assert matches(VeryDeclined(), names) is matched


def test_a_failed_step_matches_by_the_type_of_its_error() -> None:
    error = currant.ExecutionFailed("id", "Declined", "no")
    assert matches(error, ["shop.Declined"])
    assert not matches(error, ["ValueError"])


def test_the_build_is_of_the_workflows_sources_their_versions_and_python(monkeypatch: pytest.MonkeyPatch) -> None:
    one = build_id(FLOWS)
    assert one == build_id([*reversed(FLOWS), double])  # neither order nor tasks count
    monkeypatch.setattr(quadruple, "version", 2)
    assert build_id(FLOWS) != one
    monkeypatch.setenv("WORKFLOWS_BUILD_ID", "v7")
    assert build_id(FLOWS) == f"v7-py{platform.python_version()}"


async def test_work_waits_for_a_thread_where_the_system_allows_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from currant._worker.threads import Threads

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool, done, gate = Threads(2), threading.Event(), threading.Event()
    pool.submit(lambda: gate.wait(20) and None)
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit(done.set)
    gate.set()
    await eventually(done.is_set)
    monkeypatch.undo()
    pool.submit(lambda: exec("raise SystemExit"))
    done.clear()
    pool.submit(done.set)
    await eventually(done.is_set)
    pool.close()


async def test_threads_are_kept_and_no_more_than_asked_for(core: Core) -> None:
    from currant._worker.threads import Threads

    pool, seen, gate = Threads(2), [], threading.Event()

    def work() -> None:
        gate.wait(20)
        seen.append(threading.current_thread())

    for _ in range(10):
        pool.submit(work)
    gate.set()
    await eventually(lambda: len(seen) == 10)
    assert len(set(seen)) <= 2
    pool.close()
    for thread in set(seen):
        thread.join(20)
        assert not thread.is_alive()
