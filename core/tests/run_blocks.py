"""Run the blocks of Python of one page, each as a module of its own, in their order: `run_blocks.py FILE...`.

A block that awaits at its top level has a worker for all functions of the page, and so has one with
`if __name__ == "__main__":`, which is run as a program afterwards.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from types import ModuleType

import currant


async def run(file: Path) -> None:
    """Run one block."""
    source = file.read_text(encoding="utf-8")
    code = compile(source, file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    sys.modules[file.stem] = module
    waiting = eval(code, module.__dict__)
    if inspect.iscoroutine(waiting):
        async with worker():
            await waiting
    if '__name__ == "__main__"' in source:
        async with worker():
            await run_program(file)
    print(f"{file.name} has run", flush=True)


def worker() -> currant.Worker:
    """A worker for the functions of the blocks so far."""
    return currant.Worker(queues=["default", *filter(None, (each.queue_name for each in currant.registry.values()))])


async def run_program(file: Path) -> None:
    """Run a block as a program. Its functions have the names that they have here."""
    program = await asyncio.create_subprocess_exec(sys.executable, str(file))
    if await program.wait() != 0:
        raise SystemExit(f"{file.name} ended with {program.returncode}")


def main(files: list[Path]) -> None:
    """Run the files."""
    for file in files:
        asyncio.run(run(file))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
