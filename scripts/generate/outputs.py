"""Generators: what a file of the checkout is to hold, compared with what it holds, or written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHECKOUT = Path(__file__).resolve().parents[2]
HOW = "run make generate, and commit what it wrote"

# Texts by the path of their file in the checkout, with / between directories.
Outputs = dict[str, str]


class Generator(Protocol):
    """One kind of generated files."""

    @property
    def name(self) -> str:
        """The name by which the command line chooses it."""
        ...

    def write(self) -> None:
        """Write the files."""
        ...

    def problems(self) -> Iterator[str]:
        """A line for each file that is not what `write` would write."""
        ...


class Missing(Exception):
    """The machine lacks a program that a generator needs. `what` is not generated then; `how` says how to get it."""

    def __init__(self, what: str, how: str) -> None:
        super().__init__(f"{what}: {how}")
        self.what, self.how = what, how


@dataclass(frozen=True)
class Texts:
    """Files whose whole text a function gives. `owned` are patterns of files that nothing else writes: others go."""

    name: str
    outputs: Callable[[], Outputs]
    owned: tuple[str, ...] = ()
    checkout: Path = CHECKOUT

    def write(self) -> None:
        """Write what differs, remove what is no longer generated. Raises `Missing`."""
        outputs = self.outputs()
        for path, text in outputs.items():
            if self._read(path) != text:
                (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
                (self.checkout / path).write_text(text, encoding="utf-8")
                print(f"generate: {path} written")
        for path in self._left_over(outputs):
            (self.checkout / path).unlink()
            print(f"generate: {path} removed")

    def problems(self) -> Iterator[str]:
        """A line for each difference. Raises `Missing`."""
        outputs = self.outputs()
        for path, text in outputs.items():
            found = self._read(path)
            if found is None:
                yield f"{path} is missing"
            elif found != text:
                yield f"{path} differs from what is generated, first in line {first_difference(found, text)}"
        for path in self._left_over(outputs):
            yield f"{path} is not generated any more"

    def _read(self, path: str) -> str | None:
        file = self.checkout / path
        return file.read_text(encoding="utf-8") if file.exists() else None

    def _left_over(self, outputs: Outputs) -> list[str]:
        there = {
            file.relative_to(self.checkout).as_posix() for pattern in self.owned for file in self.checkout.glob(pattern)
        }
        return sorted(there - outputs.keys())


def first_difference(one: str, other: str) -> int:
    """The number of the first line in which two texts differ, from 1."""
    lines = zip(one.splitlines(), other.splitlines(), strict=False)
    same = next((number for number, (left, right) in enumerate(lines) if left != right), None)
    return 1 + (min(one.count("\n"), other.count("\n")) if same is None else same)


def between(path: str, begin: str, end: str, lines: list[str]) -> str:
    """The text of a file with these lines between the line that holds `begin` and the one that holds `end`."""
    found = (CHECKOUT / path).read_text(encoding="utf-8").split("\n")
    marks = [[number for number, line in enumerate(found) if mark in line] for mark in (begin, end)]
    if [len(numbers) for numbers in marks] != [1, 1] or marks[0][0] > marks[1][0]:
        raise SystemExit(f"error: {path}: write one line with {begin!r}, and one with {end!r} after it")
    (first,), (last,) = marks
    return "\n".join([*found[: first + 1], *lines, *found[last:]])


def run(*command: str, directory: Path = CHECKOUT, environment: dict[str, str] | None = None) -> str:
    """The standard output of a command. A failure ends the program with what the command said."""
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout
