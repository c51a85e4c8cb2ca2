"""The map in CONTRIBUTING.md is the tree: every directory, the layers in their order, and the README's short form."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from pages import CHECKOUT, files, text
from scripts.map import first_line, main, source_files

ROW = re.compile(r"^\| `([\w./-]+/)(\*\*)?` \| (.+) \|$", re.MULTILINE)
SECTION = text(Path("CONTRIBUTING.md")).partition("\n## The map\n")[2].partition("\n## ")[0]
ROOMS = {path.rstrip("/"): room for path, _, room in ROW.findall(SECTION)}
WHOLE = {path.rstrip("/") for path, below, _ in ROW.findall(SECTION) if below}  # with all below it


def directories() -> set[str]:
    """Every directory of the tree, the root left out."""
    found = {parent.as_posix() for path in files() for parent in path.parents}
    return found - {"."}


def test_every_directory_is_in_the_map_and_every_entry_is_there() -> None:
    below = {each for each in directories() if any(each.startswith(f"{whole}/") for whole in WHOLE)}
    without_files = {each for each in directories() if not any(path.parent.as_posix() == each for path in files())}
    assert set(ROOMS) - directories() == set()
    assert directories() - below - without_files - set(ROOMS) == set()


def test_every_file_that_a_row_names_is_in_that_directory() -> None:
    named = {(room, name) for room, what in ROOMS.items() for name in re.findall(r"`(\w+\.(?:py|rs|sql|pyi))`", what)}
    assert named
    assert {each for each in named if not (CHECKOUT / each[0] / each[1]).exists()} == set()


def below(directory: str) -> list[str]:
    """The names in the map that are directly below a directory, in the map's order."""
    return [path.rpartition("/")[2] for path in ROOMS if path.rpartition("/")[0] == directory]


def test_a_room_of_the_crate_uses_only_rooms_below_it_in_the_map() -> None:
    declared = re.search(r"const ROOMS: .*?= &\[(.*?)\];", text(Path("core/tests/layers.rs")), re.DOTALL)
    assert declared is not None
    order = {path: place for place, path in enumerate(ROOMS)}
    rooms = re.findall(r'\("([\w:]+)", &\[(.*?)\]\)', declared[1])
    assert {f"core/src/{name}" for name in below("core/src")} == {
        f"core/src/{room}" for room, _ in rooms if ":" not in room
    }
    for room, uses in rooms:
        here = order.get(path_of(room), order["core/src/engine"])  # `items.rs` is a file there
        for used in map(path_of, re.findall(r'"([\w:]+)"', uses)):
            assert used not in order or order[used] > here, f"{room} uses {used}"


def path_of(room: str) -> str:
    """The directory of a module of the crate."""
    return f"core/src/{room.replace('::', '/')}"


def layers(configuration: str) -> list[list[str]]:
    """The layers that an import-linter's configuration declares, from above."""
    parser = configparser.ConfigParser()
    parser.read_string(text(Path(configuration)))
    lines = parser["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip() for name in line.split("|")] for line in lines if line.strip()]


def test_packages_are_in_the_order_of_their_layers() -> None:
    packages = {".importlinter": "core/python/currant", "operator/.importlinter": "operator/currant_operator"}
    for configuration, directory in packages.items():
        order = {name: place for place, layer in enumerate(layers(configuration)) for name in layer}
        places = [order[name] for name in below(directory)]
        assert len(places) > 2
        assert places == sorted(places), directory


def test_the_readme_has_the_top_of_the_map() -> None:
    short = text(Path("README.md")).partition("\n## The repository\n")[2].partition("\n## ")[0]
    assert ROW.findall(short) == [row for row in ROW.findall(SECTION) if row[0].count("/") == 1 and row[0][0] != "."]


def test_every_source_file_begins_with_what_it_is() -> None:
    sources = {path: text(path) for path in source_files()}
    assert len(sources) > 200
    assert [str(path) for path, found in sources.items() if found and not first_line(found)] == []


def test_a_line_for_a_tool_is_not_what_a_file_says_of_itself() -> None:
    assert first_line('# mypy: disable-error-code="x"\n"""A peer."""\n') == "A peer."
    assert first_line("# shellcheck shell=bash\n# Images.\n") == "Images."


def test_a_word_chooses_the_files_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    main("Select_Claimable")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert any(row.split()[0] == "select_claimable.sql" for row in rows)
    assert [row for row in rows if "select_claimable" not in row.lower()] == []
