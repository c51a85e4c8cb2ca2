"""Built without an engine: each image's command runs in its root file system, and nothing is there that should not be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from unpacked import Root

COMMANDS = {
    "worker": (["currant", "--version"], "currant, version"),
    "operator": (["currant-operator", "--help"], "usage: currant-operator"),
    "shop": (["python", "-c", "import shop.app, shop.orders; print(shop.app.app.title)"], "shop"),
    "postgres": (["postgres", "--version"], "postgres (PostgreSQL)"),
}
IMPORTS = {"worker": "currant.cli", "operator": "currant_operator.app", "shop": "shop.app", "postgres": "json"}
COMPILERS = ("cc", "gcc", "g++", "clang", "cargo", "rustc", "make")


def files(root: Root) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(root.path) for name in names]


def test_its_command_runs_as_its_user(root: Root, image: str) -> None:
    command, said = COMMANDS[image]
    assert said in root.run(*command)


def test_its_user_has_a_name_and_is_not_root(root: Root, image: str) -> None:
    assert root.run("id", "--user", "--name").strip() == ("postgres" if image == "postgres" else "currant")
    assert root.user.split(":")[0] != "0"


def test_an_init_is_there_to_be_process_1(root: Root) -> None:
    assert "tini version" in root.run("tini", "--version")


def test_there_is_no_compiler(root: Root) -> None:
    assert [file for file in files(root) if file.name in COMPILERS and os.access(file, os.X_OK)] == []


def test_no_file_belongs_to_its_user_or_may_be_written_by_anyone(root: Root) -> None:
    states = {file: file.lstat() for file in files(root) if file.name != "null"}
    open_files = [
        file for file, state in states.items() if stat.S_ISREG(state.st_mode) and state.st_mode & stat.S_IWOTH
    ]
    assert open_files == []
    assert [file for file, state in states.items() if state.st_uid in (999, 10001)] == []


def test_nothing_is_compiled_at_the_start(root: Root, image: str) -> None:
    seen = root.run("python", "-v", "-c", f"import {IMPORTS[image]}")
    from_source = [
        line for line in seen.splitlines() if line.startswith("# code object from '") and "frozen" not in line
    ]
    ours = [line for line in from_source if line.rstrip("'").endswith(".py") and "/app/" not in line]
    assert ours == []


def test_nothing_tells_of_the_machine_it_was_built_on(root: Root) -> None:
    top = str(Path(__file__).resolve().parents[3]).encode()
    ours = [file for file in files(root) if "currant" in str(file.relative_to(root.path)) and file.is_file()]
    assert [file for file in ours if top in file.read_bytes()] == []
