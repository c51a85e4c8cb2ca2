"""Builds the dashboard from `panels`; `make generate` writes it to charts/currant/files/dashboards/currant.json.

The result is committed, since Helm cannot run Python. A test of the operator runs every query.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as make
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizTooltipOptions
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    SortOrder,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from charts.dashboard.panels import GLANCE, ROWS, Panel

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
STAT = (4, 4)  # width and height, of 24 columns
GRAPH = (8, 8)


def targets(panel: Panel) -> list[Builder[Dataquery]]:
    """The queries of a panel."""
    return [
        prometheus.Dataquery()
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(chr(ord("A") + number))
        for number, query in enumerate(panel.queries)
    ]


def as_stat(panel: Panel) -> stat.Panel:
    """A panel that shows one number."""
    steps = [Threshold(value=None, color="green")]
    if panel.bad is not None:
        steps.append(Threshold(value=panel.bad, color="red"))
    return (
        stat.Panel()
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(make.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )


def as_graph(panel: Panel) -> timeseries.Panel:
    """A panel with lines over time."""
    graph = timeseries.Panel().fill_opacity(10).line_width(1).show_points(VisibilityMode.NEVER)
    if not panel.title.startswith("Time to"):
        graph.min(0)
    if panel.unit == "percentunit":
        graph.max(1)
    return graph.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))


class Sheet:
    """The dashboard, filled from left to right, top to bottom."""

    def __init__(self) -> None:
        self.builder = (
            make.Dashboard("Currant")
            .uid("currant")
            .tags(["currant"])
            .editable()
            .refresh("30s")
            .time("now-1h", "now")
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .links([])  # the chart adds those to pages, if it is told where they are
            .with_variable(make.DatasourceVariable("datasource").type("prometheus"))
            .with_variable(choice("namespace", "label_values(currant_pool_ready, namespace)"))
            .with_variable(choice("pool", 'label_values(currant_pool_ready{namespace=~"$namespace"}, pool)'))
        )
        self.number = 0
        self.top = 0

    def position(self, width: int, height: int, left: int) -> GridPos:
        """The position of the next panel."""
        self.number += 1
        return GridPos(h=height, w=width, x=left, y=self.top)

    def row(self, title: str, panels: tuple[Panel, ...], size: tuple[int, int]) -> None:
        """A row of panels under a title."""
        position = self.position(24, 1, 0)
        self.builder.with_row(make.Row(title).id(self.number).grid_pos(position))
        self.top += 1
        width, height = size
        columns = 24 // width
        for number, panel in enumerate(panels):
            builder = as_stat(panel) if size == STAT else as_graph(panel)
            position = self.position(width, height, number % columns * width)
            builder.id(self.number).grid_pos(position).title(panel.title).description(panel.description)
            self.builder.with_panel(builder.unit(panel.unit).datasource(SOURCE).targets(targets(panel)))
            if number % columns == columns - 1 or number == len(panels) - 1:
                self.top += height


def choice(name: str, query: str) -> make.QueryVariable:
    """A variable of which several values can be chosen; at first all are."""
    return (
        make.QueryVariable(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all", selected=True))
    )


def build() -> str:
    """The dashboard as JSON."""
    sheet = Sheet()
    sheet.row("At a glance", GLANCE, STAT)
    for title, panels in ROWS:
        sheet.row(title, panels, GRAPH)
    return JSONEncoder(sort_keys=True, indent=1).encode(sheet.builder.build()) + "\n"
