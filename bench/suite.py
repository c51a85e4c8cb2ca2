"""Runs the turns: rounds, candidates in turn, a fresh database and a process for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.candidates import load
from bench.cluster import fresh_database
from bench.model import Run, Workload
from bench.processes import ROOT
from bench.stats import order_of

PATIENCE = 60.0  # seconds a turn may wait for any one thing
OVERTIME = 120.0  # seconds on top of that until the turn's process is killed
ANSWER_LOG = 2_000


@dataclass(frozen=True)
class Plan:
    """One turn to come."""

    workload: Workload
    candidate: str
    round: int
    items: int


def plans(workloads: list[Workload], candidates: list[str], rounds: int, quick: bool) -> list[Plan]:
    """Every turn in its order: workload by workload, candidates next to each other, their order reversed each round."""
    return [
        Plan(workload, candidate, number, workload.quick if quick else workload.items)
        for number in range(1, rounds + 1)
        for workload in workloads
        for candidate in order_of(candidates, number)
        if takes_part(candidate, workload)
    ]


def takes_part(candidate: str, workload: Workload) -> bool:
    """Whether this candidate does this workload."""
    return workload.only in ("", candidate) and load(candidate).does(workload.id)


def take_turn(plan: Plan, admin_url: str) -> Run:
    """One turn, in a new database."""
    with fresh_database(admin_url, f"bench_{plan.candidate}") as url:
        return run_process(plan, url, admin_url)


def run_process(plan: Plan, url: str, admin_url: str) -> Run:
    """A turn's process, killed with its workers when it hangs; its run."""
    patience = PATIENCE + plan.workload.seconds + plan.workload.seconds_each * plan.items
    given = {
        "workload": plan.workload.id,
        "items": plan.items,
        "candidate": plan.candidate,
        "url": url,
        "admin_url": admin_url,
        "patience": patience,
    }
    run = Run(plan.workload.id, plan.candidate, plan.round, plan.items)
    command = [sys.executable, "-m", "bench.turn", json.dumps(given)]
    timeout = patience + OVERTIME
    with turn_process(command) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            run.void = f"the turn did not end within {timeout:.0f} s"
            return run
    answer = read_answer(output)
    if answer is None:
        run.void = f"the turn ended with exit code {process.returncode} and no figures"
    elif answer.void:
        run.void = without_paths(answer.void)
    else:
        run.values, run.series, run.notes = answer.values, answer.series, answer.notes
    if run.void:
        print(errors.strip()[-ANSWER_LOG:], file=sys.stderr)
    return run


@contextmanager
def turn_process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own; whatever is left of the group at the end is killed."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


@dataclass(frozen=True)
class Answer:
    """The answer of a turn's process: its figures and what was left out, or why it is void."""

    values: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[float]] = field(default_factory=dict)
    void: str = ""
    notes: list[str] = field(default_factory=list)


def read_answer(output: str) -> Answer | None:
    """The answer in the last line; None when it is none."""
    try:
        answer = Answer(**json.loads(output.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return None
    return answer if answer.values or answer.void else None


def without_paths(text: str) -> str:
    """The same without this machine's directories: it goes into files that are published."""
    for path, instead in ((ROOT, "."), (Path(sys.base_prefix), "PYTHON"), (Path.home(), "~")):
        text = text.replace(str(path), instead)
    return text
