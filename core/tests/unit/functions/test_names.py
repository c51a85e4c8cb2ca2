"""Names of functions: given or of the module, and two functions under one name."""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from currant import Task, registry, task, workflow
from order_functions import book, flow


def test_functions_are_registered_by_module_and_qualified_name() -> None:
    @task
    async def inner() -> None: ...

    assert registry["order_functions.book"] is book
    assert inner.name == f"{__name__}.test_functions_are_registered_by_module_and_qualified_name.<locals>.inner"
    assert (book.kind, flow.kind, flow.version) == ("task", "workflow", 3)


def test_a_name_can_be_given() -> None:
    @task(name="billing.charge")
    async def charge() -> None: ...

    assert registry["billing.charge"] is charge
    assert charge.__name__ == "charge"


@pytest.mark.parametrize("name", ["", 5, "a\0b"])
def test_a_name_that_cannot_be_stored_is_refused(name: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="name"):

        @task(name=name)
        async def charge() -> None: ...


def test_a_second_function_of_that_name_is_an_error_that_names_both_places() -> None:
    @task(name="one")
    async def first() -> None: ...

    with pytest.raises(ValueError, match=r"'one' is taken by the task at .*py:\d+; give the workflow at .*py:\d+ "):

        @workflow(name="one")
        async def second() -> None: ...

    assert registry["one"] is first


def test_a_module_can_be_imported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_of_test.py").write_text("from currant import task\n\n@task\nasync def pay() -> None: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("shop_of_test")
    first = registry["shop_of_test.pay"]
    importlib.reload(module)
    assert registry["shop_of_test.pay"] is not first
    # `python -m` runs a module beside its import.
    runpy.run_path(str(tmp_path / "shop_of_test.py"), run_name="shop_of_test")


def make(n: Any) -> Task[[int], int]:
    @task
    async def times(value: int) -> int:
        return value * n  # type: ignore[no-any-return]

    return times


def test_two_closures_under_one_name_are_refused_unless_they_hold_the_same() -> None:
    twice = make(2)
    assert make(2) is registry[twice.name]
    for other in (3, 2.0, True, None, [2]):
        with pytest.raises(
            ValueError, match=r"times' is taken by the task at .*py:\d+; give the task .*name=\.\.\."
        ) as e:
            make(other)
        assert str(e.value).count("test_names.py:") == 2
    assert asyncio.run(registry[twice.name](5)) == 10


def test_closures_over_what_can_change_are_two() -> None:
    make([])
    with pytest.raises(ValueError, match="is taken"):
        make([])


@pytest.mark.parametrize("second", ["default", "keyword", "annotation", "decorator", "bound", "constant", "body"])
def test_functions_of_one_name_that_differ_anywhere_are_refused(second: str) -> None:
    class Doer:
        async def act(self, n: int) -> int:
            return n

    def around(n: int) -> Any:
        def wrap(function: Any) -> Any:
            @functools.wraps(function)
            async def call(*args: Any) -> Any:
                return await function(*args) + n

            return call

        return wrap

    def made(kind: str) -> None:
        other = kind == second

        async def plain(n: int) -> int:
            return n

        async def same(n: int) -> int:
            return n

        if kind == "default":
            plain.__defaults__ = same.__defaults__ = (other,)
        if kind == "keyword":
            plain.__kwdefaults__ = {"n": other}
        if kind == "annotation":
            plain.__annotations__["n"] = float if other else int
        function: Any = plain
        if kind == "decorator":
            function = around(2 if other else 1)(plain)
        if kind == "bound":
            function = Doer().act
        task(name="one")(function)

    def constant(text: str) -> None:
        names: dict[str, Any] = {"__name__": __name__, "task": task}
        names = globals() | names if text == "" else globals()
        exec(f"@task(name='one')\nasync def one() -> object:\n    return {text}\n", names)

    if second in ("constant", "body"):
        constant("0")
        constant("0")
        for text in ("False", "0.0", "-0.0", "[0]", "lambda: 0"):
            with pytest.raises(ValueError, match="'one' is taken"):
                constant(text)
        return
    made(second if second == "bound" else "plain")
    with pytest.raises(ValueError, match="'one' is taken"):
        made(second)


