"""The root file systems of built archives, unpacked and entered with chroot, as the image's user."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import archive
import pytest
from unpacked import Root


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--images", type=Path, required=True, help="the directory that worker-image/build.sh wrote to")


@pytest.fixture(scope="session", params=["worker", "operator", "shop", "postgres"])
def image(request: pytest.FixtureRequest) -> str:
    """Each image's name."""
    return str(request.param)


@pytest.fixture(scope="session")
def root(image: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """The unpacked archive of an image."""
    assert os.geteuid() == 0, "chroot needs root"
    built = archive.read_image(request.config.getoption("--images") / f"currant-{image}.tar")
    path = tmp_path_factory.mktemp(image)
    path.chmod(0o755)
    for _, file, member in built.layers:
        with tarfile.open(file) as outer, tarfile.open(fileobj=outer.extractfile(member)) as layer:
            layer.extractall(path, filter="fully_trusted")  # it is ours
    # The mounts that a container runtime makes.
    (path / "dev").mkdir(exist_ok=True)
    (path / "dev/null").touch(mode=0o666)
    config = built.config["config"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    yield Root(path, config["User"], environment, config.get("WorkingDir", "/"))
    subprocess.run(["rm", "-rf", path], check=True)
