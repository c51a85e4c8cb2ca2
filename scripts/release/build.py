"""Builds the parts of a release: wheels, source distribution, chart, images, lists of components, checksums."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from e2e.cluster_tool import build as cluster
from e2e.cluster_tool.errors import ClusterError
from e2e.cluster_tool.layout import BIN
from scripts.generate.outputs import CHECKOUT
from scripts.release.environments import Environment
from scripts.release.parts import GLIBC, MACHINE, WORK, Failed, Missing, Release, output, pip, run

IMAGES = ("worker", "operator")
EXTRAS = "embedded,otel"  # together they have every package that Currant can use


def sdist(release: Release) -> None:
    """The source distribution, which needs crates and Python packages to build, and nothing else of the checkout."""
    run(release.tools / "maturin", "sdist", "--out", release.out, cwd=release.source / "core")


def wheel(release: Release, machine: str) -> None:
    """The wheel for a machine: zig is linker and C compiler, for any machine and for an old glibc."""
    triple = f"{machine}-unknown-linux-gnu"
    _need_target(triple)
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    run(
        release.tools / "maturin",
        *("build", "--profile", "dist", "--locked", "--zig", "--target", triple),
        *("--compatibility", GLIBC, "--out", release.out),
        cwd=release.source / "core",
        variables={
            "PATH": f"{release.tools}:{os.environ['PATH']}",  # zig is a module of the Python that is found first
            "CARGO_TARGET_DIR": str(CHECKOUT / "core/target"),
            "RUSTFLAGS": f"--remap-path-prefix={home}=/cargo",  # no path of this machine in what users install
        },
    )


def operator(release: Release) -> None:
    """The operator's wheel."""
    source = release.source / "operator"
    shutil.copy(release.source / "LICENSE", source)
    pip(release.tools.parent, "wheel", "--no-deps", "--wheel-dir", release.out, source)


def chart(release: Release) -> None:
    """The package of the Helm chart."""
    helm = shutil.which("helm", path=f"{os.environ['PATH']}:{BIN}")
    if helm is None:
        try:
            helm = str(cluster.helm())
        except ClusterError as error:
            raise Missing(f"put helm on the PATH, or Go: {error}") from None
    run(helm, "package", release.source / "charts/currant", "--destination", release.out)
    # helm's own name for it would be that of the source distribution, but for the ending.
    (release.out / f"currant-{release.version}.tgz").rename(release.out / f"currant-chart-{release.version}.tgz")


def images(release: Release) -> None:
    """The archives of the images for this machine, with the extension of its wheel."""
    has_engine = _has_engine()
    if not has_engine and (os.geteuid() != 0 or shutil.which("apt-get") is None):
        raise Missing("start a Docker engine, or run this as root on Debian")
    parts = WORK / "images"
    shutil.rmtree(parts, ignore_errors=True)
    wheel = () if has_engine else ("--wheel", release.wheel())  # an engine builds the wheel in the image's own Debian
    run(CHECKOUT / "worker-image/build.sh", *wheel, "--tag", release.version, "--out", parts, *IMAGES)
    for name in IMAGES:
        packed = release.out / f"currant-{name}-{release.version}-{MACHINE}.tar.gz"
        with (
            (parts / f"currant-{name}.tar").open("rb") as plain,
            packed.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped,
        ):
            shutil.copyfileobj(plain, zipped, 1 << 20)


def components(release: Release) -> None:
    """The lists of components (SBOM, CycloneDX): crates, which maturin puts into the wheel, and Python packages."""
    with zipfile.ZipFile(release.wheel()) as wheel:
        names = [name for name in wheel.namelist() if name.endswith("/sboms/currant.cyclonedx.json")]
        if len(names) != 1:
            raise Failed(f"{release.wheel().name} has {len(names)} lists of crates, not one")
        _write_list(release, "rust", wheel.read(names[0]).decode())
    for name, package in (
        ("python", f"{release.wheel()}[{EXTRAS}]"),
        ("operator", release.operator_wheel),
    ):
        environment = Environment.empty(f"list-{name}")
        environment.install(package, "--find-links", release.out)
        tool = (release.tools / "cyclonedx-py", "environment", "--output-reproducible")
        _write_list(release, name, output(*tool, environment.python))


def checksums(release: Release) -> None:
    """The SHA-256 of every file, as `sha256sum --check` reads it."""
    files = sorted(path for path in release.out.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (release.out / "SHA256SUMS").write_text("".join(lines))


def _has_engine() -> bool:
    return bool(shutil.which("docker")) and not subprocess.run(["docker", "info"], capture_output=True).returncode


def _write_list(release: Release, name: str, text: str) -> None:
    """Write a list, without the directories in which this machine has what was built."""
    text = text.replace(f"{release.source}/", "/").replace(f"{release.out}/", "/")
    (release.out / f"currant-{release.version}-{name}.cdx.json").write_text(text)


def _need_target(triple: str) -> None:
    """Raises `Missing` when Rust's library for a target is neither installed nor can be."""
    library = Path(output("rustc", "--print", "sysroot").strip()) / "lib/rustlib" / triple / "lib"
    if not library.exists() and shutil.which("rustup"):
        subprocess.run(["rustup", "target", "add", triple], capture_output=True, check=False)
    if not library.exists():
        raise Missing(f"rustup target add {triple}")
