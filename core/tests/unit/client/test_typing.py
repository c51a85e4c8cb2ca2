"""What a type checker knows of tasks and workflows, asked of mypy itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import currant

pytest.importorskip("mypy", reason="only the environment for development has mypy")

SAMPLE = """
from dataclasses import dataclass
import asyncio
from currant import Handle, Retry, get_handle, task, workflow

@dataclass
class Receipt:
    id: str

@task
async def charge(order: str, amount: int = 1) -> Receipt:
    return Receipt(order)

@task(queue="mail", retry=Retry(max_attempts=2), timeout=None)
def mail(to: str) -> bool:
    return True

@task(retries=3, priority=7)
async def ship(order: str, *, fast: bool) -> list[str]:
    return []

@workflow
async def plain(order: str) -> Receipt:
    reveal_type(await charge.run(order))  # currant.Receipt
    reveal_type(await mail.run("ann"))  # bool
    a, b = await asyncio.gather(charge.run(order, 2), ship.run(order, fast=True))
    reveal_type(a)  # currant.Receipt
    reveal_type(b)  # list[str]
    return a

@workflow(version=2, timeout=60)
async def versioned(order: str) -> int:
    return 1

async def client() -> None:
    reveal_type(await charge.queue("o"))  # currant.client.Handle[currant.Receipt]
    reveal_type(await (await plain.queue("o")).result(timeout=3))  # currant.Receipt
    reveal_type(versioned.queue_sync("o"))  # currant.client.Handle[int]
    reveal_type(versioned.queue_sync("o").result_sync())  # int
    reveal_type(await mail.options(delay=3).queue("ann"))  # currant.client.Handle[bool]
    reveal_type(await ship.queue_many([("o",), {"order": "o", "fast": True}]))  # list[currant.client.Handle[list[str]]]
    reveal_type(await charge("o"))  # currant.Receipt
    reveal_type(mail("ann"))  # bool
    reveal_type(await versioned("o"))  # int
    reveal_type(await (await plain.queue("o")).status())  # str

async def mistakes() -> None:
    await charge.queue(5)  # error: arg-type
    await charge.queue()  # error: call-arg
    charge.queue_sync("o", amount="x")  # error: arg-type
    await mail.run("ann", "bob")  # error: call-arg
    await ship.run("o")  # error: call-arg
    mail.options(queue=5)  # error: arg-type
    mail.options(colour="red")  # error: call-arg
    mail.options(retries="3")  # error: arg-type
    task(delay=3)  # error: call-overload
    task(queue=5)  # error: call-overload
    workflow(versions=2)  # error: call-overload
    workflow(replay_check="name")  # error: call-overload

@workflow  # error: arg-type
def not_async(order: str) -> int:
    return 1
"""


def test_mypy_knows_arguments_and_results(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    package = Path(currant.__file__).parent.parent
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*command, str(sample)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"MYPYPATH": str(package), "PATH": ""},
    )
    lines = SAMPLE.splitlines()
    expected = {}
    for number, line in enumerate(lines, 1):
        _, mark, comment = line.partition("  # ")
        if mark:
            expected[number] = comment.replace("currant.Receipt", "sample.Receipt")
    told: dict[int, str] = {}
    for number, kind, message in re.findall(r"^sample\.py:(\d+): (\w+): (.*)$", done.stdout, re.MULTILINE):
        if revealed := re.fullmatch(r'Revealed type is "(.*)"', message):
            told[int(number)] = revealed[1].replace("builtins.", "")
        elif kind == "error":
            told[int(number)] = "error: " + message.rpartition("[")[2].rstrip("]")
    assert told == expected, done.stdout + done.stderr
