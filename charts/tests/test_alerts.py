"""Every alert fires when it should, and not while all is well: promtool evaluates the rules over series that are given."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.programs import needed
from e2e.prometheus import HOW
from helm import objects, one, render

MINUTES = 40  # for which each case runs; the last minute is looked at
OPERATOR = 'job="currant-operator"'
POOL = 'namespace="shop",pool="orders"'
WORKER = f'{POOL},pod="orders-1"'
SCHEDULE = 'namespace="shop",workflow="report",function="f",schedule="nightly"'


def stays(value: float) -> str:
    """A series that does not change."""
    return f"{value}x{MINUTES}"


def grows(step: float) -> str:
    """A counter that grows each minute."""
    return f"0+{step}x{MINUTES}"


def executions(function: str, outcome: str) -> str:
    """A worker's count of the executions of a function that ended."""
    return f'currant_worker_executions_total{{{WORKER},function="{function}",outcome="{outcome}"}}'


# alert -> the series that make it fire, and the same when all is well
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "CurrantNobodyLeads": (
        {f"currant_operator_leading{{{OPERATOR}}}": stays(0)},
        {f"currant_operator_leading{{{OPERATOR}}}": stays(1)},
    ),
    "CurrantDatabaseUnreachable": (
        {f'currant_pool_condition{{{POOL},condition="DatabaseReachable"}}': stays(0)},
        {f'currant_pool_condition{{{POOL},condition="DatabaseReachable"}}': stays(1)},
    ),
    "CurrantPoolNotReady": (
        {f'currant_pool_condition{{{POOL},condition="Ready"}}': stays(-1)},
        {f'currant_pool_condition{{{POOL},condition="Ready"}}': stays(1)},
    ),
    "CurrantPoolDegraded": (
        {f'currant_pool_condition{{{POOL},condition="Degraded"}}': stays(1)},
        {f'currant_pool_condition{{{POOL},condition="Degraded"}}': f"1x{MINUTES - 5} 0x5"},
    ),
    "CurrantRolloutStandsStill": (
        {f"currant_pool_rolled_out{{{POOL}}}": stays(0), f"currant_pool_desired_replicas{{{POOL}}}": stays(1)},
        {
            f"currant_pool_rolled_out{{{POOL}}}": f"1x{MINUTES - 10} 0x10",
            f"currant_pool_desired_replicas{{{POOL}}}": stays(1),
        },
    ),
    "CurrantQueueLate": (
        {f"currant_pool_oldest_ready_seconds{{{POOL}}}": stays(301)},
        {f"currant_pool_oldest_ready_seconds{{{POOL}}}": stays(299)},
    ),
    "CurrantQueueNotMoving": (
        {f"currant_pool_ready{{{POOL}}}": stays(3), f"currant_pool_running{{{POOL}}}": stays(0)},
        {f"currant_pool_ready{{{POOL}}}": stays(3), f"currant_pool_running{{{POOL}}}": stays(1)},
    ),
    "CurrantScalerBlind": (
        {f"currant_pool_last_look_timestamp_seconds{{{POOL}}}": stays(0)},
        {f"currant_pool_last_look_timestamp_seconds{{{POOL}}}": grows(60)},
    ),
    "CurrantReconcilesFail": (
        {'currant_operator_reconciles_total{kind="WorkerPool",outcome="error"}': grows(1)},
        {
            'currant_operator_reconciles_total{kind="WorkerPool",outcome="error"}': stays(7),
            'currant_operator_reconciles_total{kind="WorkerPool",outcome="ok"}': grows(9),
        },
    ),
    "CurrantWorkersLost": (
        {f"currant_worker_takeovers_total{{{WORKER}}}": f"0x{MINUTES - 5} 1x5"},
        {f"currant_worker_takeovers_total{{{WORKER}}}": stays(4)},
    ),
    "CurrantRunsIncompatible": (
        # They are still there long after the attempt that found it out: the alert stays.
        {f'currant_pool_incompatible_runs{{{POOL},function="f"}}': stays(2)},
        {f'currant_pool_incompatible_runs{{{POOL},function="f"}}': f"2x{MINUTES - 5} 0x5"},
    ),
    "CurrantLeasesLost": (
        {f"currant_worker_leases_lost_total{{{WORKER}}}": grows(12)},
        {f"currant_worker_leases_lost_total{{{WORKER}}}": f"0x{MINUTES - 5} 20x5"},
    ),
    "CurrantWritesStuck": (
        {
            f"currant_worker_writes_pending{{{WORKER}}}": stays(5),
            f"currant_worker_writes_total{{{WORKER}}}": stays(100),
        },
        {
            f"currant_worker_writes_pending{{{WORKER}}}": stays(5),
            f"currant_worker_writes_total{{{WORKER}}}": grows(100),
        },
    ),
    "CurrantFunctionFails": (
        {executions("f", "failed"): grows(3), executions("f", "completed"): grows(9)},
        {
            executions("f", "failed"): grows(3),
            executions("f", "completed"): grows(30),
            # Few: a single failure is no ratio.
            executions("g", "failed"): f"0x{MINUTES - 5} 4x5",
            executions("g", "completed"): stays(0),
        },
    ),
    "CurrantScheduleLate": (
        {f"currant_schedule_next_timestamp_seconds{{{SCHEDULE}}}": stays(60)},
        {f"currant_schedule_next_timestamp_seconds{{{SCHEDULE}}}": grows(60)},
    ),
    "CurrantScheduleMissed": (
        {f"currant_schedule_missed{{{SCHEDULE}}}": f"3x{MINUTES - 5} 4x5"},
        {f"currant_schedule_missed{{{SCHEDULE}}}": stays(3)},
    ),
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart's rules, as Prometheus reads them."""
    item = one(objects(render("monitoring-found")), "PrometheusRule", "currant-operator")
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(item["spec"]))
    return path


def case(alert: str, series: dict[str, str], fires: bool) -> dict[str, Any]:
    """A test as promtool wants it. Other alerts may have their own opinion of the few series that there are."""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def promtool(rules: Path, *cases: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run these cases."""
    path = rules.with_name("cases.yaml")
    path.write_text(json.dumps({"rule_files": [rules.name], "evaluation_interval": "1m", "tests": cases}))
    command = [needed("promtool", HOW), "test", "rules", path.name]
    return subprocess.run(command, cwd=rules.parent, capture_output=True, text=True)


def test_every_alert_has_its_case(rules: Path) -> None:
    found = [rule["alert"] for rule in yaml.safe_load(rules.read_text())["groups"][0]["rules"]]
    assert sorted(found) == sorted(CASES)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_and_is_silent_while_all_is_well(rules: Path, alert: str) -> None:
    bad, good = CASES[alert]
    done = promtool(rules, case(alert, bad, True), case(alert, good, False))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_that_is_wrong_is_seen(rules: Path) -> None:
    bad, good = CASES["CurrantQueueLate"]
    for wrong in (case("CurrantQueueLate", good, True), case("CurrantQueueLate", bad, False)):
        assert promtool(rules, wrong).returncode != 0
