"""docs/reference/settings.md: the environment variables, from the settings' own declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import Field, fields
from typing import Any

from currant import Settings
from currant.cli.run_worker import LOG_FORMAT, LOG_LEVEL, LogSetting
from scripts.generate.outputs import Outputs

PAGE = "docs/reference/settings.md"
HEAD = """# Settings

<!-- Written by `make generate` from core/python/currant/settings.py and operator/currant_operator/settings.py. -->

Settings are environment variables. Durations are in seconds. A variable that is not set, or empty, has its default.
A bad value is an error in one line, which names the variable and says what to write: `SettingsError` in a program,
exit code 2 at the command line.
"""
WORKER_ONLY = ("heartbeat_", "poll_", "max_concurrent", "shutdown_", "max_hot", "long_wait", "http_port", "build_id")
BY_OPERATOR = ("pool", "pod_name", "pod_uid")
LOGS = """## Logs of the command line

| variable | default | values | |
|---|---|---|---|"""
OPERATOR = """
## The operator

The operator reads variables, and flags of the same meaning, which win: `currant-operator --help` prints this table.
The chart sets them from its values ([charts/currant](../../charts/currant/README.md)).

| variable | flag | default | |
|---|---|---|---|"""


def outputs() -> Outputs:
    """The page."""
    from currant_operator.settings import OPTIONS

    found = {entry.name: entry for entry in fields(Settings)}
    worker = [entry for name, entry in found.items() if name.startswith(WORKER_ONLY)]
    pods = [found[name] for name in BY_OPERATOR]
    everywhere = [entry for entry in found.values() if entry not in worker and entry not in pods]
    lines = [
        HEAD,
        *_table("Programs and workers", everywhere),
        *_table("Workers only", worker),
        *_table("Workers in Kubernetes", pods),
        LOGS,
        *(_log_row(setting) for setting in (LOG_LEVEL, LOG_FORMAT)),
        OPERATOR,
        *(
            f"| `{option.variable}` | `{option.flag}` | {_code(option.default)} | {_cell(option.help)} |"
            for option in OPTIONS
        ),
    ]
    return {PAGE: "\n".join(lines) + "\n"}


def _table(title: str, entries: Iterable[Field[Any]]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| variable | default | value | what it is |"
    yield "|---|---|---|---|"
    for entry in entries:
        found = entry.metadata
        yield f"| `{found['variable']}` | {_default(entry)} | {found['wanted']} | {found['about']} |"
    yield ""


def _default(entry: Field[Any]) -> str:
    """The default as one writes it in the variable."""
    shown = entry.metadata["shown"]
    if shown is not None:
        return str(shown)
    if entry.default is None:
        return "none" if "none" in entry.metadata["wanted"] else ""
    return f"{entry.default:g}" if isinstance(entry.default, float) else str(entry.default)


def _log_row(setting: LogSetting) -> str:
    values = ", ".join(f"`{value}`" for value in setting.known)
    return f"| `{setting.variable}` | {setting.default} | {values} | {setting.about} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
