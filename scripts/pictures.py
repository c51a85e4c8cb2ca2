"""The pictures of terminals in docs/pictures: `python -m scripts.pictures` runs the commands and draws what they print.

`make demo` leaves a database behind, so the second picture is `currant show` of one of its orders. Ids and times differ
each time, so `make generate` leaves the pictures alone: run this when the output of a command has changed.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from scripts.generate.outputs import CHECKOUT

PICTURES = CHECKOUT / "docs" / "pictures"
COLUMNS = 122
OVERWRITTEN = re.compile(r"[^\n]*\x1b\[2K")  # a line of progress that the terminal has erased
CONTROL = re.compile(r"\x1b\[\??\d*[hlA-G]|\r")
FONT_OF_A_HOST = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
PASSWORD = re.compile(r"(postgresql://\w+:)\w+@")


def main() -> None:
    """Draw both pictures, and stop the demo's database."""
    PICTURES.mkdir(exist_ok=True)
    demo = output([sys.executable, "-m", "examples.demo"])
    draw("make demo", demo, PICTURES / "demo.svg")
    url, order = re.findall(r"WORKFLOWS_DATABASE_URL=(\S+)", demo)[0], re.findall(r"currant show (\S+)", demo)[0]
    shown = output([sys.executable, "-m", "currant", "show", order], WORKFLOWS_DATABASE_URL=url)
    draw("currant show ID", shown, PICTURES / "show.svg")
    subprocess.run([sys.executable, "-m", "currant.embedded", "stop", ".currant/demo"], cwd=CHECKOUT, check=True)


def output(command: list[str], **environment: str) -> str:
    """Return the output of a command on a terminal of `COLUMNS` columns, with its colours."""
    size = {"COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    main_end, command_end = pty.openpty()
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **size, **environment},
        stdin=command_end,
        stdout=command_end,
        stderr=command_end,
    ) as process:
        os.close(command_end)
        printed = b"".join(iter(lambda: _read(main_end), b""))
    os.close(main_end)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{printed.decode()}")
    return CONTROL.sub("", OVERWRITTEN.sub("", printed.decode().replace("\r\n", "\n")))


def _read(end: int) -> bytes:
    """The next bytes of a terminal; nothing once its programs have ended."""
    try:
        return os.read(end, 65536)
    except OSError:
        return b""


def draw(title: str, text: str, picture: Path) -> None:
    """Write the picture of a terminal with this text."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ {title}", style="bold green"))
    console.print(Text.from_ansi(PASSWORD.sub(r"\1...@", text).rstrip()))
    svg = FONT_OF_A_HOST.sub("", console.export_svg(title=title, unique_id=picture.stem))
    picture.write_text(svg.replace("<text ", '<text xml:space="preserve" '), encoding="utf-8")


if __name__ == "__main__":
    main()
