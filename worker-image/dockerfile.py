"""An image's configuration, as its Dockerfile gives it: user, entry point, environment ...

Only the instructions of its last stage that change no file are read, so that an image that is put together without an
engine has the very configuration of the one that an engine builds.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FILES = ("RUN", "COPY", "ADD", "SHELL")  # the caller does these itself
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")


class DockerfileError(Exception):
    """A Dockerfile has an instruction that this reader does not know; the message names it."""


@dataclass
class Settings:
    """The configuration that one stage adds to that of its base. Empty means: as the base has it."""

    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    plain: dict[str, Any] = field(default_factory=dict)  # User, WorkingDir, Entrypoint, Cmd, StopSignal

    def applied_to(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The `config` of an OCI image configuration: the base's with these settings."""
        config = dict(base)
        inherited = dict(entry.split("=", 1) for entry in base.get("Env", [DEFAULT_PATH]))
        config["Env"] = [f"{name}={value}" for name, value in {**inherited, **self.environment}.items()]
        labels = {**base.get("Labels", {}), **self.labels}
        ports = {**base.get("ExposedPorts", {}), **{port: {} for port in self.ports}}
        config.update({key: value for key, value in (("Labels", labels), ("ExposedPorts", ports)) if value})
        if "Entrypoint" in self.plain:  # as engines do: the command belongs to the entry point
            config.pop("Cmd", None)
        config.update(self.plain)
        return config


def read(text: str, arguments: Mapping[str, str]) -> Settings:
    """The settings of a Dockerfile's last stage. `arguments` are build arguments. Raises `DockerfileError`."""
    shared: dict[str, str] = {}  # what stands before the first FROM; a stage has it once it names it
    scope = shared
    settings = Settings()
    for instruction, rest in _instructions(text):
        if instruction == "FROM":
            scope, settings = {}, Settings()
        elif instruction == "ARG":
            name, _, default = rest.partition("=")
            default = _expanded(default, scope).strip("\"'") or shared.get(name, "")
            scope[name] = arguments.get(name, default)
        elif instruction not in FILES:
            _apply(settings, instruction, _expanded(rest, {**scope, **settings.environment}))
    return settings


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        yield instruction.upper(), rest.strip()


def _expanded(text: str, scope: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: scope.get(match[1] or match[3], "") or match[2] or "", text)


def _apply(settings: Settings, instruction: str, rest: str) -> None:
    if instruction == "ENV":
        settings.environment.update(_pairs(rest))
    elif instruction == "LABEL":
        settings.labels.update(_pairs(rest))
    elif instruction == "EXPOSE":
        settings.ports += [port if "/" in port else f"{port}/tcp" for port in rest.split()]
    elif instruction in ("ENTRYPOINT", "CMD"):
        settings.plain["Entrypoint" if instruction == "ENTRYPOINT" else "Cmd"] = _words(instruction, rest)
    elif instruction == "USER":
        settings.plain["User"] = rest
    elif instruction == "WORKDIR":
        settings.plain["WorkingDir"] = rest
    elif instruction == "STOPSIGNAL":
        settings.plain["StopSignal"] = rest
    else:
        raise DockerfileError(f"{instruction} is not known to worker-image/dockerfile.py: add it there")


def _pairs(rest: str) -> dict[str, str]:
    pairs = {}
    for word in shlex.split(rest):
        name, equals, value = word.partition("=")
        if not equals:
            raise DockerfileError(f"write NAME=VALUE, not {word!r}")
        pairs[name] = value
    return pairs


def _words(instruction: str, rest: str) -> list[str]:
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if not isinstance(words, list):
        raise DockerfileError(f'write {instruction} as a list, ["like", "this"]: a shell in between swallows signals')
    return words
