"""The command `currant`, also as `python -m currant`: the command line, or a line that says how to install it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("click", "rich")  # the extra `cli`


def main() -> None:
    """Run the command line and exit. Without its packages the exit code is 2."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        sys.stderr.write(f"error: the command line needs {' and '.join(missing)}: pip install 'currant[cli]'\n")
        sys.exit(2)
    from currant.cli import main as run

    run()


if __name__ == "__main__":
    main()
