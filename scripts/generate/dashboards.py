"""The Grafana dashboard of the chart, from charts/dashboard: Helm cannot run Python, so its JSON is committed."""

from __future__ import annotations

from charts.dashboard.build import build
from scripts.generate.outputs import Outputs


def outputs() -> Outputs:
    """The dashboard as the chart has it."""
    return {"charts/currant/files/dashboards/currant.json": build()}
