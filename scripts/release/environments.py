"""Empty environments: what somebody has who installs a release, and nothing of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.release.parts import NO_VARIABLES, WORK, Failed, Variables, pip, run

# A package manager's own settings are needed to install; all else that could point to the checkout stays outside.
_KEPT = ("PIP_", "CARGO_", "RUSTUP_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_PROXY")


@dataclass(frozen=True)
class Environment:
    """A virtual environment without pip, and an empty directory that is home and working directory of its programs."""

    directory: Path

    @classmethod
    def empty(cls, name: str) -> Environment:
        """A new environment; one of that name from an earlier run goes."""
        environment = cls(WORK / "environments" / name)
        shutil.rmtree(environment.directory, ignore_errors=True)
        environment.home.mkdir(parents=True)
        run(sys.executable, "-m", "venv", "--without-pip", environment.directory / "venv")
        return environment

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.directory / "venv/bin/python"

    @property
    def home(self) -> Path:
        """The working directory."""
        return self.directory / "home"

    def install(self, *arguments: str | Path, variables: Variables = NO_VARIABLES) -> None:
        """Install packages with their dependencies."""
        pip(self.directory / "venv", "install", *arguments, variables=variables)

    def packages(self) -> set[str]:
        """The names of what is installed."""
        code = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        return set(self.call("python", "-c", code).stdout.split())

    def size(self) -> int:
        """The bytes of the files that are installed."""
        return sum(path.stat().st_size for path in self.directory.glob("venv/lib/**/*") if path.is_file())

    def variables(self, **more: str) -> dict[str, str]:
        """The environment variables of its programs."""
        kept = {name: value for name, value in os.environ.items() if name.upper().startswith(_KEPT)}
        path = f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin"
        return {**kept, "PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8", **more}

    def call(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end, at most two minutes."""
        return subprocess.run(
            [self.python.parent / program, *arguments],
            cwd=self.home,
            env=self.variables(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def answer(self, program: str, *arguments: str, **variables: str) -> str:
        """The output of a program. Raises `Failed` if it exits with another code than 0."""
        done = self.call(program, *arguments, **variables)
        if done.returncode != 0:
            raise Failed(f"{program} {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a program, with its standard output in a pipe."""
        return subprocess.Popen(
            [self.python.parent / program, *arguments],
            cwd=self.home,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
