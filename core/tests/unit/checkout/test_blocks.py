"""Every block of code in the pages is checked as its language says: blocks.py says how. The tests with a database run more."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from blocks import FOLLOWED, SIGNATURES, Block, all_blocks, find, problems
from pages import CHECKOUT, files, pages, text

BLOCKS = all_blocks()
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}), ids=str)
def test_the_blocks_of_a_page_name_what_is_there(page: Path) -> None:
    found = [f"{block}: {problem}" for block in BLOCKS if block.page == page for problem in problems(block)]
    assert "\n".join(found) == ""


def test_no_fence_is_outside_of_a_block() -> None:
    for page in pages():
        fences = [line for line in text(page).splitlines() if line.lstrip().startswith("```")]
        assert len(fences) == 2 * sum(block.page == page for block in BLOCKS), page


def test_every_page_that_a_test_follows_by_itself_is_there() -> None:
    for page, test in FOLLOWED.items():
        assert page in files()
        assert str(page) in (CHECKOUT / test).read_text(encoding="utf-8")


PLANTED = {
    "```python\nfrom currant import tusk\n```": "currant has no tusk",
    "```python\nimport currants\n```": "No module named 'currants'",
    "```python\nawait x(\n```": "line 1: '(' was never closed",
    "```sh\ncurrant lost\n```": "No such command 'lost'",
    "```sh\ncurrant list --stat failed\n```": "No such option '--stat'",
    "```sh\ncurrant show\n```": "Missing argument 'ID'",
    "```sh\nuntil true; do currant cancel $ID --frce; done\n```": "No such option '--frce'",
    '```sh\necho "$(currant stats $ID)"\n```': "No such command 'stats'",
    "```sh\nmake all-well\n```": "the Makefile has no target all-well",
    "```sh\nif true; then\n```": "syntax error",
    "```sh\nkubectl aply -f x\n```": "kubectl has no verb 'aply'",
    "```sh\nkubectl apply -f examples/kubernetes/workerpools.yaml\n```": "there is no examples/kubernetes/workerpools.yaml",
    "```sh\nkubectl -n a exec deploy/currant-cli -- currant shw ID\n```": "No such command 'shw'",
    "```sh\nkubectl patch workerpool shop -p '{\"spec\": }'\n```": "no JSON",
    "```sh\nhelm install currant charts/curant\n```": "there is no charts/curant",
    "```sh\nhelm install currant charts/currant --set image.repo=x\n```": "the chart has no value image.repo",
    "```sh\npip install './core[embeded]'\n```": "there is no extra embeded",
    "```sh\ne2e/cluster upp\n```": "e2e/cluster has no command upp",
    "```sh\ncurrrant list\n```": "no test knows the program currrant",
    "```yaml\nkind: WorkerPool\nspec: {queues: [a], modules: [m], image: i, queue: b}\n```": "'queue' was unexpected",
    "```yaml\nkind: Workflow\nspec: {function: f, concurrency: {limit: many}}\n```": "'many' is not of type 'integer'",
    "```yaml\ndatabase: {secretRef: {name: x, kee: y}}\n```": "'kee' was unexpected",
    "```yaml\na: [\n```": "while parsing a flow node",
    "```json\n{'a': 1}\n```": "Expecting property name",
    "```sql\nselect 1\n```": "its last statement has no ;",
    "```dockerfile\nFORM x\n```": "FORM is no instruction",
    "```pyhton\nx\n```": "no test knows the language 'pyhton'",
    "<!-- skp: it is long -->\n```sh\ntrue\n```": "the comment before it says 'skp'",
}


@pytest.mark.parametrize("planted", PLANTED, ids=PLANTED.values())
def test_a_broken_block_is_found(planted: str) -> None:
    (block,) = find(Path("docs/README.md"), f"A page.\n\n{planted}\n")
    assert PLANTED[planted] in "\n".join(problems(block))


def test_a_block_knows_its_line_its_comment_and_its_file() -> None:
    page = "# A page\n\n<!-- skip: it needs a cluster -->\n```sh\ntrue\n```\n\n`shop.py`:\n\n```python\nx = 1\n```\n\n1. list\n   ```sql\n   select 1;\n   ```\n"
    shell, program, listed = find(Path("docs/README.md"), page)
    assert (shell.line, shell.note("skip"), shell.file) == (5, "it needs a cluster", None)
    assert (program.line, program.note("skip"), program.file) == (11, None, "shop.py")
    assert listed.text == "select 1;\n"


def typed_blocks() -> list[Block]:
    """The blocks that are programs, or parts of one."""
    return [
        block for block in BLOCKS if block.language == "python" and block.page not in SIGNATURES and not block.notes
    ]


MYPY = """
[mypy]
check_untyped_defs = True
ignore_missing_imports = True
# `...` stands for a body.
disable_error_code = empty-body
cache_dir = .mypy_cache/pages

# Others' packages would take most of the time.
[mypy-asyncpg.*,fastapi.*,psycopg.*,pydantic.*,sqlalchemy.*]
follow_imports = skip
"""


def mypy_says(directory: Path, files: list[Path], path: list[Path]) -> str:
    """The output of mypy for files, with modules in these directories. Its settings go to `directory`."""
    settings = directory / "mypy.ini"
    settings.write_text(MYPY)
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, [*path, CHECKOUT / "core" / "python"]))}
    command = [sys.executable, "-m", "mypy", f"--config-file={settings}", "--no-error-summary", *map(str, files)]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True).stdout


def as_module(block: Block) -> str:
    """The text of a block for a type checker, which knows `await` only in functions."""
    tree = compile(block.text, str(block), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waits = any(
        isinstance(node, ast.Await)
        for statement in tree.body
        if not isinstance(statement, DEFINITIONS)
        for node in ast.walk(statement)
    )
    return f"async def _block() -> None:\n{textwrap.indent(block.text, '    ')}" if waits else block.text


def test_a_type_checker_has_nothing_against_the_programs_of_the_pages(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="only the environment for development has mypy")
    alone, modules = [], {}
    for number, block in enumerate(typed_blocks()):
        file = tmp_path / f"{block.page.stem.lower().replace('-', '_')}_{number}.py"
        file.write_text(as_module(block))
        if block.file:
            home = modules.setdefault(block.page, tmp_path / f"modules_of_{number}")
            (home / block.file).parent.mkdir(parents=True, exist_ok=True)
            (home / block.file).write_text(block.text)
        if any(f"from {module} import" in block.text or f"import {module}" in block.text for module in block.modules):
            assert mypy_says(tmp_path, [file], [modules[block.page]]) == "", block
        else:
            alone.append(file)
    assert mypy_says(tmp_path, alone, []) == ""


def test_a_type_checker_finds_an_option_that_does_not_exist(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="only the environment for development has mypy")
    program = """from currant import task

@task(retries=3)
async def send(to: str) -> None: ...

await send.options(dellay=1).queue(5)
"""
    (block,) = find(Path("docs/README.md"), f"```python\n{program}```\n")
    (tmp_path / "planted.py").write_text(as_module(block))
    said = mypy_says(tmp_path, [tmp_path / "planted.py"], [])
    assert 'argument "dellay"' in said
    assert 'incompatible type "int"; expected "str"' in said
