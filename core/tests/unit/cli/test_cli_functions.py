"""The command line finds functions and reads arguments as a person typed them."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest

from currant.cli import slow_imports
from currant.cli.functions import Mistake, check_arguments, find_function, import_module, parse_arguments
from currant.decorators import registry
from currant.errors import UnknownFunction

SHOP = """
from currant import task, workflow

@task
async def pack(order_id: str, weight: float = 1.0) -> str: ...

@workflow(name="named-otherwise")
async def fulfil(order_id: str) -> str: ...
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory that registers a task and a workflow."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [
        (None, [], {}),
        ("[]", [], {}),
        ('["o-1", 5]', ["o-1", 5], {}),
        ('{"order_id": "o-1"}', [], {"order_id": "o-1"}),
        ('{"args": ["o-1"], "kwargs": {"weight": 2}}', ["o-1"], {"weight": 2}),
        ('{"args": ["o-1"]}', ["o-1"], {}),
        ('{"kwargs": {"weight": 2}}', [], {"weight": 2}),
        ("{}", [], {}),
        ('{"args": "a text", "other": 1}', [], {"args": "a text", "other": 1}),
    ],
)
def test_arguments_are_positional_by_name_or_both(
    text: str | None, args: list[object], kwargs: dict[str, object]
) -> None:
    assert parse_arguments(text) == (args, kwargs)


@pytest.mark.parametrize("text", ["5", '"o-1"', "null", "{broken", "[NaN]", "[Infinity]", "o-1"])
def test_arguments_that_are_no_json_array_or_object_are_a_mistake(text: str) -> None:
    with pytest.raises(Mistake, match="JSON"):
        parse_arguments(text)


def test_a_function_is_found_by_its_full_name_and_its_module_imported_from_the_working_directory(shop: str) -> None:
    assert find_function(f"{shop}.pack", []).name == f"{shop}.pack"


def test_a_function_is_found_behind_the_name_of_a_given_module(shop: str) -> None:
    assert find_function("pack", [shop]).name == f"{shop}.pack"


def test_a_function_with_a_name_of_its_own_is_found_by_that_name(shop: str) -> None:
    try:
        assert find_function("named-otherwise", [shop]).kind == "workflow"
    finally:
        registry.pop("named-otherwise", None)


@pytest.mark.parametrize("name", ["pakc", "no_such_module.function", "pack.", "", "a b.c"])
def test_an_unknown_function_is_said_to_be_unknown(shop: str, name: str) -> None:
    with pytest.raises(UnknownFunction, match="no task or workflow"):
        find_function(name, [])


def test_a_misspelt_function_is_answered_with_the_likely_one(shop: str) -> None:
    with pytest.raises(UnknownFunction, match=f"did you mean {shop}.pack"):
        find_function(f"{shop}.pakc", [])


def test_a_module_that_is_not_there_is_answered_with_what_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=f"no module nowhere.at_all.*{tmp_path}.*check its spelling"):
        import_module("nowhere.at_all")


def test_a_file_given_for_a_module_is_answered_with_the_modules_name() -> None:
    with pytest.raises(Mistake, match=r"such as examples\.saga"):
        import_module("./examples/saga.py")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import not_installed_anywhere", "ModuleNotFoundError.*not_installed_anywhere"),
        ("\n\n1 / 0", "ZeroDivisionError.*:3"),
        ("def broken(:", "SyntaxError.*:1"),
    ],
)
def test_a_module_that_fails_to_import_is_answered_with_the_error_and_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    name = f"failing_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=message):
        import_module(name)


def test_arguments_come_as_the_annotated_types(shop: str) -> None:
    assert check_arguments(find_function(f"{shop}.pack", []), ["o-1", 2], {}) == (("o-1", 2.0), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ([], {}, "order_id"),
        (["o-1", 1.0, 2.0], {}, "too many"),
        (["o-1"], {"colour": "red"}, "colour"),
        ([5], {}, "order_id|str"),
    ],
)
def test_arguments_that_do_not_fit_are_a_mistake_that_names_them(
    shop: str, args: list[object], kwargs: dict[str, object], message: str
) -> None:
    with pytest.raises(Mistake, match=message):
        check_arguments(find_function(f"{shop}.pack", []), args, kwargs)


class Heard(logging.Handler):
    """What is logged, and that something is."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.once = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.once.set()


def test_an_import_that_does_not_end_is_told_of_in_the_log_by_the_module_that_it_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waits_for_the_log.py").write_text("import builtins\nbuiltins.heard_of_the_import.wait(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(slow_imports, "WARN_AFTER", (0.01,))
    handler = Heard()
    monkeypatch.setattr("builtins.heard_of_the_import", handler.once, raising=False)
    log = logging.getLogger("currant.worker")
    log.addHandler(handler)
    try:
        import_module("waits_for_the_log")
    finally:
        log.removeHandler(handler)
    assert handler.messages == ["still importing waits_for_the_log after 0.01 s"]
