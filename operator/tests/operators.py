"""Real operators for tests: processes of `python -m currant_operator` beside a real API server, and what they say."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from e2e.clusters import Kubectl

_numbers = itertools.count(1)
CHECKOUT = Path(__file__).parents[2]

T = TypeVar("T")

# Everything that takes its time in earnest, quicker.
QUICK = {
    "CURRANT_OPERATOR_FLEET_INTERVAL": "0.3",
    "CURRANT_OPERATOR_STATS_INTERVAL": "0.5",
    "CURRANT_OPERATOR_STATUS_INTERVAL": "0.5",
    "CURRANT_OPERATOR_NEIGHBOURS_INTERVAL": "0.5",
    "CURRANT_OPERATOR_DATABASE_BACKOFF": "1",
    "CURRANT_OPERATOR_LEASE_DURATION": "4",
    "CURRANT_OPERATOR_LEASE_RENEW_DEADLINE": "3",
    "CURRANT_OPERATOR_LEASE_RETRY_PERIOD": "0.4",
}


def eventually(condition: Callable[[], T], timeout: float = 30.0, interval: float = 0.1) -> T:
    """Call `condition` until it gives something true, and give that. Fails after `timeout` seconds.

    An AssertionError in `condition` counts as not yet, and its message is shown at the end.
    """
    limit = time.monotonic() + timeout
    while True:
        try:
            value = condition()
            if value:
                return value
            why = f"last value: {value!r}"
        except AssertionError as error:
            value, why = None, str(error)
        if time.monotonic() > limit:
            raise AssertionError(f"not true within {timeout:g} s; {why}")
        time.sleep(interval)


class RunningOperator:
    """One operator process. Its log goes to a file; it is killed by `kill`, ended as Kubernetes would by `terminate`."""

    def __init__(self, kubeconfig: Path, log: Path, name: str, lease: str, **variables: str) -> None:
        self.name = name
        self.log_path = log
        environment = {
            **os.environ,
            **QUICK,
            "PYTHONPATH": str(CHECKOUT / "operator"),
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": name,
            "POD_NAMESPACE": "default",
            "CURRANT_OPERATOR_LEASE_NAME": lease,
            "CURRANT_OPERATOR_HTTP_PORT": "0",
            **variables,
        }
        with log.open("ab") as output:
            command = [sys.executable, "-m", "currant_operator"]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    @property
    def log(self) -> str:
        """The log so far."""
        return self.log_path.read_text()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    @property
    def port(self) -> int:
        """The port of its pages; waits for it."""
        found = eventually(lambda: re.search(r"health and metrics on port (\d+)", self.log) or not self.running)
        assert isinstance(found, re.Match), f"the operator ended:\n{self.log}"
        return int(found[1])

    def page(self, path: str) -> str:
        """A page, or the reason that it gives with status 503."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series with these labels."""
        return sum(value for found, value in self.metrics(name) if labels.items() <= found.items())

    def metrics(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Every series of a metric: labels and value."""
        for line in self.page("/metrics").splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found:
                yield dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")), float(found[2])

    @property
    def leading(self) -> bool:
        """Whether it leads."""
        return self.running and self.metric("currant_operator_leading") == 1

    @property
    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self.running and self.page("/readyz") == "ok\n"

    def wait_leading(self) -> RunningOperator:
        """Return when it leads."""
        eventually(lambda: self.leading or not self.running)
        assert self.running, f"the operator ended with {self.process.returncode}:\n{self.log}"
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(30)

    def terminate(self) -> int:
        """SIGTERM, as at the end of a pod; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def starter(kubeconfig: Path, directory: Path) -> Iterator[Callable[..., RunningOperator]]:
    """Gives `start(name=None, lease=None, through=None, VARIABLE="value")`, which starts an operator.

    Each has a lease of its own unless it is named; `through` is another kubeconfig. All are killed at the end, and their logs printed.
    """
    started: list[RunningOperator] = []

    def start(
        name: str | None = None, lease: str | None = None, through: Path | None = None, **variables: str
    ) -> RunningOperator:
        number = next(_numbers)
        name = name or f"operator-{number}"
        log = directory / f"{number}-{name}.log"
        started.append(RunningOperator(through or kubeconfig, log, name, lease or f"currant-{number}", **variables))
        return started[-1]

    try:
        yield start
    finally:
        for operator in started:
            operator.kill()
            print(f"--- log of {operator.name}\n{operator.log}")


class Cluster:
    """kubectl in one namespace, as a person would use it."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        return self.kubectl("-n", self.namespace, *words, stdin=stdin)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests."""
        self.kubectl.apply(*manifests, namespace=self.namespace)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object; empty when there is none."""
        found = self("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found else {}

    def condition(self, kind: str, name: str, condition: str) -> dict[str, Any]:
        """One condition of an object, with `status`, `reason` and `message`; empty when it is not there."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == condition), {})

    def wait_reason(self, kind: str, name: str, condition: str, reason: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until a condition has a reason; gives the condition."""

        def reached() -> dict[str, Any] | None:
            found = self.condition(kind, name, condition)
            assert found.get("reason") == reason, f"{condition} of {kind} {name} is {found}"
            return found

        found = eventually(reached, timeout)
        assert found is not None
        return found

    def secret(self, url: str, name: str = "currant-db", key: str = "url") -> None:
        """Make or change the secret with the database's URL."""
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: url}})

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of each event about an object."""
        listed = self.kubectl.json(
            "-n", self.namespace, "get", "events", f"--field-selector=involvedObject.name={name}"
        )
        return [(event["type"], event["reason"], event["message"]) for event in listed["items"]]

    def described(self, kind: str, name: str) -> str:
        """The output of `kubectl describe`, white space as one space."""
        return " ".join(self("describe", kind, name).split())
