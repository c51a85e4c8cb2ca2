"""A killed worker: other workers run what it ran, and every run has one result."""

from __future__ import annotations

from e2e.tests import manifests
from e2e.tests.kube import Database, Namespace, Object, eventually, say

QUICK = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "3"}
SLOW = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "5", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "600"}
WORKER = "select w.name from currant.executions e join currant.workers w on w.id = e.worker_id where e.function = 'e2e_app.work'"


def start(namespace: Namespace, manifest: Object) -> str:
    """Make a pool and wait until it is Ready; gives its name."""
    namespace.apply(manifest)
    name: str = manifest["metadata"]["name"]
    namespace.ready("workerpool", name)
    return name


def busy(database: Database, queue: str) -> set[str]:
    """The pods that run tasks of a queue."""
    return set(database.sql(f"{WORKER} and e.state = 'running' and e.queue = '{queue}'").splitlines())


def test_a_pod_deleted_with_sigkill_is_taken_over(namespace: Namespace, database: Database) -> None:
    name = start(namespace, manifests.pool("killed", replicas=2, concurrency=4, environment=QUICK))
    database.enqueue("e2e_app.order", 8, queue=name, seconds=4, steps=1)
    eventually("both pods are busy", lambda: len(busy(database, name)) == 2)
    victim = min(busy(database, name))
    namespace.show("delete", "pod", victim, "--grace-period=0", "--force")
    database.completed("e2e_app.order", 8)

    one_result_each(database, name, victim)


def test_a_container_that_restarts_frees_at_once_what_its_predecessor_ran(
    namespace: Namespace, database: Database
) -> None:
    name = start(namespace, manifests.pool("restarted", environment=SLOW))
    database.enqueue("e2e_app.limited", 3, queue=name, seconds=4)
    (pod,) = eventually("the pod is busy", lambda: busy(database, name))
    # Process 1 ignores a SIGKILL from inside its pod; its child is the worker.
    namespace.execute(pod, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    # This is long before the heartbeat time-out of ten minutes.
    database.completed("e2e_app.limited", 3, timeout=60)

    (status,) = namespace.get("pod", pod)["status"]["containerStatuses"]
    assert status["restartCount"] == 1
    one_result_each(database, name, victim=None)


def test_a_pod_that_is_gone_frees_at_once_what_it_ran(namespace: Namespace, database: Database) -> None:
    name = start(namespace, manifests.pool("gone", environment=SLOW))
    database.enqueue("e2e_app.suspendable", 1, queue=name)  # a first one, so that the pool is known to work
    database.completed("e2e_app.suspendable", 1)
    database.enqueue("e2e_app.contested", 1, queue=name)
    database.enqueue("e2e_app.work", 2, queue=name, seconds=5)
    (pod,) = eventually("the pod is busy", lambda: busy(database, name))
    namespace("delete", "pod", pod, "--grace-period=0", "--force")
    # The operator notes the end in Postgres, so nobody waits for the heartbeat time-out of ten minutes.
    eventually(
        "both are taken over",
        lambda: (
            database.number(
                f"select count(*) from currant.executions where queue = '{name}' and function = 'e2e_app.work' and worker_losses = 1"
                " and state = 'completed'"
            )
            == 2
        ),
    )


def one_result_each(database: Database, queue: str, victim: str | None) -> None:
    """Every task of the queue completed once: those taken over did not cost a retry, of which they have none."""
    table = database.sql(
        "select w.name, e.state, e.worker_losses > 0, e.attempt, count(*) from currant.executions e join currant.workers w on w.id ="
        f" e.worker_id where e.queue = '{queue}' and e.function = 'e2e_app.work' group by 1, 2, 3, 4 order by 1, 2, 3"
    )
    say(f"pod|state|taken over|attempt|tasks\n{table}")
    taken = database.number(
        f"select count(*) from currant.executions where queue = '{queue}' and kind = 'task' and worker_losses > 0"
    )
    assert taken > 0, "the pod was killed too late"
    assert all("|completed|" in row for row in table.splitlines())
    late = f"select count(*) from ({WORKER} and e.queue = '{queue}' and e.worker_losses > 0 and w.name = '{victim}') x"
    assert victim is None or database.number(late) == 0
