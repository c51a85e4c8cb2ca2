"""Image archives written without an engine: what is in them, and that the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import archive
import dockerfile
import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o700)
    (root / "etc/config").write_text("a = 1\n")
    (root / "etc/config").chmod(0o600)
    (root / "usr/bin/alias").symlink_to("tool")
    return root


def layer_of(root: Path, out: Path, *below: Path) -> dict[str, tarfile.TarInfo]:
    archive.write_layer(out, root, below)
    with tarfile.open(out) as tar:
        return {member.name: member for member in tar}


def image_of(tmp_path: Path, tree: Path, text: str, name: str = "here.local/thing:dev") -> Path:
    layer, out = tmp_path / "layer.tar", tmp_path / "image.tar"
    archive.write_layer(layer, tree)
    archive.write_image(out, name, archive.built_on(None, [layer], dockerfile.read(text, {})))
    return out


def member(path: Path, name: str) -> bytes:
    with tarfile.open(path) as tar:
        content = tar.extractfile(name)
        assert content is not None
        return content.read()


def test_files_belong_to_root_and_can_be_read_by_the_image_s_user(tree: Path, tmp_path: Path) -> None:
    members = layer_of(tree, tmp_path / "layer.tar")
    assert {(info.uid, info.gid, info.uname) for info in members.values()} == {(0, 0, "")}
    assert oct(members["usr/bin/tool"].mode) == "0o755"
    assert oct(members["etc/config"].mode) == "0o644"
    assert members["usr/bin/alias"].linkname == "tool"


def test_a_directory_that_anyone_may_write_stays_so(tree: Path, tmp_path: Path) -> None:
    (tree / "data").mkdir()
    (tree / "data").chmod(0o1777)
    assert oct(layer_of(tree, tmp_path / "layer.tar")["data"].mode) == "0o1777"


def test_the_same_content_gives_the_same_layer_whenever_and_by_whomever_it_was_made(tree: Path, tmp_path: Path) -> None:
    archive.write_layer(tmp_path / "first.tar", tree)
    os.utime(tree / "etc/config", (1, 1))
    (tree / "etc/config").chmod(0o644)
    # Made anew, in another order.
    for name in ("zebra", "ant"):
        (tree / name).write_text("")
        (tree / name).unlink()
    archive.write_layer(tmp_path / "second.tar", tree)
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_two_names_of_one_file_are_two_files_of_the_layer(tree: Path, tmp_path: Path) -> None:
    os.link(tree / "etc/config", tree / "etc/again")
    members = layer_of(tree, tmp_path / "layer.tar")
    assert all(members[name].isreg() for name in ("etc/again", "etc/config"))
    assert members["etc/again"].size == members["etc/config"].size == len("a = 1\n")


def test_a_layer_leaves_out_what_the_layer_below_has_already(tree: Path, tmp_path: Path) -> None:
    below = tmp_path / "below"
    (below / "etc").mkdir(parents=True)
    (below / "usr/bin").mkdir(parents=True)
    (below / "etc/config").write_text("a = 1\n")
    (below / "usr/bin/tool").write_text("another tool\n")
    (below / "usr/bin/alias").symlink_to("tool")
    members = layer_of(tree, tmp_path / "layer.tar", below)
    assert "etc/config" not in members
    assert "usr/bin/alias" not in members
    assert "usr/bin/tool" in members, "it is another file below"


def test_what_is_no_file_has_no_place_in_a_layer(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(archive.ArchiveError, match="pipe is neither file"):
        archive.write_layer(tmp_path / "layer.tar", tree)


def test_every_blob_is_named_by_its_digest_and_every_reference_leads_to_one(tree: Path, tmp_path: Path) -> None:
    image = image_of(tmp_path, tree, 'FROM base\nENTRYPOINT ["tool"]\n')
    with tarfile.open(image) as tar:
        blobs = {name for name in tar.getnames() if name.startswith("blobs/")}
    for name in blobs:
        assert name == "blobs/sha256/" + hashlib.sha256(member(image, name)).hexdigest()
    manifest = json.loads(member(image, "blobs/" + manifest_digest(image).replace(":", "/")))
    assert "blobs/" + manifest["config"]["digest"].replace(":", "/") in blobs
    docker = json.loads(member(image, "manifest.json"))[0]
    assert docker["RepoTags"] == ["here.local/thing:dev"]
    assert docker["Layers"] == ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]]
    config = json.loads(member(image, docker["Config"]))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["config"]["Entrypoint"] == ["tool"]


def manifest_digest(image: Path) -> str:
    entry: dict[str, Any] = json.loads(member(image, "index.json"))["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "here.local/thing:dev"
    return str(entry["digest"])


def test_an_image_on_another_has_its_layers_and_its_configuration(tree: Path, tmp_path: Path) -> None:
    below = 'FROM x\nENV A=1 B=2\nLABEL title="below" kept="yes"\nUSER 10001:10001\nENTRYPOINT ["tini", "--", "a"]\nCMD ["-h"]\n'
    base = archive.read_image(image_of(tmp_path, tree, below))
    (tree / "etc/config").write_text("a = 2\n")
    layer = tmp_path / "second.tar"
    archive.write_layer(layer, tree)
    settings = dockerfile.read('FROM y\nENV B=3\nLABEL title="above"\nENTRYPOINT ["tini", "--", "b"]\n', {})
    out = tmp_path / "above.tar"
    archive.write_image(out, "here.local/above:1", archive.built_on(base, [layer], settings))
    above = archive.read_image(out)
    assert [blob for blob, _, _ in above.layers][:1] == [blob for blob, _, _ in base.layers]
    assert len(above.layers) == 2
    config = above.config["config"]
    assert config["Env"][1:] == ["A=1", "B=3"]
    assert config["Labels"] == {"title": "above", "kept": "yes"}
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["tini", "--", "b"]
    assert "Cmd" not in config, "the command below was for the entry point below"


def test_the_same_image_has_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    first = image_of(tmp_path, tree, "FROM x\nENV A=1\n").read_bytes()
    assert image_of(tmp_path, tree, "FROM x\nENV A=1\n").read_bytes() == first


def test_a_failure_leaves_no_archive_that_looks_finished(tree: Path, tmp_path: Path) -> None:
    lost = archive.Image({"config": {}}, ((archive.Blob("sha256:0", 10), tmp_path / "nowhere", ""),))
    with pytest.raises(OSError, match="nowhere"):
        archive.write_image(tmp_path / "image.tar", "a.b/c:1", lost)
    assert not (tmp_path / "image.tar").exists()


def test_sizes_are_those_of_the_layers_plain_and_gzipped(tree: Path, tmp_path: Path) -> None:
    (tree / "zeros").write_bytes(bytes(1_000_000))
    [(digest, size, compressed)] = archive.sizes(image_of(tmp_path, tree, "FROM x\n"))
    assert digest.startswith("sha256:")
    assert size > 1_000_000 > 20_000 > compressed


def test_another_tool_s_archive_is_refused_with_a_word(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"), io.BytesIO())
    with pytest.raises(archive.ArchiveError, match="no image archive of this tool"):
        archive.read_image(tmp_path / "x.tar")


def test_the_command_line_makes_a_layer_and_an_image(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\nARG V=0\nLABEL version=${V}\n")
    layer, out = str(tmp_path / "l.tar"), str(tmp_path / "i.tar")
    assert archive.main(["layer", layer, str(tree)]) == 0
    image = ["image", out, "a.b/c:1", "--dockerfile", str(tmp_path / "Dockerfile"), "--layer", layer, "--arg", "V=7"]
    assert archive.main(image) == 0
    assert archive.main(["sizes", out]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "2 files"
    assert archive.read_image(Path(out)).config["config"]["Labels"] == {"version": "7"}


def test_a_name_without_a_tag_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    image = ["image", str(tmp_path / "i.tar"), "localhost:5000/c", "--dockerfile", str(tmp_path / "Dockerfile")]
    assert archive.main(image) == 1
    assert capsys.readouterr().err == "error: localhost:5000/c has no tag: write localhost:5000/c:dev\n"
