"""The charts of docs/operate/autoscaling.md: simulated loads, and one load as it was recorded on a real cluster."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scripts.generate.outputs import CHECKOUT, Outputs, run

PLACE = "docs/operate/charts"
SIMULATED = ("burst", "periodic")
RECORDED = {"cluster-burst": "2,000 tasks of 1 s at once, on a real cluster"}


def outputs() -> Outputs:
    """Every chart."""
    # Imported here, because these modules import the defaults that another generator writes.
    from currant.scaling.chart import draw
    from e2e.tests.draw import read

    found = {f"{PLACE}/scale-{load}.svg": simulated(load) for load in SIMULATED}
    for name, title in RECORDED.items():
        recording = read(CHECKOUT / PLACE / f"{name}.csv")
        found[f"{PLACE}/{name}.svg"] = draw(title, [("as recorded", recording)])
    return found


def simulated(load: str) -> str:
    """The chart of a load that `currant scale simulate` knows: its first seed, beside KEDA."""
    with tempfile.TemporaryDirectory() as directory:
        drawing = Path(directory) / "drawing.svg"
        command = (str(Path(sys.executable).with_name("currant")), "scale", "simulate", load, "--keda", "--seeds", "1")
        run(*command, "--svg", str(drawing))
        return drawing.read_text(encoding="utf-8")
