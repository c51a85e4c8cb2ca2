"""Common to all parts of a release: where it is built, from what, and how programs are run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts.generate.outputs import CHECKOUT
from scripts.generate.version import version

WORK = CHECKOUT / ".release"  # kept between two runs: the sources, the tools, the environments
MACHINE = platform.machine()  # x86_64 or aarch64, as Rust, Linux and the names of wheels have it
GLIBC = "manylinux_2_17"  # the oldest that Rust's own library runs on
Variables = Mapping[str, str]  # environment variables beside those of this process
NO_VARIABLES: Variables = {}
GROUP = "core/pyproject.toml:release"  # the tools


class Failed(Exception):
    """A part that cannot be built, or does not pass its test: one line that says what and why."""


class Missing(Exception):
    """A part cannot be built on this machine; the message says how to get the missing program."""


@dataclass(frozen=True)
class Release:
    """One version, from the files that git has of it, and the directory that takes what is built."""

    out: Path
    version: str = version()

    @cached_property
    def source(self) -> Path:
        """A copy of the commit that is checked out, with nothing else in it. Raises `Failed` if there are changes."""
        changes = output("git", "status", "--porcelain").splitlines()
        if changes:
            raise Failed(f"a release is what git has: commit or undo the changes first ({'; '.join(changes[:3])})")
        source = WORK / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        archive = source.with_suffix(".tar")
        run("git", "archive", "--output", archive, "HEAD")
        run("tar", "-xf", archive, "-C", source)
        archive.unlink()
        return source

    @cached_property
    def tools(self) -> Path:
        """The programs of an environment with the packages that build a release (`GROUP`)."""
        environment = WORK / "tools"
        if not environment.exists():
            say("installing what builds a release ...")
            run(sys.executable, "-m", "venv", "--without-pip", environment)
        pip(environment, "install", "--group", CHECKOUT / GROUP)
        return environment / "bin"

    def wheel(self, machine: str = MACHINE) -> Path:
        """The wheel of Currant for a machine. Raises `Failed` if it has not been built."""
        return self._one(f"currant-{self.version}-*_{machine}.whl")

    @property
    def operator_wheel(self) -> Path:
        """The operator's wheel. Raises `Failed` if it has not been built."""
        return self._one(f"currant_operator-{self.version}-*.whl")

    @property
    def sdist(self) -> Path:
        """The source distribution. Raises `Failed` if it has not been built."""
        return self._one(f"currant-{self.version}.tar.gz")

    def _one(self, pattern: str) -> Path:
        found = sorted(self.out.glob(pattern))
        if len(found) != 1:
            raise Failed(f"{self.out} has {len(found)} files {pattern}, not one: build it first")
        return found[0]


def say(text: str) -> None:
    """Print one line at once."""
    print(f"dist: {text}", flush=True)


def run(*command: str | Path, cwd: Path = CHECKOUT, variables: Variables = NO_VARIABLES) -> None:
    """Run a program, with more environment variables. Raises `Failed` with the end of its output."""
    output(*command, cwd=cwd, variables=variables)


def output(*command: str | Path, cwd: Path = CHECKOUT, variables: Variables = NO_VARIABLES) -> str:
    """As `run`; returns the standard output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
        raise Failed(f"{' '.join(map(str, command))} failed:\n{said}")
    return done.stdout


def pip(environment: Path, *arguments: str | Path, variables: Variables = NO_VARIABLES) -> None:
    """Run the checkout's pip for an environment, which needs none of its own."""
    own = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
    run(*own, "--python", environment / "bin/python", *arguments, variables=variables)
