"""Run the blocks of Python of one page, each as a module of its own, in their order: `run_blocks.py FILE...`.

A block that awaits at its top level has a worker for all functions of the page. One with `if __name__ == "__main__":` is
run as a program afterwards.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import currant


async def run(file: Path) -> None:
    """Run one block."""
    code = compile(file.read_text(encoding="utf-8"), file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    sys.modules[file.stem] = module
    waiting = eval(code, module.__dict__)
    if inspect.iscoroutine(waiting):
        queues = {function.queue_name or "default" for function in currant.registry.values()}
        async with currant.Worker(queues=[*queues, "default"]):
            await waiting


def main(files: list[Path]) -> None:
    """Run the files, and those that are programs once more."""
    for file in files:
        asyncio.run(run(file))
        if "__main__" in file.read_text(encoding="utf-8"):
            subprocess.run([sys.executable, file], check=True)
        print(f"{file.name} has run", flush=True)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
