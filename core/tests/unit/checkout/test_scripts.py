"""The scripts that run the tests: commands side by side, a second try in CI, and the lines at the end that name what it hid."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

from support import CHECKOUT, eventually

SCRIPTS = CHECKOUT / "scripts"


def side_by_side(*commands: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPTS / "side-by-side.sh", *commands], capture_output=True, text=True, timeout=60)


class TestSideBySide:
    def test_commands_run_at_the_same_time(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        for path in (one, other):
            os.mkfifo(path)
        # Each waits for the other: one after the other they would never end.
        done = side_by_side(f"echo 1 >{one}; cat {other}", f"cat {one}; echo 2 >{other}")
        assert (done.returncode, done.stdout) == (0, "2\n1\n")

    def test_the_output_of_one_is_not_mixed_with_that_of_another(self) -> None:
        words = [f"for i in 1 2 3; do echo {name}; sleep 0.01; done" for name in "abc"]
        assert side_by_side(*words).stdout == "a\na\na\nb\nb\nb\nc\nc\nc\n"

    def test_all_run_to_their_end_and_the_first_failure_is_the_exit_code(self) -> None:
        done = side_by_side("true", "echo one; exit 3", "exit 4", "echo last")
        assert (done.returncode, done.stdout) == (3, "one\nlast\n")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_when_it_is_stopped_its_commands_and_their_children_end(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        note = tmp_path / "pid"
        command = [
            SCRIPTS / "side-by-side.sh",
            "sleep 600",
            f"bash -c 'echo $$ >{note}.new; mv {note}.new {note}; sleep 600'",
        ]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        child = int(eventually(lambda: note.exists() and note.read_text()))
        running.send_signal(number)
        assert running.wait(20) == 128 + number
        eventually(lambda: not Path(f"/proc/{child}").exists())

    def test_a_command_has_ctrl_c_as_a_terminal_would_give_it(self) -> None:
        done = side_by_side("kill -INT $$; echo ignored")
        assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")


class Checkout:
    """A directory with scripts/ and a pytest that fails at its first call, and at its second when told to."""

    def __init__(self, place: Path, second: int) -> None:
        self.left_out = place / "left-out"
        self.scripts = place / "scripts"
        self.scripts.mkdir()
        for name in ("pytest.sh", "leave-out.sh"):
            shutil.copy(SCRIPTS / name, self.scripts / name)
        program = place / ".venv/bin/pytest"
        program.parent.mkdir(parents=True)
        program.write_text(f"""#!/bin/bash
echo "called with $*"
[ -e {place}/called ] || {{ touch {place}/called; exit 1; }}
echo "PASSED tests/test_a.py::test_b[some words]"
exit {second}
""")
        program.chmod(0o755)

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "LEFT_OUT": str(self.left_out), **variables}
        return subprocess.run([self.scripts / "pytest.sh", "tests"], env=environment, capture_output=True, text=True)

    def summary(self) -> str:
        """What the last line of a whole run says."""
        command = [self.scripts / "leave-out.sh", "--summary", "ci"]
        environment = {"PATH": os.environ["PATH"], "LEFT_OUT": str(self.left_out)}
        self.left_out.touch()
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


class TestSecondTry:
    def test_a_test_that_passes_only_then_is_named_at_the_end_of_ci(self, tmp_path: Path) -> None:
        checkout = Checkout(tmp_path, second=0)
        assert checkout.run(CI="true").returncode == 0
        with checkout.left_out.open("a") as file:
            file.write("Go (get it)\n")
        assert checkout.summary() == (
            "ci: FLAKY, to be fixed: tests/test_a.py::test_b[some words]\nci: NOT TESTED: Go (get it)\n"
        )

    def test_a_test_that_fails_twice_fails(self, tmp_path: Path) -> None:
        assert Checkout(tmp_path, second=1).run(CI="true").returncode == 1

    def test_on_a_persons_machine_there_is_none(self, tmp_path: Path) -> None:
        checkout = Checkout(tmp_path, second=0)
        done = checkout.run()
        assert (done.returncode, done.stdout) == (1, "called with tests\n")
        assert checkout.summary() == ""


def test_the_workflow_on_github_brings_every_python_that_is_tested_and_the_wheel_names_them() -> None:
    """Where one is missing, scripts/test-versions.sh leaves its tests out."""
    tested = re.findall(r"^for version in (.+); do$", (SCRIPTS / "test-versions.sh").read_text(), re.MULTILINE)
    workflow = (CHECKOUT / ".github/workflows/ci.yml").read_text()
    brought = re.findall(r"uv python install (.+)$", workflow, re.MULTILINE)
    versions = [version for version in tested[0].split() if version.count(".") == 1]
    assert brought == [" ".join(versions)]
    classifiers = tomllib.loads((CHECKOUT / "core/pyproject.toml").read_text())["project"]["classifiers"]
    assert versions == [name.rpartition(" ")[2] for name in classifiers if "Python :: 3." in name]
