"""Images without a registry: an archive written by hand around one static binary, as `docker save` would write it."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from .layout import BIN, IMAGES

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def name_of(binary: str) -> str:
    """The image's name. Without a dot before the slash, containerd would look for it on Docker Hub."""
    return f"currant.local/{binary}:1"


def of_binary(binary: str) -> Path:
    """The archive of an image that holds `.cluster/bin/BINARY` and runs it; written again when the binary is newer."""
    source, archive = BIN / binary, IMAGES / f"{binary}.tar"
    if not archive.exists() or archive.stat().st_mtime < source.stat().st_mtime:
        IMAGES.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_suffix(".part")
        _write(unfinished, binary, source)
        unfinished.rename(archive)
    return archive


def _write(archive: Path, binary: str, source: Path) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, binary, source.read_bytes(), mode=0o755)
    layer_id = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [f"/{binary}"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name_of(binary)], "Layers": [f"{layer_id}.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, config_name, config)
        _add(tar, f"{layer_id}.tar", layer.getvalue())
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
