"""A pool in the mode Native on real pods: from zero to what its queue needs and back, without cutting an attempt short.

SCALING_BURST (tasks), SCALING_PODS (maxReplicas), SCALING_LONG (seconds) make the same tests larger, for the figures in
docs/operate/autoscaling.md; SCALING_RECORDINGS is a directory for the recordings, as CSV.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from e2e.tests import manifests
from e2e.tests.kube import Database, Namespace, Object, eventually, say
from e2e.tests.recording import Recording, recording

BURST = int(os.environ.get("SCALING_BURST", "200"))
PODS = int(os.environ.get("SCALING_PODS", "6"))
LONG = float(os.environ.get("SCALING_LONG", "40"))
# The time-outs are far longer than these tests: workers learn by a message what happens, not by a time-out.
SLOW = {"WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "5", "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "600"}
CUT = "(attempt > 1 or worker_losses > 0 or state <> 'completed')"


def native(name: str, *, most: int, concurrency: int) -> Object:
    """A pool that scales to zero soon after its work."""
    scaling = {
        "mode": "Native",
        "minReplicas": 0,
        "maxReplicas": most,
        "scaleToZeroAfter": "5s",
        "scaleDown": {"window": "10s", "maxStepPercent": 50},
    }
    return manifests.pool(
        name, environment=SLOW, concurrency=concurrency, scaling=scaling, drain={"timeout": f"{LONG + 60:.0f}s"}
    )


def at_zero(namespace: Namespace, pool: str) -> None:
    """Wait until the operator has reconciled the pool and it has no pod."""
    namespace.wait("workerpool", pool, "ScalingActive", "True")
    eventually(f"{pool} has no pod", lambda: not namespace.items("pods", "-l", f"currant.dev/pool={pool}"), 120)


def cut(database: Database, queue: str) -> int:
    """The number of tasks of a queue that needed more than one attempt or have not completed."""
    return database.number(f"select count(*) from currant.executions where queue = '{queue}' and {CUT}")


def keep(record: Recording, name: str) -> None:
    """Write the recording where SCALING_RECORDINGS names a directory."""
    directory = os.environ.get("SCALING_RECORDINGS")
    if directory:
        record.write(Path(directory) / f"{name}.csv")


def test_a_pool_at_zero_starts_a_pod_for_the_first_task(namespace: Namespace, database: Database) -> None:
    name = "woken"
    namespace.apply(native(name, most=1, concurrency=4))
    at_zero(namespace, name)
    with recording(namespace, database, name) as record:
        eventually("the queue is recorded", lambda: record.rows)
        (id,) = database.enqueue("e2e_app.started", queue=name)
        database.completed("e2e_app.started", 1)
    ready, claimed, process, worker = (
        float(word)
        for word in database.sql(
            "select extract(epoch from e.created_at), extract(epoch from e.started_at), convert_from(e.result, 'UTF8'),"
            " extract(epoch from w.started_at) from currant.executions e join currant.workers w on w.id = e.worker_id"
            f" where e.id = '{id}'"
        ).split("|")
    )
    asked = record.first_asked
    assert asked is not None
    parts = {
        "notice": asked - ready,
        "pod start": process - asked,
        "import": worker - process,
        "claim": claimed - worker,
        "together": claimed - ready,
    }
    say(
        "from zero to the first claim, in seconds: "
        + json.dumps({name: round(part, 2) for name, part in parts.items()})
    )
    assert cut(database, name) == 0


def test_a_burst_brings_pods_and_their_work_done_they_go_without_cutting_an_attempt(
    namespace: Namespace, database: Database
) -> None:
    name = "burst"
    namespace.apply(native(name, most=PODS, concurrency=10))
    at_zero(namespace, name)
    with recording(namespace, database, name) as record:
        eventually("the queue is recorded", lambda: record.rows)
        database.enqueue("e2e_app.work", BURST, queue=name, seconds=1)
        database.completed("e2e_app.work", BURST, timeout=300)
        at_zero(namespace, name)
    keep(record, name)
    waits = database.sql(
        "select round(max(extract(epoch from started_at - created_at)), 1), round(percentile_cont(0.95) within group (order by"
        f" extract(epoch from started_at - created_at))::numeric, 1) from currant.executions where queue = '{name}'"
    ).split("|")
    say(
        f"{BURST} tasks of 1 s: {record.most_pods} pods at most; waited {waits[0]} s at most, 95 % at most {waits[1]} s"
    )
    say(f"0 pods again after {record.rows[-1].time} s")
    assert record.most_pods == PODS
    assert cut(database, name) == 0


def test_attempts_that_take_long_outlive_a_scale_in_and_the_pods_that_go_are_those_without_any(
    namespace: Namespace, database: Database
) -> None:
    name, long, quick = "lasting", 20, 80
    namespace.apply(native(name, most=25, concurrency=4))
    at_zero(namespace, name)
    with recording(namespace, database, name) as record:
        eventually("the queue is recorded", lambda: record.rows)
        # One task in five is long, so a pod gets none, one or several of them.
        database.sql(
            "select currant.enqueue(case when n % 5 = 0 then 'e2e_app.lasts' else 'e2e_app.work' end, jsonb_build_object('kwargs',"
            f" jsonb_build_object('number', n, 'seconds', case when n % 5 = 0 then {LONG} else 6 end)),"
            f' \'{{"queue": "{name}"}}\') from generate_series(1, {long + quick}) n'
        )
        database.completed("e2e_app.lasts", long, timeout=LONG + 120)
        at_zero(namespace, name)
    keep(record, name)
    all_run = [row for row in record.rows if row.ready == 0 and row.running == long]
    fewest, unfinished = min(row.pods for row in all_run), max(row.unfinished for row in all_run)
    say(f"{record.most_pods} pods at most; {fewest} while all {long} ran; {unfinished} of them in pods that drained")
    assert cut(database, name) == 0
    assert fewest < record.most_pods, "no pod went while the long attempts ran"
    assert unfinished > 0, "no pod that drained had anything to finish"


def test_what_a_pod_ran_that_was_killed_for_its_memory_is_taken_over_at_once_and_says_why(
    namespace: Namespace, database: Database
) -> None:
    name = "hungry"
    limits = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "160Mi"}}
    namespace.apply(manifests.pool(name, replicas=2, environment=SLOW, container={"resources": limits}))
    namespace.ready("workerpool", name)
    (id,) = database.enqueue("e2e_app.hungry", queue=name, seconds=15)
    taken = f"select count(*) from currant.executions where id = '{id}' and worker_losses = 1"
    eventually("it is taken over", lambda: database.number(taken) == 1, 60, 0.1)
    shown = namespace.execute(f"deployment/{name}", "currant", "show", id)
    say(f"$ currant show {id}\n{shown}")
    assert "worker pod OOMKilled" in shown
    database.completed("e2e_app.hungry", 1)
    killed = next(pod for pod in namespace.pods(name) if pod["status"]["containerStatuses"][0]["restartCount"])
    end = killed["status"]["containerStatuses"][0]["lastState"]["terminated"]
    again = database.sql(f"select attempt_at at time zone 'UTC' from currant.executions where id = '{id}'")
    say(f"{end['reason']} at {end['finishedAt']}, the next attempt began at {again}")
    assert end["reason"] == "OOMKilled"
