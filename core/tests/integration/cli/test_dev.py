"""`currant dev`: start, enqueue from another terminal, stop, start again: everything goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import currant
from apps import patience
from currant.rust_bridge import RustBridge
from servers import passable_directory
from support import child_environment, eventually


class Dev:
    """A `currant dev` in a directory."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        environment = child_environment("")
        del environment["WORKFLOWS_DATABASE_URL"]
        self._log = directory / f"dev-{len(list(directory.glob('dev-*')))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "currant", "dev", *arguments],
                env=environment, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text()

    def url(self) -> str:
        """The URL that it prints, once it has."""

        def printed() -> str | None:
            assert self.process.poll() is None, self.log
            found = re.search(r"export WORKFLOWS_DATABASE_URL=(\S+)\n", self.log)
            return found and found[1]

        return eventually(printed, 60) or ""

    def stop(self, number: signal.Signals) -> int:
        """Ctrl-C or SIGTERM; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def project() -> Iterator[Path]:
    """A developer's directory. Not pytest's own: other runs of pytest close that to the server's account."""
    with passable_directory() as directory:
        yield directory


@pytest.fixture
def start_dev(project: Path) -> Iterator[Callable[..., Dev]]:
    """Start `currant dev` in the project's directory."""
    started: list[Dev] = []

    def start(*arguments: str) -> Dev:
        started.append(Dev(project, *arguments))
        return started[-1]

    yield start
    for dev in started:
        if dev.process.poll() is None:
            dev.stop(signal.SIGINT)
        print(dev.log)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_waiting_run_goes_on_after_dev_was_stopped_and_started(
    start_dev: Callable[..., Dev], number: signal.Signals, project: Path
) -> None:
    first = start_dev("-m", "apps.patience")
    url = first.url()
    currant.configure(database_url=url)
    handle = patience.wait_for_word.queue_sync()
    eventually(lambda: RustBridge.show(str(handle))["steps"])
    code = first.stop(number)
    assert code == (-9 if number is signal.SIGKILL else 0) or code == 130
    assert "Traceback" not in first.log

    second = start_dev("-m", "apps.patience")
    assert second.url() == url  # the data, its port and its password are in .currant/
    currant.send_signal_sync(handle, "word", "after")
    assert handle.result_sync(timeout=60) == ["noted before", "noted after"]
    assert [row["attempt"] for row in RustBridge.show(str(handle))["executions"] if row["kind"] == "task"] == [1, 1]
    assert second.stop(signal.SIGINT) in (0, 130)
    assert (project / ".currant" / ".gitignore").read_text() == "*\n"


def test_dev_serves_every_queue_of_its_modules_and_the_default_one(start_dev: Callable[..., Dev]) -> None:
    currant.configure(database_url=start_dev("-m", "apps.patience", "--concurrency", "3").url())
    (worker,) = eventually(RustBridge.workers)
    assert (set(worker["queues"]), worker["concurrency"]) == ({"patience", "default"}, 3)
    assert patience.note.queue_sync("x").result_sync(timeout=30) == "noted x"


def test_what_dev_prints_is_enough_for_a_second_terminal(start_dev: Callable[..., Dev]) -> None:
    url = start_dev("-m", "apps.patience").url()
    environment = child_environment(url)

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "currant", *arguments]
        done = subprocess.run(command, env=environment, cwd=os.getcwd(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(run("queue", "apps.patience.note", '["x"]', "--wait")) == "noted x"
    assert [row["function"] for row in json.loads(run("list", "--json"))] == ["apps.patience.note"]


def test_a_module_that_is_not_there_is_one_line_before_anything_is_started(
    start_dev: Callable[..., Dev], project: Path
) -> None:
    dev = start_dev("-m", "no_such_module")
    assert dev.process.wait(30) == 2
    assert dev.log.count("\n") == 1
    assert "no module no_such_module" in dev.log
    assert not (project / ".currant").exists()
