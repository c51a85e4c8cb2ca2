"""The simulation is one of queues and pods, and the scaler does in it what docs/operate/autoscaling.md says."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from currant.cli import cli
from currant.scaling import Settings, loads
from currant.scaling.loads import Job, Load
from currant.scaling.scalers import Keda, Native
from currant.scaling.simulation import Actions, Result, View, simulate
from support import CHECKOUT

# What a first design reached, as a bound: p95 of the wait in seconds, pod-hours.
GOALS = {"steady": (0.5, 20.1), "burst": (52, 4.5), "periodic": (40, 9.0)}


class Still:
    """So many pods from the beginning, and actions by the clock."""

    interval, wakes = 5.0, False

    def __init__(self, pods: int, at: dict[float, Actions] | None = None) -> None:
        self._pods, self._at, self.views = pods, at or {}, []

    def actions(self, view: View) -> Actions:
        if view.now == 0:
            return Actions(add=self._pods)
        for time in [time for time in self._at if time <= view.now]:
            order = self._at.pop(time)
            return dataclasses.replace(order, delete=tuple(pod.name for pod in view.pods)[: len(order.delete)])
        return Actions()


def load(*jobs: Job, concurrency: int = 1) -> Load:
    return Load("test", "", jobs, 100.0, Settings(concurrency=concurrency), startup=10.0)


def test_a_pod_runs_as_many_as_it_has_slots_oldest_first() -> None:
    result = simulate(load(*(Job(20.0, 10.0) for _ in range(4)), concurrency=2), Still(1), 0)
    assert result.waits == (0.0, 0.0, 10.0, 10.0)
    assert (result.cut, result.unfinished, result.most_pods) == (0, 0, 1)


def test_what_comes_before_the_pod_waits_for_its_start() -> None:
    assert 8.0 <= simulate(load(Job(0.0, 1.0)), Still(1), 0).waits[0] <= 12.0


@pytest.mark.parametrize(("grace", "cut"), [(30.0, 1), (90.0, 0)])
def test_a_deleted_pod_finishes_within_its_grace_and_what_is_cut_runs_again(grace: float, cut: int) -> None:
    actions = {30.0: Actions(delete=("any",), grace=grace), 40.0: Actions(add=1)}
    result = simulate(load(Job(15.0, 80.0)), Still(1, actions), 0)
    assert (result.cut, result.unfinished) == (cut, 0)


def test_pod_hours_are_counted_from_the_order_to_the_end() -> None:
    assert simulate(load(Job(0.0, 1.0)), Still(3), 0).pod_hours == pytest.approx(3 * 100 / 3600, rel=0.06)


@pytest.mark.parametrize("name", GOALS)
def test_a_load_is_served_in_time_for_fewer_pod_hours_and_nothing_is_cut(name: str) -> None:
    results = [simulate(each, Native(each.settings), seed) for seed in range(2) for each in [loads.named(name, seed)]]
    p95, pod_hours = GOALS[name]
    assert [result.cut for result in results] == [0] * 2
    assert sum(result.wait(0.95) for result in results) / 2 <= p95
    assert round(sum(result.pod_hours for result in results) / 2, 2) <= pod_hours


def test_an_hpa_on_the_backlog_cuts_attempts_of_a_load_that_keeps_up_and_this_does_not() -> None:
    steady = loads.named("steady", 1)
    assert simulate(steady, Keda(steady.settings, False, 1), 1).cut > 0


def test_nothing_is_cut_and_the_pods_stay_while_nobody_sees_the_queue() -> None:
    blind = loads.named("blind", 0)
    result = simulate(blind, Native(blind.settings), 0)
    assert blind.unseen is not None
    pods = {sample.pods for sample in result.samples if blind.unseen[0] <= sample.time < blind.unseen[1]}
    assert len(pods) == 1
    assert result.cut == 0


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["scale", "simulate", *arguments])
    return result.exit_code, result.output


def test_the_command_compares_settings_on_a_trace_and_draws_it(tmp_path: Path) -> None:
    trace, svg = tmp_path / "actions.csv", tmp_path / "actions.svg"
    # The first tells how long they take: without that every setting takes as many pods as there are tasks.
    trace.write_text("arrival,service,function\n30,5,f\n" + "".join(f"{100 + n},5,f\n" for n in range(50)))
    compare = ["--set", "concurrency=2,max_pods=20", "--with", "latency_target=300", "--keda"]
    code, output = run("--trace", str(trace), *compare, "--seeds", "1", "--svg", str(svg), "--json")
    assert code == 0, output
    rows = json.loads(output)
    assert [row["scaler"] for row in rows] == [
        "Native",
        "Native, latency_target=300",
        "KEDA on ready",
        "KEDA on ready + running",
    ]
    assert rows[0]["wait p95 s"] < rows[1]["wait p95 s"]
    assert rows[0]["most pods"] > rows[1]["most pods"]
    texts = [element.text for element in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"ready", "running", "pods", "KEDA on ready"} <= set(texts)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stedy",), "there is no load stedy"),
        (("sparse", "--set", "pods=3"), "there is no setting 'pods'"),
        (("sparse", "--set", "concurrency=0"), "a number from 1"),
        (("sparse", "--set", "concurrency=many"), "write a number"),
        (("sparse", "--set", "min_pods=9,max_pods=3"), "min_pods is above max_pods"),
        (("sparse", "steady", "--svg", "x.svg"), "--svg draws one load"),
    ],
)
def test_a_mistake_is_told(arguments: tuple[str, ...], said: str) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert said in output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no line"),
        ("1,2\nthree,4\n", "line 2: write arrival,service"),
        ("1,nan\n", "line 1: an arrival is a number"),
    ],
)
def test_a_trace_that_is_none_is_told(text: str, said: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(text)
    code, output = run("--trace", str(trace))
    assert code == 2
    assert said in output


def table() -> dict[tuple[str, str], list[float]]:
    """The table of docs/operate/autoscaling.md by load and scaler."""
    lines = (CHECKOUT / "docs/operate/autoscaling.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    scalers = ("Native", "KEDA on ready", "KEDA on ready + running")
    return {
        (row[0].strip("`"), scaler): [float(number) for number in cell.split("/")]
        for row in rows
        for scaler, cell in zip(scalers, row[2:5], strict=True)
    }


def test_the_documented_table_is_what_the_simulation_gives() -> None:
    """Of one load all numbers, and of every one that there is a row."""
    documented = table()
    assert {name for name, _ in documented} == set(loads.NAMED)
    results: list[Result] = [
        simulate(each, Native(each.settings), seed) for seed in range(10) for each in [loads.named("sparse", seed)]
    ]
    seen = [sum(value) / 10 for value in zip(*((r.wait(0.95), r.pod_hours, r.cut) for r in results), strict=True)]
    assert documented["sparse", "Native"] == pytest.approx(seen, abs=0.051)
