"""Write container image archives with no engine and no registry, from directories and a Dockerfile's configuration.

    archive.py layer  OUT.tar DIRECTORY [--below DIRECTORY]...
    archive.py image  OUT.tar NAME:TAG --dockerfile FILE [--from IMAGE.tar] [--layer TAR]... [--arg K=V]...
    archive.py sizes  IMAGE.tar

The archive is an OCI image layout that also has Docker's `manifest.json`, as `docker save` writes it: `docker load`,
`ctr images import` and `kind load image-archive` take it. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import stat
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import dockerfile

EPOCH = 1_577_836_800  # 2020-01-01: every file's time, so that an archive depends on content alone
CREATED = "2020-01-01T00:00:00Z"
CHUNK = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ArchiveError(Exception):
    """An archive cannot be written or read; the message says why."""


@dataclass(frozen=True)
class Blob:
    """A file of an archive: its digest is its name there."""

    digest: str
    size: int

    def described(self, media_type: str) -> dict[str, Any]:
        """The descriptor by which a manifest refers to it."""
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}

    @property
    def path(self) -> str:
        """The blob's path in the archive."""
        return "blobs/" + self.digest.replace(":", "/")


def blob_of(content: IO[bytes]) -> Blob:
    """Digest and size of what is left in a file."""
    digest, size = hashlib.sha256(), 0
    while chunk := content.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return Blob("sha256:" + digest.hexdigest(), size)


# ---- layers


def write_layer(out: Path, root: Path, below: Sequence[Path] = ()) -> int:
    """Write the tree under `root` as a layer and give the number of its files, leaving out what `below` has already.

    Owner is root, modes are 0755 or 0644 (directories that anyone may write, such as /tmp, keep theirs), the order is
    by name and every time is the same. A directory of `below` is the tree of a lower layer: a file that is the same
    there is left out.
    """
    count = 0
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _walk(root):
            name = path.relative_to(root).as_posix()
            if not _is_real_directory(path) and any(_same(path, lower / name) for lower in below):
                continue
            info = _normal(tar.gettarinfo(path, name), path)
            if info.isreg():
                count += 1
                with path.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    return count


def _walk(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir(), key=lambda path: path.name):
        yield path
        if _is_real_directory(path):
            yield from _walk(path)


def _is_real_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _same(path: Path, lower: Path) -> bool:
    if path.is_symlink() or lower.is_symlink():
        return path.is_symlink() and lower.is_symlink() and os.readlink(path) == os.readlink(lower)
    if not (path.is_file() and lower.is_file()):
        return False
    return path.stat().st_size == lower.stat().st_size and path.read_bytes() == lower.read_bytes()


def _normal(info: tarfile.TarInfo, path: Path) -> tarfile.TarInfo:
    if info.islnk():  # a second name of one file, which may be left out: it becomes a file of its own
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
    if not (info.isreg() or info.isdir() or info.issym()):
        raise ArchiveError(f"{info.name} is neither file, directory nor symbolic link: it has no place in a layer")
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = EPOCH
    if not (info.isdir() and info.mode & stat.S_IWOTH):
        info.mode = 0o755 if info.isdir() or info.mode & 0o111 else 0o644
    return info


# ---- images


@dataclass(frozen=True)
class Image:
    """An image of an archive: its configuration, and where the contents of its layers are."""

    config: dict[str, Any]
    layers: tuple[tuple[Blob, Path, str], ...] = ()  # the blob, the file that has it, its member there ("": all of it)


def read_image(archive: Path) -> Image:
    """The image of an archive that `write_image` wrote. Raises `ArchiveError`."""
    with tarfile.open(archive) as tar:
        try:
            index = _json(tar, "index.json")
            manifest = _json(tar, Blob(**_digest(index["manifests"][0])).path)
            config = _json(tar, Blob(**_digest(manifest["config"])).path)
        except (KeyError, ValueError, IndexError) as error:
            raise ArchiveError(f"{archive} is no image archive of this tool: {error}") from None
    blobs = [Blob(**_digest(layer)) for layer in manifest["layers"]]
    return Image(config, tuple((blob, archive, blob.path) for blob in blobs))


