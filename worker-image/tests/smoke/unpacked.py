"""The root file system of an image, unpacked."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Root:
    """An image's root file system, and what its configuration says of the process."""

    path: Path
    user: str
    environment: dict[str, str]
    working_directory: str

    def run(self, *command: str) -> str:
        """Output of a command, run as the image's user; it must succeed."""
        entered = ["chroot", f"--userspec={self.user}", "--groups=", str(self.path)]
        inside = ["sh", "-c", f'cd {self.working_directory} && exec "$@"', "sh"]
        done = subprocess.run(
            [*entered, *inside, *command], env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr
