"""What whoever starts a command gives it: standard streams that are closed or full, a signal before it has begun."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import child_environment, eventually

COMMAND = [sys.executable, "-m", "currant"]
LOOK = """
import os, subprocess, sys
seen = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
print("nowhere to go")
child = subprocess.run(["readlink", "/proc/self/fd/0", "/proc/self/fd/2"], stdout=subprocess.PIPE, text=True)
with open("seen", "w") as file:
    file.write("\\n".join([*seen, child.stdout, sys.stderr.name.__class__.__name__]))
raise SystemExit
"""


def shell(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        f"{sys.executable} -m currant {command}",
        shell=True,
        cwd=directory,
        env=child_environment(""),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_standard_streams_that_are_closed_are_open_to_nowhere_before_anything_gets_their_numbers(
    tmp_path: Path,
) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    assert shell("worker -q jobs -m look <&- >&- 2>&-", tmp_path).returncode == 2
    assert (tmp_path / "seen").read_text().split() == ["/dev/null"] * 5 + ["int"]


@pytest.mark.parametrize("command", ["roles", "scale simulate steady --seeds 1 --json"])
def test_a_command_whose_output_is_closed_goes_on(command: str, tmp_path: Path) -> None:
    done = shell(f"{command} >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["roles", "--help", "scale simulate steady --seeds 1 --json"])
def test_output_that_cannot_be_written_is_one_line(command: str, tmp_path: Path) -> None:
    done = shell(f"{command} >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")
    assert shell(f"{command} >/dev/full 2>/dev/full", tmp_path).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_worker_that_imports_its_modules_ends_by_a_signal_of_its_own_accord(
    number: signal.Signals, tmp_path: Path
) -> None:
    # By a handler: process 1 of a container has no other way, the system drops a signal that it has no handler for.
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(600)\n")
    with subprocess.Popen(
        [*COMMAND, "worker", "-q", "jobs", "-m", "slow"],
        cwd=tmp_path,
        env=child_environment(""),
        stderr=subprocess.PIPE,
    ) as process:
        try:
            eventually((tmp_path / "begun").exists)
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, said.strip()) == (130, b"")