def _digest(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return {"digest": descriptor["digest"], "size": descriptor["size"]}


def _json(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    return json.load(member)


def write_image(out: Path, name: str, image: Image) -> None:
    """Write an archive of one image, `name` is `repository:tag`. It appears under its name only when it is whole."""
    config = _encode(image.config)
    config_blob = blob_of(io.BytesIO(config))
    manifest = _encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config_blob.described(CONFIG),
            "layers": [blob.described(LAYER) for blob, _, _ in image.layers],
        }
    )
    manifest_blob = blob_of(io.BytesIO(manifest))
    draft = out.with_name(out.name + ".new")
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
        written: set[str] = set()
        for blob, path, member in image.layers:
            if blob.path not in written:
                written.add(blob.path)
                _copy_blob(tar, blob, path, member)
        _add(tar, config_blob.path, config)
        _add(tar, manifest_blob.path, manifest)
        _add(tar, "oci-layout", _encode({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _encode(_index(name, manifest_blob)))
        _add(tar, "manifest.json", _encode(_docker_manifest(name, config_blob, image)))
    draft.replace(out)


def _index(name: str, manifest: Blob) -> dict[str, Any]:
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    entry = {**manifest.described(MANIFEST), "annotations": annotations, "platform": _platform()}
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}


def _docker_manifest(name: str, config: Blob, image: Image) -> list[dict[str, Any]]:
    layers = [blob.path for blob, _, _ in image.layers]
    return [{"Config": config.path, "RepoTags": [name], "Layers": layers}]


def _platform() -> dict[str, str]:
    machine = platform.machine()
    return {"os": "linux", "architecture": ARCHITECTURES.get(machine, machine)}


def _encode(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, EPOCH
    return info


def _copy_blob(tar: tarfile.TarFile, blob: Blob, path: Path, member: str) -> None:
    with _open_blob(path, member) as content:
        tar.addfile(_member(blob.path, blob.size), content)


@contextmanager
def _open_blob(path: Path, member: str) -> Iterator[IO[bytes]]:
    if not member:
        with path.open("rb") as content:
            yield content
        return
    with tarfile.open(path) as tar:
        inside = tar.extractfile(member)
        if inside is None:
            raise ArchiveError(f"{path} lacks its layer {member}")
        yield inside


def built_on(base: Image | None, layers: Sequence[Path], settings: dockerfile.Settings) -> Image:
    """An image with `layers` on those of `base`, and the configuration that a Dockerfile's instructions give it."""
    blobs = list(base.layers) if base else []
    for path in layers:
        with path.open("rb") as content:
            blobs.append((blob_of(content), path, ""))
    root = {"type": "layers", "diff_ids": [blob.digest for blob, _, _ in blobs]}
    config = {
        **_platform(),
        "created": CREATED,
        "config": settings.applied_to(base.config["config"] if base else {}),
        "rootfs": root,
        "history": [{"created": CREATED, "created_by": "worker-image/archive.py"} for _ in blobs],
    }
    return Image(config, tuple(blobs))


def sizes(archive: Path) -> list[tuple[str, int, int]]:
    """Digest, size and gzipped size (level 6, as registries keep it) of each layer, in bytes."""
    table = []
    for blob, path, member in read_image(archive).layers:
        counter = _Counter()
        with _open_blob(path, member) as content, gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=6) as out:
            while chunk := content.read(CHUNK):
                out.write(chunk)
        table.append((blob.digest, blob.size, counter.size))
    return table


class _Counter(io.RawIOBase):
    """A file that keeps nothing but the number of the bytes written to it."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.size += len(data)
        return len(data)


# ---- command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    layer = commands.add_parser("layer", help="a layer from a directory")
    layer.add_argument("out", type=Path)
    layer.add_argument("root", type=Path)
    layer.add_argument("--below", type=Path, action="append", default=[], help="tree of a lower layer")
    image = commands.add_parser("image", help="an image from layers and a Dockerfile's configuration")
    image.add_argument("out", type=Path)
    image.add_argument("name", help="repository:tag")
    image.add_argument("--dockerfile", type=Path, required=True)
    image.add_argument("--from", dest="base", type=Path, help="archive of the image that its FROM means")
    image.add_argument("--layer", type=Path, action="append", default=[], dest="layers")
    image.add_argument("--arg", action="append", default=[], help="a build argument, NAME=VALUE")
    size = commands.add_parser("sizes", help="the layers' sizes")
    size.add_argument("archive", type=Path)
    return parser


def _write_image(options: argparse.Namespace) -> None:
    if ":" not in options.name.rpartition("/")[2]:
        raise ArchiveError(f"{options.name} has no tag: write {options.name}:dev")
    arguments = dict(argument.split("=", 1) for argument in options.arg)
    settings = dockerfile.read(options.dockerfile.read_text(), arguments)
    base = read_image(options.base) if options.base else None
    write_image(options.out, options.name, built_on(base, options.layers, settings))


def _print_sizes(archive: Path) -> None:
    table = sizes(archive)
    for digest, size, compressed in [*table, ("total", sum(row[1] for row in table), sum(row[2] for row in table))]:
        print(f"{digest[:19]:19} {size / 1e6:8.1f} MB {compressed / 1e6:8.1f} MB gzipped")


def main(arguments: Sequence[str]) -> int:
    """Run one command; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "layer":
            print(f"{write_layer(options.out, options.root, options.below)} files")
        elif options.command == "image":
            _write_image(options)
        else:
            _print_sizes(options.archive)
    except (ArchiveError, dockerfile.DockerfileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
