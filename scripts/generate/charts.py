"""The golden files of the chart (charts/tests/golden), and the table of values in its README."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from charts.tests import helm
from scripts.generate import values_file
from scripts.generate.outputs import CHECKOUT, Missing, Outputs, between

README = "charts/currant/README.md"
BEGIN = "<!-- Written by make generate from values.yaml: -->"
END = "<!-- Written by hand again. -->"


def golden_files() -> Outputs:
    """The chart, rendered in each mode. Raises `Missing` without a helm."""
    if helm.find_helm() is None:
        raise Missing("the chart's golden files", "put helm on the PATH, or let e2e/cluster build make one")
    with ThreadPoolExecutor() as pool:
        rendered = dict(zip(helm.MODES, pool.map(helm.render, helm.MODES), strict=True))
    return {f"charts/tests/golden/{mode}.yaml": helm.shortened(found) for mode, found in rendered.items()}


def values_table() -> Outputs:
    """The chart's README with a row for each value."""
    values = values_file.parse((CHECKOUT / "charts/currant/values.yaml").read_text(encoding="utf-8"))
    rows = [f"| `{value.path}` | {value.shown} | {value.comment} |" for value in values]
    lines = ["| value | default | meaning |", "|---|---|---|", *rows]
    return {README: between(README, BEGIN, END, ["", *lines, ""])}
