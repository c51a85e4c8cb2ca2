"""When the binaries are built, and when not."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster_tool import build
from e2e.cluster_tool.errors import ClusterError


class Builds:
    """A checkout with Go sources, and a stand-in for the compiler."""

    def __init__(self, directory: Path) -> None:
        self.tools, self.bin = directory / "tools", directory / ".cluster" / "bin"
        self.tools.mkdir()
        self.done: list[tuple[str, ...]] = []
        self.edit("go.mod", "go 1.24.0\n\n\tk8s.io/kubernetes v1.34.4\n")

    def edit(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)

    def go_build(self, _flags: str, *packages: str) -> None:
        self.done.append(packages)
        for package in packages:
            (self.bin / Path(package).name).touch()


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    made = Builds(tmp_path)
    monkeypatch.setattr(build, "TOOLS", made.tools)
    monkeypatch.setattr(build, "HOME", tmp_path / ".cluster")
    monkeypatch.setattr(build, "BIN", made.bin)
    monkeypatch.setattr(build, "_go_build", made.go_build)
    monkeypatch.setattr(build, "check_go", lambda: None)
    build.binaries()
    assert made.done == [("./hyperkube", "./kubectl", "./coredns", "./pause"), ("helm.sh/helm/v3/cmd/helm",)]
    made.done.clear()
    return made


def test_what_has_not_changed_is_not_built_again(builds: Builds) -> None:
    build.binaries()
    assert builds.done == []


def test_another_version_of_a_module_builds_again(builds: Builds) -> None:
    builds.edit("go.mod", "go 1.24.0\n\n\tk8s.io/kubernetes v1.34.5\n")
    build.binaries()
    assert builds.done


def test_a_binary_that_was_deleted_is_built_again(builds: Builds) -> None:
    (builds.bin / "helm").unlink()
    build.binaries()
    assert builds.done


def test_a_build_that_failed_is_tried_again(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_flags: str, *_packages: str) -> None:
        raise ClusterError("no network")

    builds.edit("new.go", "package tools")
    with monkeypatch.context() as patch:
        patch.setattr(build, "_go_build", fails)
        with pytest.raises(ClusterError):
            build.binaries()
    build.binaries()
    assert builds.done


def test_every_component_is_the_one_binary(builds: Builds) -> None:
    assert {path.resolve().name for path in builds.bin.iterdir() if path.is_symlink()} == {"hyperkube"}
    assert (builds.bin / "kubectl").exists()


def test_a_link_of_an_older_build_is_not_written_through(builds: Builds) -> None:
    (builds.bin / "kubectl").unlink()
    (builds.bin / "kubectl").symlink_to("hyperkube")
    (builds.bin / ".built").write_text("an older build")
    build.binaries()
    assert not (builds.bin / "kubectl").is_symlink()
