"""Workflow objects: rules that every enqueue obeys, kept in Postgres."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.clusters import KubectlError
from e2e.tests import manifests
from e2e.tests.kube import Database, Namespace, eventually, say

POOL = "flows"
DEFAULTS: dict[str, Any] = {
    "priority": 7,
    "timeout": "10m",
    "retry": {"maxAttempts": 4, "initialInterval": "2s", "multiplier": 3, "maxInterval": "1m"},
}


@pytest.fixture(scope="module")
def flows(namespace: Namespace, database: Database) -> Namespace:
    """A pool of three pods, and Workflows for the functions of its module."""
    namespace.apply(
        # Each pod has one slot, so that several pods are needed.
        manifests.pool(POOL, replicas=3, concurrency=1),
        manifests.workflow(
            "order",
            "e2e_app.order",
            POOL,
            defaults=DEFAULTS,
            inputSchema={"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
        ),
        manifests.workflow("limited", "e2e_app.limited", POOL, concurrency={"limit": 2}),
        manifests.workflow("suspendable", "e2e_app.suspendable", POOL, suspended=True),
        manifests.workflow("contested", "e2e_app.contested", POOL),
        manifests.workflow("unknown", "e2e_app.nobody_has_this", POOL),
        manifests.workflow("homeless", "e2e_app.work", "no-such-pool"),
    )
    namespace.ready("wp", POOL)
    for name in ("order", "limited", "contested"):
        namespace.wait("cwf", name, "Registered", "True")
        namespace.wait("cwf", name, "Ready", "True")
    return namespace


def test_a_bare_enqueue_has_the_defaults_of_its_workflow(flows: Namespace, database: Database) -> None:
    database.sql("select currant.enqueue('e2e_app.order', '{\"kwargs\": {\"number\": 1}}')")
    paths = ("timeout", "retry,max_attempts", "retry,initial", "retry,multiplier", "retry,max_delay")
    columns = ", ".join(
        ["queue", "priority", *(f"currant.option(kind, options, '{{{path}}}')::double precision" for path in paths)]
    )
    found = database.sql(f"select {columns} from currant.executions where function = 'e2e_app.order'")
    say(f"queue|priority|{'|'.join(paths)}\n{found}")
    assert found == "flows|7|600|4|2|3|60"
    database.completed("e2e_app.order", 1)


def test_an_enqueue_that_does_not_fit_the_schema_is_refused_by_the_sdk(flows: Namespace, database: Database) -> None:
    with pytest.raises(KubectlError, match="number"):
        flows.execute(f"deploy/{POOL}", "currant", "queue", "-m", "e2e_app", "e2e_app.order", '{"number": "one"}')
    flows.execute(f"deploy/{POOL}", "currant", "queue", "-m", "e2e_app", "e2e_app.order", '{"number": 2}', "--wait")


def test_a_limit_holds_over_all_pods(flows: Namespace, database: Database) -> None:
    database.enqueue("e2e_app.limited", 12, seconds=0.7)
    database.completed("e2e_app.limited", 12)
    rows = "select started_at as at, 1 as change from currant.runs where function = 'e2e_app.limited'"
    rows += " union all select finished_at, -1 from currant.runs where function = 'e2e_app.limited'"
    most = database.number(
        f"select max(at_once) from (select sum(change) over (order by at, change) as at_once from ({rows}) x) y"
    )
    pods = database.number(
        "select count(distinct worker_id) from currant.executions where function in ('e2e_app.limited', 'e2e_app.work')"
        " and queue = 'flows'"
    )
    say(f"at once: {most}; in so many pods: {pods}")
    assert most == 2
    assert pods > 1


def test_a_suspended_workflow_keeps_its_runs_waiting(flows: Namespace, database: Database) -> None:
    database.enqueue("e2e_app.suspendable", 3)
    database.enqueue("e2e_app.contested", 1)
    # These come later in the same queue, so the others would have been claimed first.
    database.completed("e2e_app.contested", 1)
    assert database.states("e2e_app.suspendable") == {"pending": 3}
    flows.show("get", "cwf", "suspendable")
    flows.patch("cwf", "suspendable", {"spec": {"suspended": False}})
    database.completed("e2e_app.suspendable", 3)


def test_a_function_that_no_pool_serves_is_reported(flows: Namespace) -> None:
    flows.wait("cwf", "unknown", "Registered", "False", "FunctionNotServed", "nobody_has_this")
    flows.wait("cwf", "homeless", "Ready", "False", message="no-such-pool")
    flows.show("get", "cwf")
    described = flows.show("describe", "cwf", "unknown")
    assert "FunctionNotServed" in described.partition("\nEvents:")[2]


def test_a_second_workflow_for_a_function_names_the_owner_and_gets_it_when_the_owner_is_deleted(
    flows: Namespace,
) -> None:
    flows.apply(manifests.workflow("usurper", "e2e_app.contested", POOL))
    flows.wait("cwf", "usurper", "Ready", "False", "OwnedByAnother", f"{flows.name}/contested")
    assert flows.condition("cwf", "contested", "Ready").status == "True"  # type: ignore[union-attr]
    flows.show("get", "cwf", "contested", "usurper")
    flows("delete", "cwf", "contested")
    flows.wait("cwf", "usurper", "Ready", "True")


def test_a_deleted_workflow_keeps_its_runs_and_frees_those_that_wait(flows: Namespace, database: Database) -> None:
    flows.apply(manifests.workflow("leaving", "e2e_app.ticking", POOL, suspended=True))
    flows.wait("cwf", "leaving", "Registered", "True")
    eventually(
        "it is suspended",
        lambda: database.number(
            "select count(*) from currant.definitions where function = 'e2e_app.ticking' and suspended"
        ),
    )
    database.enqueue("e2e_app.ticking", 2)
    flows("delete", "cwf", "leaving")
    database.completed("e2e_app.ticking", 2)
    assert database.number("select count(*) from currant.definitions where function = 'e2e_app.ticking'") == 0