def test_a_task_and_a_workflow_of_one_function_are_refused() -> None:
    async def both() -> None: ...

    task(both)
    with pytest.raises(ValueError, match=r"taken by the task at .*; give the workflow at"):
        workflow(both)


def test_the_same_code_under_one_name_in_two_modules_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rate in (("first_of_test", 1), ("second_of_test", 2)):
        (tmp_path / f"{name}.py").write_text(
            f"from currant import task\nRATE = {rate}\n@task(name='rate')\nasync def rate() -> int:\n    return RATE\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("first_of_test")
    with pytest.raises(ValueError, match=r"'rate' is taken by the task at .*first_of_test.py:\d+; .*second_of_test"):
        importlib.import_module("second_of_test")


def test_a_module_that_was_edited_replaces_its_functions_when_it_is_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from currant import task\n\ndef make(n):\n    @task{}\n    async def pay() -> int:\n        return n\nmake({})\n"
    (tmp_path / "edited_of_test.py").write_text(source.format("", 2))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("edited_of_test")
    (tmp_path / "edited_of_test.py").write_text("\n" + source.format("(queue='new', retries=7)", 3))
    importlib.reload(module)
    new = registry["edited_of_test.make.<locals>.pay"]
    assert (asyncio.run(new()), new.queue_name, json.loads(new.call((), {}).options)["retry"]["max_attempts"]) == (
        3,
        "new",
        8,
    )
    (tmp_path / "edited_of_test.py").write_text(source.format("", 2) + "make(3)\n")
    with pytest.raises(ValueError, match="is taken"):
        importlib.reload(module)


CELLS = r"""
import sys
sys.path.insert(0, {paths!r})
import fake_core
fake_core.install()
from currant import registry, task
def cell(source):
    exec(compile(source, "<cell>", "exec"), globals())
del __file__
cell("@task\nasync def pay() -> int: return 1")
cell("@task\nasync def pay() -> int: return 2")
cell("def make(n):\n @task\n async def pay() -> int: return n")
cell("make(2)")
cell("make(2)")
print(registry["__main__.pay"].plain.__code__.co_consts)
try:
    cell("make(3)")
except ValueError as error:
    print(error)
"""


def test_a_cell_of_a_notebook_can_be_run_again_but_what_factories_made_is_compared(tmp_path: Path) -> None:
    (tmp_path / "book.py").write_text(CELLS.format(paths=str(Path(__file__).parents[1])))
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, str(tmp_path / "book.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown, said = done.stdout.splitlines()
    assert "2" in shown
    assert "'__main__.make.<locals>.pay' is taken" in said


SCRIPT = """
import json
import sys
sys.path.insert(0, {paths!r})
import fake_core
fake_core.install()
from currant import Retry, task
class Declined(Exception): pass
@task(retry=Retry(non_retryable=(Declined,)))
async def pay() -> None: ...
print(pay.name, json.loads(pay.call((), {{}}).options)["retry"]["non_retryable"][0])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "orders").mkdir(parents=True)
    for folder in (tmp_path / "shop", tmp_path / "shop" / "orders"):
        (folder / "__init__.py").touch()
    script = textwrap.dedent(SCRIPT).format(paths=str(Path(__file__).parents[1]))
    for name in ("orders/pay.py", "orders/__main__.py"):
        (tmp_path / "shop" / name).write_text(script)
    (tmp_path / "alone.py").write_text(script)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["shop/orders/pay.py"], "shop.orders.pay"),
        (["-m", "shop.orders.pay"], "shop.orders.pay"),
        (["-m", "shop.orders"], "shop.orders.__main__"),
        (["alone.py"], "alone"),
    ],
    ids=" ".join,
)
def test_a_script_registers_the_name_that_a_worker_imports(shop: Path, arguments: list[str], module: str) -> None:
    command = [sys.executable, *arguments]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=shop, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"{module}.pay", f"{module}.Declined"], done.stderr
