"""The blocks of Python and SQL in the pages run, with a database."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from blocks import FOLLOWED, SIGNATURES, Block, all_blocks, find
from support import TESTS, child_environment

RUN = [block for block in all_blocks() if block.page not in (*SIGNATURES, *FOLLOWED) and block.note("skip") is None]
PROGRAMS = [block for block in RUN if block.language == "python"]
STATEMENTS = [block for block in RUN if block.language == "sql"]
UUID = re.compile(r"'([0-9a-f]{8}-[0-9a-f-]{27})'")


def pages_of(blocks: list[Block]) -> list[Path]:
    return sorted({block.page for block in blocks})


def run_programs(blocks: list[Block], directory: Path, database: str) -> subprocess.CompletedProcess[str]:
    """Run blocks of one page, one after the other in one process. A block with a name is a module for those after it."""
    files = []
    for number, block in enumerate(blocks):
        file = directory / (block.file or f"block_{number}_at_{block.line}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
        files.append(file)
    command = [sys.executable, str(TESTS / "run_blocks.py"), *map(str, files)]
    return subprocess.run(
        command,
        cwd=directory,
        env=child_environment(database, PYTHONSAFEPATH=""),
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("page", pages_of(PROGRAMS), ids=str)
def test_the_programs_of_a_page_run(page: Path, database: str, tmp_path: Path) -> None:
    blocks = [block for block in PROGRAMS if block.page == page]
    done = run_programs([block for block in blocks if block.note("raises") is None], tmp_path, database)
    assert done.returncode == 0, done.stdout + done.stderr
    for number, block in enumerate(blocks):
        error = block.note("raises")
        if error is not None:
            failed = run_programs([block], tmp_path / str(number), database)
            assert re.search(rf"^{error}: ", failed.stderr, re.MULTILINE), failed.stderr


def run_statements(blocks: list[Block], database: str) -> None:
    """Run blocks of SQL in one transaction that is rolled back. The executions that they name by id are there."""
    with psycopg.connect(database) as connection:
        for id in {id for block in blocks for id in UUID.findall(block.text)}:
            options = f'{{"id": "{id}", "kind": "workflow"}}'
            connection.execute("select currant.enqueue('a.workflow', '{}', %s::jsonb)", [options])
        for block in blocks:
            try:
                connection.execute(block.text.encode())
            except psycopg.Error as error:
                pytest.fail(f"{block}: {error}")
        connection.rollback()


@pytest.mark.parametrize("page", pages_of(STATEMENTS), ids=str)
def test_the_statements_of_a_page_run(page: Path, database: str) -> None:
    run_statements([block for block in STATEMENTS if block.page == page], database)


def test_a_planted_statement_that_fails_is_found(database: str) -> None:
    blocks = find(Path("docs/README.md"), "```sql\nselect * from currant.rums;\n```\n")
    with pytest.raises(pytest.fail.Exception, match=r'README.md:2: relation "currant.rums" does not exist'):
        run_statements(blocks, database)


def test_a_planted_program_that_fails_is_found(database: str, tmp_path: Path) -> None:
    page = "`shop.py`:\n\n```python\nfrom currant import task\n\n\n@task\nasync def double(n: int) -> int:\n    return 2 * n\n```\n\n```python\nfrom shop import double\n\nassert await (await double.queue(2)).result(timeout=30) == 5\n```\n"
    done = run_programs(find(Path("docs/README.md"), page), tmp_path, database)
    assert done.returncode == 1
    assert "shop.py has run" in done.stdout
    assert "AssertionError" in done.stderr
