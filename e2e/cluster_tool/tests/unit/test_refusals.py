"""The one line that the tool prints when it cannot do what was asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from e2e.cluster_tool import build, packages
from e2e.cluster_tool.errors import ClusterError
from e2e.cluster_tool.tests.support import Commands, docker_and_kind, run


@pytest.mark.parametrize("command", ["env", "kubeconfig", "status", "restart-apiserver"])
def test_a_command_on_no_cluster_says_how_to_make_one(command: str, tmp_path: Path) -> None:
    done = run(command, "--dir", tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr == f"e2e/cluster: no cluster in {tmp_path}/none: e2e/cluster up makes one\n"


def test_taking_down_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    done = run("down", "--dir", tmp_path / "none")
    assert (done.returncode, done.stderr) == (0, "")


def test_taking_down_a_directory_that_is_no_cluster_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    assert run("down", "--dir", tmp_path).returncode == 0
    assert (tmp_path / "precious").read_text() == "data"


def test_a_directory_with_something_else_in_it_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    commands = docker_and_kind(tmp_path)
    place = tmp_path / "mine"
    place.mkdir()
    (place / "precious").write_text("data")
    done = run("up", "--backend", "kind", "--dir", place, path=commands.path)
    assert done.returncode == 1
    assert done.stderr == f"e2e/cluster: {place} is not empty and not a cluster: name a new directory\n"
    assert [file.name for file in place.iterdir()] == ["precious"]


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    commands = docker_and_kind(tmp_path)
    assert run("up", "--backend", "kind", "--dir", tmp_path / "c", path=commands.path).returncode == 0
    done = run("load-image", "--dir", tmp_path / "c", tmp_path / "no.tar", path=commands.path)
    assert done.stderr == f"e2e/cluster: no archive {tmp_path}/no.tar: worker-image/build.sh makes them\n"


def test_without_docker_kind_is_refused(tmp_path: Path) -> None:
    done = run("up", "--backend", "kind", "--dir", tmp_path / "c", path=Commands(tmp_path).path)
    assert done.returncode == 1
    assert done.stderr.startswith("e2e/cluster: no Docker here, which kind needs: install it")
    assert not (tmp_path / "c").exists()


def test_a_docker_that_does_not_answer_is_not_called_missing(tmp_path: Path) -> None:
    commands = docker_and_kind(tmp_path)
    commands.add("docker", "exit 1")
    done = run("up", "--backend", "kind", "--dir", tmp_path / "c", path=commands.path)
    assert done.stderr.startswith("e2e/cluster: Docker does not answer (`docker info`): start it")


@pytest.mark.parametrize("command", ["kind", "kubectl", "helm"])
def test_what_kind_needs_besides_is_named_with_where_to_get_it(command: str, tmp_path: Path) -> None:
    commands = docker_and_kind(tmp_path)
    (commands.path / command).unlink()
    done = run("up", "--backend", "kind", "--dir", tmp_path / "c", path=commands.path)
    assert done.stderr.startswith(f"e2e/cluster: no {command} here: install it (https://")


def test_kind_makes_no_control_plane_alone(tmp_path: Path) -> None:
    done = run("up", "--backend", "kind", "--control-plane-only", "--dir", tmp_path / "c")
    assert "kind makes no control plane alone" in done.stderr


def test_a_node_without_root_is_refused_before_anything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"^a node needs root: run as root, with --control-plane-only, or"):
        packages.need(node=True)


def test_missing_packages_are_named_to_who_may_not_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _command: None)
    with pytest.raises(ClusterError, match=r"^missing on this machine: install the packages openssl$"):
        packages.need(node=False)


def test_without_go_the_native_cluster_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no Go here, which builds the native cluster"):
        build.check_go()


def test_a_go_that_is_too_old_is_named_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(tmp_path)
    commands.add("go", "echo go1.20.3")
    monkeypatch.setenv("PATH", str(commands.path))
    with pytest.raises(ClusterError, match=r"^Go is go1\.20\.3, and Kubernetes v1\.\d+\.\d+ needs 1\.\d+ or newer$"):
        build.check_go()
