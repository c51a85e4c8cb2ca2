"""Programs of the machine that some tests need. scripts/need.sh installs them, or says that they are missing."""

from __future__ import annotations

import os
import shutil
import sys

SYSTEM_ROOT = os.environ.get("SYSTEM_ROOT", "")


def find(name: str) -> str | None:
    """Where a program is: on the PATH, in the virtual environment, or where not every user looks."""
    places = [os.environ["PATH"], f"{sys.prefix}/bin", f"{SYSTEM_ROOT}/usr/sbin", f"{SYSTEM_ROOT}/usr/local/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def needed(name: str, how: str) -> str:
    """Where a program is. A test that asks for one that is not there is skipped and says how to get it; in CI it fails.

    No warning says so, because warnings are errors in tests: `make test` names what was left out in its last line.
    """
    import pytest  # here, because the chaos suite looks for programs without it

    found = find(name)
    if found is None:
        missing = f"{name} is not installed, so this is not tested: {how}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found
