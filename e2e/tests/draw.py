"""Draw a recording as an SVG: `python -m e2e.tests.draw TITLE RECORDING.csv DRAWING.svg`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from currant.scaling.chart import draw
from currant.scaling.simulation import Result, Sample


def read(path: Path) -> Result:
    """The rows of a recording as a result of the simulation, which the chart draws."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    samples = tuple(
        Sample(row["time"], int(row["ready"]), int(row["running"]), int(row["pods"]), int(row["draining"]))
        for row in rows
    )
    return Result((), 0.0, 0, 0, 0, max((sample.pods for sample in samples), default=0), samples)


def main(title: str, recording: str, drawing: str) -> None:
    """Draw the recording."""
    Path(drawing).write_text(draw(title, [("as recorded", read(Path(recording)))]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
