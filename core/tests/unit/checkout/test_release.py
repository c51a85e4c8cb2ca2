"""`make dist` without its builds: what is refused, what is left out, and what a wheel must be."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pages import text
from scripts.generate.version import version
from scripts.release import __main__ as command
from scripts.release import build, check, parts
from scripts.release.parts import Failed, Missing, Release

Main = Callable[..., int]


def test_the_changelog_begins_with_the_version_of_the_crate() -> None:
    first = re.search(r"^## (\S+), (unreleased|\d{4}-\d{2}-\d{2})$", text(Path("CHANGELOG.md")), re.MULTILINE)
    assert first is not None
    assert first[1] == version()


def test_a_checkout_with_changes_is_no_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parts, "output", lambda *_: " M core/Cargo.toml\n?? notes.txt\n")
    with pytest.raises(Failed, match=r"commit or undo the changes first \( M core/Cargo.toml; \?\? notes.txt\)"):
        _ = Release(tmp_path).source


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """Run the command with these parts only, each of which ends as it is given: by an error, or well."""

    def run(ci: str, **ends: Exception | None) -> int:
        def part(end: Exception | None) -> Callable[[Release], None]:
            def make(release: Release) -> None:
                if end is not None:
                    raise end

            return make

        monkeypatch.setattr(command, "PARTS", {name: part(end) for name, end in ends.items()})
        monkeypatch.setattr(command, "CHECKOUT", tmp_path)
        monkeypatch.setattr(sys, "argv", ["release"])
        monkeypatch.setenv("CI", ci)
        return command.main()

    return run


def test_a_part_that_this_machine_cannot_build_is_left_out_and_named_in_the_last_line(
    main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("", chart=Missing("put helm on the PATH"), sdist=None) == 0
    lines = [line.partition(" ok, ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["dist: chart left out: put helm on the PATH", "dist: sdist", "dist: LEFT OUT: chart"]


def test_in_ci_a_release_without_a_part_fails(main: Main) -> None:
    assert main("true", chart=Missing("put helm on the PATH"), sdist=None) == 1
    assert main("true", sdist=None) == 0


def test_what_comes_after_a_part_that_fails_is_not_made(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("", sdist=Failed("no compiler"), chart=None) == 1
    assert capsys.readouterr().out == "dist: FAILED: no compiler\n"


def test_checksums_are_those_of_all_files_but_their_own(tmp_path: Path) -> None:
    for name in ("b.whl", "a.tar.gz"):
        (tmp_path / name).write_text(name)
    build.checksums(Release(tmp_path))
    build.checksums(Release(tmp_path))
    parts.run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["a.tar.gz", "b.whl"]


def wheel(directory: Path, machine: str, number: int, *more: str) -> None:
    """A wheel for a machine, whose extension is for the machine with that number in ELF."""
    with zipfile.ZipFile(directory / f"currant-1.0-cp311-abi3-manylinux_2_17_{machine}.whl", "w") as archive:
        archive.writestr("currant/_core.abi3.so", b"\x7fELF" + bytes(14) + number.to_bytes(2, "little"))
        for name in more:
            archive.writestr(name, "")


def test_a_wheel_whose_extension_is_for_another_machine_is_refused(tmp_path: Path) -> None:
    licence = "currant-1.0.dist-info/licenses/LICENSE"
    wheel(tmp_path, "x86_64", 62, licence)
    wheel(tmp_path, "aarch64", 183, licence)
    check.architectures(Release(tmp_path))
    wheel(tmp_path, "aarch64", 62, licence)
    with pytest.raises(Failed, match=r"machine of currant-1.0-\S+_aarch64.whl: 62, not 183"):
        check.architectures(Release(tmp_path))


def test_a_wheel_with_compiled_files_or_without_a_licence_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "x86_64", 62, "currant/__pycache__/client.cpython-311.pyc")
    with pytest.raises(Failed, match="compiled Python in"):
        check.architectures(Release(tmp_path))
    wheel(tmp_path, "x86_64", 62)
    with pytest.raises(Failed, match="licences in"):
        check.architectures(Release(tmp_path))
