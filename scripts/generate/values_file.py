"""The values of a chart, with the comments above them: values.yaml is the one place that describes a value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

KEY = re.compile(r"^( *)([A-Za-z]\w*):(.*)$")
COMMENT = re.compile(r"^ *# ?(.*)$")


@dataclass(frozen=True)
class Value:
    """A value by its path, or a group of values, whose default is `None` with `is_group`."""

    path: str
    comment: str
    default: Any = None
    is_group: bool = False

    @property
    def shown(self) -> str:
        """The default as a cell of a table."""
        return "" if self.is_group else f"`{flow(self.default)}`"


def parse(text: str) -> list[Value]:
    """Each value, and each group that has a comment, in the order of the file. A comment belongs to the key below it.

    A value in braces is one value, however much is in it. An empty line ends a comment that belongs to no key.
    """
    defaults, found = yaml.safe_load(text), []
    above: list[str] = []
    names: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := COMMENT.match(line):
            above.append(match[1])
            continue
        if match := KEY.match(line):
            indent, name, rest = len(match[1]), match[2], match[3].strip()
            names = [*(entry for entry in names if entry[0] < indent), (indent, name)]
            path, comment = ".".join(entry[1] for entry in names), " ".join(above)
            if rest:
                found.append(Value(path, comment, at(defaults, path)))
            elif comment:
                found.append(Value(path, comment, is_group=True))
        above = []
    return found


def at(values: Any, path: str) -> Any:
    """The value at a path."""
    for name in path.split("."):
        values = values[name]
    return values


def flow(value: Any) -> str:
    """A value in one line, as one would write it in values.yaml."""
    if isinstance(value, str):
        return value if value and yaml.safe_load(value) == value else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(below)}" for name, below in value.items()) + "}"
    return f"[{', '.join(flow(below) for below in value)}]" if isinstance(value, list) else json.dumps(value)
