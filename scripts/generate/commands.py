"""The reference of the command line, docs/reference/commands.md, from the commands' own help."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from currant.cli import cli
from scripts.generate.outputs import Outputs

PAGE = "docs/reference/commands.md"
HEAD = """# Commands

Every command of `currant`, as `currant COMMAND --help` shows it. `make generate` writes this page.

Exit code 0: done; 1: the execution asked about failed or does not exist, or `doctor` found something; 2: wrong usage.
"""


def outputs() -> Outputs:
    """The page."""
    return {PAGE: "\n".join([HEAD, *_commands(cli, "currant")]).rstrip() + "\n"}


def _commands(group: click.Group, path: str) -> Iterator[str]:
    """The lines for the commands of a group, and for those of the groups in it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _command(command, f"{path} {name}")
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def _command(command: click.Command, path: str) -> Iterator[str]:
    usage = command.collect_usage_pieces(click.Context(command))
    yield f"## {path}\n\n`{' '.join([path, *usage])}`\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        yield "| option | |\n|---|---|"
        yield from (_option(option) for option in options)
        yield ""


def _option(option: click.Option) -> str:
    names, help = option.get_help_record(click.Context(click.Command(""))) or ("", "")
    cells = [cell.replace("|", "\\|") for cell in (f"`{names}`", " ".join(help.split()))]
    return f"| {' | '.join(cells)} |"
