"""Commands in the pages' blocks of shell: they parse, and each names what is there.

A command of ours is parsed by its own parser. Of others' programs, the files, targets and values of ours that they are given are checked.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import tree_sitter
import yaml

from currant.cli import cli
from currant.cli.functions import Mistake
from pages import CHECKOUT

ID = "01936b2e-7b5c-7000-8000-000000000000"
# What stands for a value that readers have to fill in, or that a shell does.
PLACEHOLDERS = {r"\$\w+|\$\{\w+\}": ID, r"\$\(.*\)": ID, r"\bID\b": ID, r"(?<=\.)\.\.|\.\.\.": "x"}
# Programs of which nothing is checked but that the block parses.
OTHERS = {
    "a shell's own": {
        ".",
        "cd",
        "echo",
        "eval",
        "export",
        "kill",
        "set",
        "sleep",
        "source",
        "[",
        "test",
        "true",
        "wait",
    },
    "everybody's": {"cat", "curl", "mkdir", "python3", "sudo", "useradd"},
    "Rust's": {"cargo", "uvx"},
    "Postgres'": {"createdb", "createuser", "pg_dump", "pg_restore", "psql"},
}
PLAIN = {name for names in OTHERS.values() for name in names}
KUBECTL = set(
    "annotate apply auth cordon create cp debug delete describe diff drain edit exec explain expose get label logs patch port-forward "
    "rollout run scale set top uncordon wait".split()
)
HELM = {"install": 2, "upgrade": 2, "template": 2, "test": 1, "uninstall": 1, "rollback": 1}
KIND = {("create", "cluster"), ("load", "docker-image"), ("load", "image-archive"), ("delete", "cluster")}
CHART = CHECKOUT / "charts" / "currant"


def shell_problems(text: str, directory: Path, parse_only: bool = False) -> Iterator[str]:
    """What is wrong with a block of shell on a page of this directory."""
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    if checked.returncode != 0:
        yield checked.stderr.strip()
    if checked.returncode != 0 or parse_only:
        return
    for words in commands(text):
        yield from (f"{' '.join(words)}: {problem}" for problem in command_problems(words, directory))


def commands(text: str) -> list[list[str]]:
    """Every simple command in a block, those in substitutions and loops too, as its words."""
    import tree_sitter_bash

    source = text.encode()
    root = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language())).parse(source).root_node
    found: list[list[str]] = []

    def walk(node: tree_sitter.Node) -> None:
        if node.type == "command":
            children = [child for child in node.children if child.type not in ("variable_assignment", "comment")]
            found.append([word(child) for child in children if "redirect" not in child.type])
        for child in node.children:
            walk(child)

    walk(root)
    return [words for words in found if words]


def word(node: tree_sitter.Node) -> str:
    """A word without the quotes around it or its parts."""
    text = (node.text or b"").decode()
    if node.type in ("string", "raw_string"):
        return text[1:-1]
    return re.sub(r"""^(--?[\w.-]+=)?(['"])(.*)\2$""", r"\1\3", text, flags=re.DOTALL)


def filled(words: list[str]) -> list[str]:
    """The words with something in place of what a reader fills in."""
    for pattern, value in PLACEHOLDERS.items():
        words = [re.sub(pattern, value, each) for each in words]
    return words


def command_problems(words: list[str], directory: Path) -> Iterator[str]:
    """What is wrong with a command."""
    name, arguments = words[0], words[1:]
    if name in CHECKS:
        yield from CHECKS[name](arguments, directory)
    elif "/" in name:
        yield from program_problems(name, arguments, directory)
    elif name not in PLAIN:
        yield f"no test knows the program {name}"


def currant_problems(arguments: list[str], _directory: Path) -> Iterator[str]:
    """`currant ...`, by its own parser. Files need not be there."""
    command: click.Command = cli
    context: click.Context | None = None
    rest = filled(arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click.Path, "convert", lambda _self, value, *_: value)
        patch.setattr(click.File, "convert", lambda _self, value, *_: value)
        try:
            while True:
                context = command.make_context(command.name or "currant", rest, parent=context)
                if not isinstance(command, click.Group):
                    return
                _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
                assert found is not None
                command = found
        except click.exceptions.Exit:  # --help, --version
            return
        except click.ClickException as error:
            yield error.format_message()
        except Mistake as error:
            yield str(error)


def make_problems(arguments: list[str], _directory: Path) -> Iterator[str]:
    """`make TARGET... VARIABLE=...`: the targets exist."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for target in arguments:
        if "=" not in target and not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE):
            yield f"the Makefile has no target {target}"


def kubectl_problems(arguments: list[str], directory: Path) -> Iterator[str]:
    """`kubectl ...`: a verb that exists, files that exist, JSON that is JSON, and what a pod runs."""
    ours, dashes, inner = split(arguments)
    verb = next((each for each in skip_options(ours, ("-n", "--namespace", "--context"))), "")
    if verb not in KUBECTL:
        yield f"kubectl has no verb {verb!r}"
    for file in values_of(ours, "-f", "--filename"):
        yield from file_problems(file, directory)
    for patch in [*values_of(ours, "-p", "--patch"), *values_of(ours, "--overrides")]:
        try:
            json.loads(patch)
        except ValueError as error:
            yield f"no JSON: {error}"
    if dashes:
        yield from command_problems(inner if verb == "exec" else ["currant", *inner], directory)


def helm_problems(arguments: list[str], directory: Path) -> Iterator[str]:
    """`helm ...`: a verb with its arguments, the chart, and values that the chart has."""
    plain = list(skip_options(arguments, ("-n", "--namespace", "--set", "-f", "--values", "--timeout", "--version")))
    verb, given = (plain[0], plain[1:]) if plain else ("", [])
    if verb not in HELM or len(given) < HELM[verb]:
        yield f"helm {verb} takes {HELM.get(verb, 'other')} arguments"
    elif HELM[verb] == 2:
        yield from file_problems(given[1], directory)
    for file in values_of(arguments, "-f", "--values"):
        yield from file_problems(file, directory)
    for value in values_of(arguments, "--set"):
        yield from value_problems(value.partition("=")[0])


def value_problems(path: str) -> Iterator[str]:
    """A path of a value that the chart does not have."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for name in path.split("."):
        if not isinstance(values, dict) or name not in values:
            yield f"the chart has no value {path}"
            return
        values = values[name]
        if values in ({}, []):
            return  # free within


def kind_problems(arguments: list[str], _directory: Path) -> Iterator[str]:
    """`kind ...`: a command that exists."""
    if tuple(arguments[:2]) not in KIND:
        yield f"kind has no command {' '.join(arguments[:2])}"


def docker_problems(arguments: list[str], directory: Path) -> Iterator[str]:
    """`docker build -f FILE DIRECTORY`: both exist."""
    for file in values_of(arguments, "-f", "--file"):
        yield from file_problems(file, directory)


def pip_problems(arguments: list[str], directory: Path) -> Iterator[str]:
    """`pip install './core[embedded]'`: the package and its extras."""
    for each in arguments:
        found = re.fullmatch(r"(\./[\w/]+|currant)(?:\[([\w,]+)\])?", each)
        if found is None:
            continue
        project = (CHECKOUT / ("core" if found[1] == "currant" else found[1]) / "pyproject.toml").read_text("utf-8")
        for extra in filter(None, (found[2] or "").split(",")):
            if not re.search(rf"^{extra} = \[", project, re.MULTILINE):
                yield f"there is no extra {extra}"


def python_problems(arguments: list[str], directory: Path) -> Iterator[str]:
    """`python -m MODULE`: there is that module."""
    if arguments[:1] == ["-m"] and importlib.util.find_spec(arguments[1]) is None:
        yield f"there is no module {arguments[1]}"


def pytest_problems(arguments: list[str], directory: Path) -> Iterator[str]:
    """`pytest [-c FILE] PATH...`: all exist."""
    for path in [*values_of(arguments, "-c"), *skip_options(arguments, ("-c", "-k", "-n", "-m"))]:
        yield from file_problems(path, directory)


def program_problems(name: str, arguments: list[str], directory: Path) -> Iterator[str]:
    """A program by its path: one of the checkout, or of its virtual environment."""
    if name.startswith(".venv/bin/"):
        yield from command_problems([name.removeprefix(".venv/bin/"), *arguments], directory)
        return
    yield from file_problems(name, directory)
    if name == "e2e/cluster":
        known = (CHECKOUT / "e2e" / "cluster_tool" / "__main__.py").read_text(encoding="utf-8")
        if arguments and f'command("{arguments[0]}"' not in known:
            yield f"e2e/cluster has no command {arguments[0]}"


def file_problems(name: str, directory: Path) -> Iterator[str]:
    """A file that is neither in the checkout nor beside the page. One by a whole path, or in braces, is not ours."""
    if not name.startswith(("/", "~", "-", "http")) and not any(
        (place / name).exists() for place in (CHECKOUT, CHECKOUT / directory)
    ):
        yield f"there is no {name}"


def split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before `--`, whether it stands there, and what follows."""
    if "--" not in arguments:
        return arguments, False, []
    place = arguments.index("--")
    return arguments[:place], True, arguments[place + 1 :]


def values_of(arguments: list[str], *options: str) -> Iterator[str]:
    """The values of an option, as `-f FILE` or `--file=FILE`; several in one, parted by commas, stay together."""
    for place, each in enumerate(arguments):
        name, equals, value = each.partition("=")
        if each in options and place + 1 < len(arguments):
            yield arguments[place + 1]
        elif equals and name in options:
            yield value


def skip_options(arguments: list[str], with_values: tuple[str, ...]) -> Iterator[str]:
    """The arguments that are no options, nor values of these."""
    before = ""
    for each in arguments:
        if not each.startswith("-") and before not in with_values:
            yield each
        before = each


CHECKS: dict[str, Callable[[list[str], Path], Iterator[str]]] = {
    "currant": currant_problems,
    "docker": docker_problems,
    "helm": helm_problems,
    "kind": kind_problems,
    "kubectl": kubectl_problems,
    "make": make_problems,
    "pip": pip_problems,
    "pytest": pytest_problems,
    "python": python_problems,
}
