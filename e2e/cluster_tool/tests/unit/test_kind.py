"""The calls of kind, which a stand-in for kind writes down."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster_tool import kind, layout
from e2e.cluster_tool.tests.support import docker_and_kind, run


def test_a_cluster_is_created_loaded_and_deleted_by_its_name(tmp_path: Path) -> None:
    commands = docker_and_kind(tmp_path)
    place, archive = tmp_path / "mine", tmp_path / "image.tar"
    archive.touch()
    up = run("up", "--dir", place, path=commands.path)
    assert up.stdout == f"export KUBECONFIG={place}/kubeconfig/admin.conf\n"
    assert run("load-image", "--dir", place, archive, path=commands.path).returncode == 0
    assert run("down", "--dir", place, path=commands.path).returncode == 0
    kubeconfig = f"--kubeconfig={place}/kubeconfig/admin.conf"
    assert [call for call in commands.calls if call.startswith("kind")] == [
        f"kind create cluster --name=currant-mine {kubeconfig} --wait=180s",
        f"kind load image-archive {archive} --name=currant-mine",
        f"kind delete cluster --name=currant-mine {kubeconfig}",
    ]
    assert not place.exists()


def test_the_usual_cluster_is_called_currant() -> None:
    assert kind.name_for(layout.DEFAULT_DIRECTORY) == "currant"


def test_a_cluster_that_kind_fails_to_create_is_deleted_and_the_reason_printed(tmp_path: Path) -> None:
    commands = docker_and_kind(tmp_path)
    commands.add("kind", '[ "$1" = delete ] || { echo "ERROR: no such image" >&2; exit 1; }')
    up = run("up", "--dir", tmp_path / "mine", path=commands.path)
    assert up.returncode == 1
    assert up.stderr == "e2e/cluster: kind create cluster ...: ERROR: no such image\n"
    assert commands.calls[-1].startswith("kind delete cluster --name=currant-mine")
    assert not (tmp_path / "mine").exists()
