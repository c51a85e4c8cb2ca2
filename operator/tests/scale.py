"""The operator with 200 WorkerPools and 1,000 Workflows: `python operator/tests/scale.py [POOLS] [WORKFLOWS]`.

A control plane and a Postgres of its own. Prints the time to converge from nothing and after a restart, the calls to the
API and the memory while nothing changes. Not a test: what it prints depends on the machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HERE = Path(__file__).parent
for path in (HERE, HERE.parent, HERE.parents[1]):
    sys.path.insert(0, str(path))

from conftest import install_crds  # noqa: E402
from currant.embedded import temporary_server  # noqa: E402
from e2e.clusters import Kubectl, control_plane  # noqa: E402
from operators import RunningOperator, eventually  # noqa: E402
from samples import SMALLEST_POOL, SMALLEST_WORKFLOW, manifest  # noqa: E402

QUIET = 120.0  # seconds in which calls are counted while nothing changes
BATCH = 100
IN_EARNEST = {
    "CURRANT_OPERATOR_FLEET_INTERVAL": "5",
    "CURRANT_OPERATOR_STATS_INTERVAL": "30",
    "CURRANT_OPERATOR_STATUS_INTERVAL": "30",
    "CURRANT_OPERATOR_LEASE_DURATION": "15",
    "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE": "10",
    "CURRANT_OPERATOR_LEASE_RETRY_PERIOD": "3",
}


def main(pools: int, workflows: int) -> None:
    with control_plane() as plane, temporary_server() as url, tempfile.TemporaryDirectory() as directory:
        install_crds(plane.kubectl)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "currant-db"}, "stringData": {"url": url}}
        plane.kubectl.apply(secret)
        with timed(f"{pools} WorkerPools and {workflows} Workflows applied"):
            apply_all(plane.kubectl, pools, workflows)
        with running(plane.kubeconfig, Path(directory) / "first.log") as operator:
            converge(operator, plane.kubectl, pools, workflows, "from nothing")
            quiet(operator)
            operator.kill()
        with running(plane.kubeconfig, Path(directory) / "second.log") as operator:
            converge(operator, plane.kubectl, pools, workflows, "after a restart")
            changed = plane.kubectl.json("get", "wp", "pool-0")
            with timed("a change of one pool reached its Deployment in"):
                plane.kubectl("patch", "wp", "pool-0", "--type=merge", "-p", '{"spec": {"concurrency": 7}}')
                eventually(lambda: '"7"' in plane.kubectl("get", "deployment", "pool-0", "-o", "json"), 60, 0.02)
            assert changed["status"]["conditions"]
            quiet(operator)


def apply_all(kubectl: Kubectl, pools: int, workflows: int) -> None:
    scaling = {"mode": "Fixed", "replicas": 0}
    bodies = [
        manifest(SMALLEST_POOL, metadata__name=f"pool-{number}", spec__scaling=scaling) for number in range(pools)
    ]
    for number in range(workflows):
        reference = {"name": f"pool-{number % pools}"}
        changes = {"metadata__name": f"workflow-{number}", "spec__function": f"shop.f{number}"}
        bodies.append(manifest(SMALLEST_WORKFLOW, spec__poolRef=reference, **changes))
    for start in range(0, len(bodies), BATCH):
        kubectl.apply(*bodies[start : start + BATCH])


@contextmanager
def running(kubeconfig: Path, log: Path) -> Iterator[RunningOperator]:
    operator = RunningOperator(kubeconfig, log, log.stem, "scale", **IN_EARNEST)
    try:
        yield operator
    except BaseException:
        print(operator.log[-5000:])
        raise
    finally:
        operator.kill()


def converge(operator: RunningOperator, kubectl: Kubectl, pools: int, workflows: int, how: str) -> None:
    """From the process's start until every object says that it has been reconciled, and the queue is empty."""
    operator.wait_leading()
    led = time.monotonic()

    def done() -> bool:
        seen = reconciled(operator)
        return (
            seen["WorkerPool"] >= pools
            and seen["Workflow"] >= workflows
            and operator.metric("currant_operator_queue_depth") == 0
        )

    eventually(done, 600)
    eventually(lambda: all_shown(kubectl, pools, workflows), 600, 1)
    calls = api_calls(operator)
    print(f"converged {how}: {time.monotonic() - led:.1f} s after it led; calls so far: {shown(calls)}")
    print(f"  reconciles {dict(reconciled(operator))}, cpu {cpu(operator):.1f} s, memory {memory(operator)}")


def all_shown(kubectl: Kubectl, pools: int, workflows: int) -> bool:
    for kind, expected, reasons in (("wp", pools, {"ScaledToZero"}), ("cwf", workflows, {"Applied"})):
        found: Counter[str] = Counter()
        for body in kubectl.json("get", kind)["items"]:
            conditions = body.get("status", {}).get("conditions", [])
            found.update(each["reason"] for each in conditions if each["type"] == "Ready")
        if sum(found[reason] for reason in reasons) != expected:
            return False
    return True


def quiet(operator: RunningOperator) -> None:
    """Count calls while nothing changes, when what had to be written later is written."""
    time.sleep(45)
    before, used = api_calls(operator), cpu(operator)
    reconciles = reconciled(operator)
    time.sleep(QUIET)
    calls = api_calls(operator)
    calls.subtract(before)
    minutes = QUIET / 60
    lease = sum(count for (_, resource), count in calls.items() if resource == "leases")
    rest = {key: count / minutes for key, count in calls.items() if count and key[1] != "leases"}
    again = reconciled(operator)
    again.subtract(reconciles)
    print(
        f"nothing changes: {sum(rest.values()):.1f} calls a minute {shown(rest)}, and {lease / minutes:.0f} for the lease"
    )
    share = (cpu(operator) - used) / QUIET * 100
    print(f"  reconciles {dict(again)} in {QUIET:g} s, {share:.1f} % of a core, memory {memory(operator)}")


def reconciled(operator: RunningOperator) -> Counter[str]:
    counts: Counter[str] = Counter()
    for labels, value in operator.metrics("currant_operator_reconciles_total"):
        counts[labels["kind"]] += int(value)
    return counts


def api_calls(operator: RunningOperator) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for labels, value in operator.metrics("currant_operator_api_requests_total"):
        counts[labels["verb"], labels["resource"]] += int(value)
    return counts


def shown(calls: dict[tuple[str, str], float]) -> str:
    return json.dumps({f"{verb} {resource}": round(count, 1) for (verb, resource), count in sorted(calls.items())})


def memory(operator: RunningOperator) -> str:
    return f"{psutil.Process(operator.process.pid).memory_info().rss / 1e6:.0f} MB"


def cpu(operator: RunningOperator) -> float:
    times = psutil.Process(operator.process.pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what} {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    main(*(arguments or [200, 1000]))
