"""The queue and the pods of a pool over time: recorded while a test runs, kept as CSV, drawn by e2e/tests/draw.py."""

from __future__ import annotations

import csv
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from e2e.tests.kube import Database, Namespace, cluster

INTERVAL = 0.5
"""Seconds between two counts of the queue."""


@dataclass(frozen=True)
class Row:
    """One moment. `asked`: replicas of the Deployment; `pods`: pods that exist; `draining`: workers that claim nothing
    more; `unfinished`: attempts that these still run."""

    time: float
    ready: int
    running: int
    asked: int
    pods: int
    draining: int
    unfinished: int


@dataclass
class Recording:
    """The rows, in the order of time, and when the Deployment first asked for a pod (seconds since 1970)."""

    began: float = field(default_factory=time.time)
    rows: list[Row] = field(default_factory=list)
    first_asked: float | None = None
    _asked: int = 0
    _pods: int = 0

    @property
    def most_pods(self) -> int:
        """The greatest number of pods."""
        return max((row.pods for row in self.rows), default=0)

    def write(self, path: Path) -> None:
        """As CSV."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([each.name for each in fields(Row)])
            writer.writerows(astuple(row) for row in self.rows)

    def _see_deployment(self, line: str) -> None:
        asked, pods = (int(word or 0) for word in line.split("|")[:2])
        self._asked, self._pods = asked, pods
        if asked and self.first_asked is None:
            self.first_asked = time.time()

    def _see_queue(self, line: str) -> None:
        if line.startswith("S|"):
            ready, running, draining, unfinished = (int(word) for word in line.split("|")[1:])
            now = round(time.time() - self.began, 1)
            self.rows.append(Row(now, ready, running, self._asked, self._pods, draining, unfinished))


@contextmanager
def recording(namespace: Namespace, database: Database, pool: str) -> Iterator[Recording]:
    """Record a pool, whose queue has its name, until the end of the block."""
    made = Recording()
    deployment = [
        *("-n", namespace.name, "get", "deployment", pool, "--watch"),
        *("-o", r'jsonpath={.spec.replicas}|{.status.replicas}{"\n"}'),
    ]
    psql = ["psql", "--no-psqlrc", "-U", "currant", "-d", database.name, "-v", "ON_ERROR_STOP=1", "-Atq", "-f", "-"]
    query = ["-n", database.system.name, "exec", "-i", database.pod, "--", *psql]
    with _lines(deployment, "", made._see_deployment), _lines(query, _question(pool), made._see_queue):
        yield made


def _question(queue: str) -> str:
    return f"""
        select 'S', (select count(*) from currant.executions where queue = '{queue}' and state = 'pending' and run_at is null),
            (select count(*) from currant.executions where queue = '{queue}' and kind = 'task' and state = 'running'),
            count(*) filter (where w.drain_asked_at is not null),
            coalesce(sum((select count(*) from currant.executions e where e.worker_id = w.id and e.state = 'running'))
                filter (where w.drain_asked_at is not null), 0)
        from currant.workers w where w.claims and w.stopped_at is null and '{queue}' = any (w.queues) \\watch {INTERVAL}
    """


@contextmanager
def _lines(words: list[str], stdin: str, see: Callable[[str], None]) -> Iterator[None]:
    """Run kubectl until the end of the block; each line that it writes is seen as it comes."""
    process = subprocess.Popen(cluster().command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    output = process.stdout
    process.stdin.write(stdin)
    process.stdin.close()

    def read() -> None:
        for line in output:
            see(line.strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        output.close()
