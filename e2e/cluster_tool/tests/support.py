"""The tool as a user runs it, and commands that only write down how they were called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from e2e.clusters import TOOL


def run(*words: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`e2e/cluster WORDS`; with `path`, PATH is that directory and what the shell itself needs."""
    environment = dict(os.environ)
    if path is not None:
        for command in ("bash", "dirname", "env"):
            if not (path / command).exists():
                (path / command).symlink_to(f"/usr/bin/{command}")
        environment["PATH"] = str(path)
    whole = [str(TOOL), *(str(word) for word in words)]
    return subprocess.run(whole, capture_output=True, text=True, check=False, env=environment, timeout=110)


class Commands:
    """A directory of commands that succeed, print nothing, and append their name and arguments to `calls`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "bin"
        self.path.mkdir()
        self._log = directory / "calls"
        self._log.touch()

    def add(self, name: str, script: str = "") -> None:
        file = self.path / name
        file.write_text(f'#!/usr/bin/bash\necho "{name} $*" >> {self._log}\n{script}\n')
        file.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines()


def docker_and_kind(directory: Path) -> Commands:
    """A machine where kind could be used."""
    commands = Commands(directory)
    for command in ("docker", "kind", "kubectl", "helm"):
        commands.add(command)
    return commands
