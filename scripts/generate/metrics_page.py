"""docs/reference/metrics.md: the metrics of workers, from a real worker's page, and those of the operator."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace

from currant import Client, Worker, task, workflow
from scripts.generate.fresh_database import fresh_database
from scripts.generate.outputs import Outputs

PAGE = "docs/reference/metrics.md"
HEAD = """# Metrics

<!-- Written by `make generate` from a worker's page (core/src/engine/decide/metrics) and the operator's registry. -->

What they mean together, how they are scraped, and what they cost: [observability.md](../operate/observability.md).
A histogram has the series `_bucket`, `_sum` and `_count`.

## Workers
"""
TABLE = "| metric | kind | labels | what it is |\n|---|---|---|---|"
VALUES = """
The label `function` has the names that the worker has registered. The other labels have these values:

| label | values |
|---|---|"""
OPERATOR = """
## The operator
"""


def outputs() -> Outputs:
    """The page."""
    page = workers_page()
    lines = [HEAD, TABLE, *worker_rows(page), VALUES, *label_rows(page), OPERATOR, TABLE, *operator_rows()]
    return {PAGE: "\n".join(lines) + "\n"}


def workers_page() -> str:
    """The page of a worker that serves a task and a workflow, before anything has happened."""
    with fresh_database() as url:
        return asyncio.run(_scrape(url))


@task(name="step")
async def step() -> None:
    """Do nothing: it gives the page its series."""


@workflow(name="flow")
async def flow() -> None:
    """Do nothing, too."""


async def _scrape(url: str) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    worker = Worker(["metrics"], functions=[step, flow], client=Client(url))
    worker.settings = replace(worker.settings, http_port=port)
    async with worker:
        return await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def worker_rows(page: str) -> Iterator[str]:
    """A row for each family of a page in the form of OpenMetrics."""
    helps = dict(re.findall(r"^# HELP (\w+) (.*)$", page, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE):
        series = re.search(rf"^{name}(?:_total|_count)?(?:\{{(.*)\}})? ", page, re.MULTILINE)
        assert series is not None
        yield row(name, kind, re.findall(r'(\w+)="', series[1] or ""), helps[name])


def label_rows(page: str) -> Iterator[str]:
    """A row for each label whose values are fixed: every series is there from the start."""
    values: dict[str, list[str]] = {}
    for label, value in re.findall(r'[{,](\w+)="([^"]*)"', page):
        known = values.setdefault(label, [])
        if value not in known:
            known.append(value)
    for label in sorted(values.keys() - {"function", "le"}):
        yield f"| `{label}` | {', '.join(f'`{value}`' for value in values[label])} |"


def operator_rows() -> Iterator[str]:
    """A row for each metric of the operator. Those of its Python process have no `currant_` in their names."""
    from prometheus_client.metrics import MetricWrapperBase

    from currant_operator import metrics

    for collector in metrics.REGISTRY._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            for family in collector.describe():
                yield row(family.name, family.type, collector._labelnames, family.documentation)


def row(name: str, kind: str, labels: Iterable[str], help: str) -> str:
    """A metric as a row of a table."""
    shown = f"{name}_total" if kind == "counter" else name
    return f"| `{shown}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {help} |"
