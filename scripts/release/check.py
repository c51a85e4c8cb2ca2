"""Tests of what was built, in empty environments: it installs, it says its version, and it runs a workflow."""

from __future__ import annotations

import json
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path

from scripts.generate.outputs import CHECKOUT
from scripts.release.environments import Environment
from scripts.release.parts import Failed, Release, say

HELLO = """
from currant import task, workflow


@task
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def greet_all(names: list[str]) -> list[str]:
    return [await greet.run(name) for name in names]
"""
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


def wheel(release: Release) -> None:
    """The wheel by itself is a client; with the extra `embedded` it has everything that the first hour needs."""
    environment = Environment.empty("wheel")
    environment.install(release.wheel())
    expect("packages of a client", environment.packages(), {"currant", "msgspec"})
    say(f"a client's packages have {environment.size() / 1e6:.1f} MB")
    environment.answer("python", "-c", "from currant import task, workflow, Worker, configure, send_signal")
    bare = environment.call("currant", "list")
    expect("currant without its packages", bare.returncode, 2)
    expect("currant without its packages", "pip install 'currant[cli]'" in bare.stderr, True)
    environment.install(f"{release.wheel()}[embedded]")
    _run_a_workflow(environment, release)


def sdist(release: Release) -> None:
    """The source distribution builds with crates alone, and runs the same workflow."""
    with tarfile.open(release.sdist) as archive:
        files = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    tracked = {path.relative_to(release.source / "core").as_posix() for path in _needed(release.source / "core")}
    expect("files that a build needs and the source distribution lacks", sorted(tracked - files)[:5], [])
    environment = Environment.empty("sdist")
    environment.install(f"{release.sdist}[embedded]", variables={"CARGO_TARGET_DIR": str(CHECKOUT / "core/target")})
    _run_a_workflow(environment, release)


def operator(release: Release) -> None:
    """The operator installs beside the wheel of its version, and starts."""
    environment = Environment.empty("operator")
    environment.install(release.operator_wheel, "--find-links", release.out)
    expect("its Currant", "currant" in environment.packages(), True)
    expect("help of the operator", "usage: currant-operator" in environment.answer("currant-operator", "--help"), True)


def architectures(release: Release) -> None:
    """The extension in each wheel is for the machine that the wheel's name says."""
    for machine, number in ELF_MACHINES.items():
        for path in release.out.glob(f"currant-*_{machine}.whl"):
            with zipfile.ZipFile(path) as archive:
                head = archive.read("currant/_core.abi3.so")[:20]
                own = [name for name in archive.namelist() if name.startswith("currant/") and "__pycache__" in name]
                licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
            expect(f"machine of {path.name}", int.from_bytes(head[18:20], "little"), number)
            expect(f"compiled Python in {path.name}", own, [])
            expect(f"licences in {path.name}", len(licences), 1)


def expect(what: str, found: object, wanted: object) -> None:
    """Raises `Failed` if what was found is not what was wanted."""
    if found != wanted:
        raise Failed(f"{what}: {found!r}, not {wanted!r}")


def _needed(core: Path) -> list[Path]:
    """The files of the crate and the package that a build reads."""
    found = [core / name for name in ("Cargo.toml", "Cargo.lock", "build.rs", "pyproject.toml", "LICENSE")]
    for directory in (".cargo", ".sqlx", "migrations", "src", "python"):
        found += [path for path in (core / directory).rglob("*") if path.is_file()]
    return found


def _run_a_workflow(environment: Environment, release: Release) -> None:
    """`currant dev` with an embedded Postgres, and a workflow that another process enqueues and waits for."""
    expect("currant --version", environment.answer("currant", "--version"), f"currant, version {release.version}")
    (environment.home / "hello.py").write_text(HELLO)
    dev = environment.start("currant", "dev", "-m", "hello")
    try:
        url = _url(dev)
        call = ("queue", "hello.greet_all", '[["ann", "bob"]]', "--wait", "--timeout", "60")
        result = environment.answer("currant", *call, WORKFLOWS_DATABASE_URL=url)
        expect("result of the workflow", json.loads(result), ["hello ann", "hello bob"])
    finally:
        dev.send_signal(signal.SIGINT)
        dev.communicate(timeout=60)
    expect("exit code of currant dev", dev.returncode, 0)


def _url(dev: subprocess.Popen[str]) -> str:
    """The URL that `currant dev` prints."""
    assert dev.stdout is not None
    for line in dev.stdout:
        if "WORKFLOWS_DATABASE_URL=" in line:
            return line.partition("WORKFLOWS_DATABASE_URL=")[2].strip()
    raise Failed("currant dev ended before it printed its database's URL")
