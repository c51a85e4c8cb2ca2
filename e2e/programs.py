"""Programs of the machine that some tests need. scripts/need.sh installs them, or says that they are missing."""

from __future__ import annotations

import os
import shutil
import sys

SYSTEM_ROOT = os.environ.get("SYSTEM_ROOT", "")


def find(name: str) -> str | None:
    """The path of a program: from PATH, the virtual environment, or the directories for administrators."""
    places = [os.environ["PATH"], f"{sys.prefix}/bin", f"{SYSTEM_ROOT}/usr/sbin", f"{SYSTEM_ROOT}/usr/local/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def needed(name: str, how: str) -> str:
    """The path of a program. Without it the test that asks is skipped and says how to get it; in CI the test fails.

    No warning says so, because warnings are errors in tests: `make test` names what was left out in its last line.
    """
    import pytest  # imported here, because the chaos suite calls `find` without pytest

    found = find(name)
    if found is None:
        missing = f"{name} is not installed, so this is not tested: {how}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found
