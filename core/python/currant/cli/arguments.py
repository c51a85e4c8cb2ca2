"""Arguments and options that several commands take."""

from __future__ import annotations

import uuid
from datetime import datetime

import click

from currant._base.durations import parse_duration
from currant.cli.functions import Mistake

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
modules_option = click.option("-m", "--module", "modules", multiple=True, help="Import this module; may be repeated.")
concurrency_option = click.option("--concurrency", type=click.IntRange(1), help="Tasks at a time.")


def _parse_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise Mistake(f"{value} is no id of an execution; `currant list` shows them") from None


id_argument = click.argument("id", callback=_parse_id)


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise Mistake(f"{parameter.opts[0]}: {error}") from None


def moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else datetime.fromisoformat(value)
    except ValueError:
        how = "write a time such as 2026-01-31T10:00:00+01:00"
        raise Mistake(f"{parameter.opts[0]}: {how}, not {value!r}") from None
