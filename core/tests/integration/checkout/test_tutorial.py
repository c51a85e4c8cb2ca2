"""The tutorial can be followed word by word: its files are written and its commands typed, in the order of the page.

A comment before a block says what becomes of it: `file: NAME`, `terminal 1` (a command that stays until it is stopped), `terminal 2`,
`output` (what the last command has printed, but for ids, times and durations), `skip: REASON`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from currant import embedded
from support import CHECKOUT, eventually

PAGE = (CHECKOUT / "docs/learn/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?:<!-- ([^\n]+) -->\n)?```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# A dead worker is noticed after half a minute by default.
SOONER = {"WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "3", "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5"}
DIFFERS = {
    r"[0-9a-f]{8}-[0-9a-f-]{27}": "ID",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME",
    r"\b\d+(\.\d+)? (ms|s)\b": "DURATION",
    r"worker \S+": "worker NAME",
    r" +": " ",
}


class Block(NamedTuple):
    """One block of the page."""

    role: str
    text: str


def blocks() -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(PAGE)]


def plain(output: str) -> list[str]:
    """The lines of an output without what differs each time."""
    for pattern, word in DIFFERS.items():
        output = re.sub(pattern, word, output)
    return [line.strip() for line in output.strip().splitlines()]


class Terminals:
    """A directory with two terminals: `currant dev` stays in the first, the second is one shell session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, **SOONER, "PATH": path}
        self.environment.pop("WORKFLOWS_DATABASE_URL", None)
        self.first: subprocess.Popen[bytes] | None = None
        self.session = ""
        self.printed = ""

    def stay(self, command: str) -> None:
        """Stop what runs in terminal 1 as Ctrl-C does, and run a command there until it is ready."""
        self.stop()
        log = self.directory / "terminal-1.log"
        with log.open("wb") as file:
            self.first = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.directory,
                env=self.environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        first = self.first
        eventually(lambda: " serves " in log.read_text() or first.poll() is not None, timeout=120)
        assert first.poll() is None, log.read_text()
        (url,) = re.findall(r"export WORKFLOWS_DATABASE_URL=(\S+)", log.read_text())
        self.environment["WORKFLOWS_DATABASE_URL"] = url

    def stop(self) -> None:
        if self.first is not None and self.first.poll() is None:
            os.killpg(self.first.pid, signal.SIGINT)
            self.first.wait(60)

    def type(self, commands: str) -> None:
        """Run commands in terminal 2, which keeps the variables of earlier ones."""
        state = self.directory / "terminal-2.sh"
        script = (
            f"touch {state}; . {state}; set -e\n{commands}\ndeclare -p ID FIRST SECOND 2>/dev/null > {state} || true\n"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        self.printed = done.stdout


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    terminals = Terminals(tmp_path)
    yield terminals
    terminals.stop()
    embedded.stop_left_behind(tmp_path / ".currant")


def test_every_block_of_the_tutorial_says_what_becomes_of_it() -> None:
    roles = [block.role for block in blocks()]
    assert len(roles) > 20
    assert [role for role in roles if not re.fullmatch(r"file: [\w.]+|terminal [12]|output|skip: .+", role)] == []


@pytest.mark.timeout(600)
def test_the_tutorial_can_be_followed_word_by_word(terminals: Terminals) -> None:
    for role, text in blocks():
        if role.startswith("file: "):
            shorter = text.replace("asyncio.sleep(15)", "asyncio.sleep(5)")
            (terminals.directory / role.removeprefix("file: ")).write_text(shorter)
        elif role == "terminal 1":
            terminals.stay(text)
        elif role == "terminal 2":
            terminals.type(text)
        elif role == "output":
            shown = plain(text)
            assert plain(terminals.printed)[-len(shown) :] == shown
