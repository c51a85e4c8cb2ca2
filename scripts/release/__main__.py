"""`python -m scripts.release [NAME...]`: build what a release needs in dist/, and test it; without names all of it.

The exit code is 1 when something fails. In CI it is 1, too, when this machine lacks what a part needs; elsewhere that
part is left out, and the last line says so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial

from scripts.generate.outputs import CHECKOUT
from scripts.release import build, check
from scripts.release.parts import Failed, Missing, Release, say

# In the order in which one may need what another made.
PARTS: dict[str, Callable[[Release], None]] = {
    "sdist": build.sdist,
    "x86_64": partial(build.wheel, machine="x86_64"),
    "aarch64": partial(build.wheel, machine="aarch64"),
    "operator": build.operator,
    "chart": build.chart,
    "images": build.images,
    "components": build.components,
    "checksums": build.checksums,
    "test-architectures": check.architectures,
    "test-wheel": check.wheel,
    "test-sdist": check.sdist,
    "test-operator": check.operator,
}


def main() -> int:
    """Build and test the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.release", description="Build and test a release in dist/.")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*PARTS, []], help=f"of {', '.join(PARTS)}")
    names = parser.parse_args().names or list(PARTS)
    release = Release(CHECKOUT / "dist")
    if names == list(PARTS):
        shutil.rmtree(release.out, ignore_errors=True)
    release.out.mkdir(exist_ok=True)
    left_out = []
    try:
        for name in PARTS:
            if name in names and not made(name, release):
                left_out.append(name)
    except Failed as error:
        say(f"FAILED: {error}")
        return 1
    if left_out:
        say(f"LEFT OUT: {', '.join(left_out)}")
    return 1 if left_out and os.environ.get("CI") == "true" else 0


def made(name: str, release: Release) -> bool:
    """Make one part. Returns False when this machine lacks what it needs. Raises `Failed`."""
    start = time.monotonic()
    try:
        PARTS[name](release)
    except Missing as missing:
        say(f"{name} left out: {missing}")
        return False
    say(f"{name} ok, {time.monotonic() - start:.0f} s")
    return True


if __name__ == "__main__":
    sys.exit(main())
