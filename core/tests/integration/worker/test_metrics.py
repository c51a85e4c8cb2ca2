"""What a worker counts (docs/operate/observability.md)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from apps import observed
from currant import ExecutionFailed, Worker
from servers import free_port
from support import CHECKOUT, eventually_async, fetch

LocalWorker = Callable[..., Worker]
REFERENCE = CHECKOUT / "docs" / "reference" / "metrics.md"
FUNCTIONS = (observed.both, observed.double, observed.halve, observed.fail)


class Page:
    """A page of metrics, read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values = dict(re.findall(r"^(\w[^ ]*) (\S+)$", text, re.MULTILINE))

    def value(self, series: str) -> float:
        """The value of a series, its name and labels written as on the page."""
        return float(self._values[series])

    def families(self) -> list[str]:
        """A row of docs/reference/metrics.md for each family."""
        helps = dict(re.findall(r"^# HELP (\w+) (.*)$", self.text, re.MULTILINE))
        rows = []
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", self.text, re.MULTILINE):
            series = re.search(rf"^{name}(?:_total|_count)?(?:\{{(.*)\}})? ", self.text, re.MULTILINE)
            assert series is not None, name
            labels = ", ".join(f"`{label}`" for label in re.findall(r'(\w+)="', series[1] or ""))
            shown = f"{name}_total" if kind == "counter" else name
            rows.append(f"| `{shown}` | {kind} | {labels} | {helps[name]} |")
        return rows


@pytest.fixture
def page() -> Callable[..., object]:
    """Reads the page of a port."""

    async def read(port: int) -> Page:
        status, text = await fetch(port, "/metrics")
        assert status == 200
        return Page(text)

    return read


async def test_the_reference_has_every_metric_of_a_worker(
    local_worker: LocalWorker, page: Callable[..., object]
) -> None:
    port = free_port()
    documented = [line for line in REFERENCE.read_text().splitlines() if line.startswith("| `currant_worker_")]
    async with local_worker("seen", *FUNCTIONS, WORKFLOWS_HTTP_PORT=str(port)):
        assert documented == (await page(port)).families()  # type: ignore[misc]


async def test_what_ended_is_counted_by_function_and_outcome(local_worker: LocalWorker, page) -> None:  # type: ignore[no-untyped-def]
    port = free_port()
    async with local_worker("seen", *FUNCTIONS, WORKFLOWS_HTTP_PORT=str(port)):
        assert await (await observed.both.queue(4)).result(timeout=30) == 4
        with pytest.raises(ExecutionFailed):
            await (await observed.fail.queue()).result(timeout=30)
        found = await page(port)
        for function, outcome, count in [
            ("both", "completed", 1),
            ("double", "completed", 1),
            ("halve", "completed", 1),
            ("fail", "completed", 0),
            ("fail", "failed", 1),
        ]:
            labels = f'{{function="apps.observed.{function}",outcome="{outcome}"}}'
            assert found.value(f"currant_worker_executions_total{labels}") == count, labels
            assert found.value(f"currant_worker_attempts_total{labels}") == count, labels
        labels = '{function="apps.observed.both"}'
        assert found.value(f"currant_worker_workflow_duration_seconds_count{labels}") == 1
        assert found.value(f"currant_worker_workflow_duration_seconds_sum{labels}") > 0
        labels = '{function="apps.observed.halve"}'
        assert found.value(f"currant_worker_attempt_duration_seconds_count{labels}") == 1
        assert found.value('currant_worker_database_round_trip_seconds_count{statement="commit"}') >= 2
        assert found.value("currant_worker_claims_total") == found.value("currant_worker_claim_size_sum") >= 2
        assert found.value("currant_worker_connects_total") == 1
        assert found.value("currant_worker_tasks_running") == 0


async def test_the_pick_up_latency_is_what_the_database_knows(local_worker: LocalWorker, page) -> None:  # type: ignore[no-untyped-def]
    port = free_port()
    async with local_worker("seen", *FUNCTIONS, WORKFLOWS_HTTP_PORT=str(port)):
        await (await observed.both.queue(4)).result(timeout=30)

        async def sampled() -> bool:
            return bool((await page(port)).value("currant_worker_pickup_latency_seconds_count") == 1)

        await eventually_async(sampled)
