"""kubectl, helm and psql as functions, which print what they see; and waiting for a condition."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from e2e.clusters import Kubectl, KubectlError, current

T = TypeVar("T")
Object = dict[str, Any]


@cache
def cluster() -> Kubectl:
    """kubectl on the cluster of KUBECONFIG."""
    return current()


def show(*words: str) -> str:
    """Run `kubectl WORDS`, print the command and its output, and return the output."""
    output = cluster()(*words)
    say(f"$ kubectl {' '.join(words)}\n{output.rstrip()}")
    return output


def say(text: str) -> None:
    """Print evidence, set off from pytest's own lines."""
    print("\n    " + text.replace("\n", "\n    "), flush=True)


def refusal(*words: str, stdin: str | None = None) -> str:
    """The message with which kubectl refuses `WORDS`; fails if it accepts them."""
    try:
        output = cluster()(*words, stdin=stdin)
    except KubectlError as error:
        say(f"$ kubectl {' '.join(words)}\n{error}")
        return str(error)
    raise AssertionError(f"kubectl {' '.join(words)} was not refused: {output}")


def helm(*words: str, timeout: float = 300) -> str:
    """Run `helm WORDS`, print it and its output up to the notes, and return its stdout. Fails with its stderr."""
    done = subprocess.run(["helm", *words], capture_output=True, text=True, timeout=timeout, check=False)
    said = re.sub(r"^NOTES:\n.*?(?=^ok: |\Z)", "", done.stdout + done.stderr, flags=re.MULTILINE | re.DOTALL)
    say(f"$ helm {' '.join(words)}\n{said.rstrip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def eventually(what: str, probe: Callable[[], T | None], timeout: float = 60, interval: float = 0.3) -> T:
    """Call `probe` until it returns something true, and return that; an error of kubectl counts as false.

    `timeout` and `interval` in seconds. Fails with `what` and the last thing seen.
    """
    limit = time.monotonic() + timeout
    seen: object = None
    while True:
        try:
            value = probe()
            if value:
                return value
            seen = value
        except (KubectlError, AssertionError) as error:
            seen = error
        if time.monotonic() > limit:
            raise AssertionError(f"{what}: not within {timeout:g} s; last seen: {seen!r}")
        time.sleep(interval)


@dataclass(frozen=True)
class Condition:
    """One condition of an object's status."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class Namespace:
    """One namespace of the tests, and requests about it."""

    name: str

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 120) -> str:
        """`kubectl -n NAME WORDS`."""
        return cluster()("-n", self.name, *words, stdin=stdin, timeout=timeout)

    def show(self, *words: str) -> str:
        """`show`, in this namespace."""
        return show("-n", self.name, *words)

    def apply(self, *manifests: Object) -> None:
        """Server-side apply, as a person at the command line does it."""
        cluster().apply(*manifests, namespace=self.name)

    def patch(self, kind: str, name: str, patch: Object) -> None:
        """A merge patch."""
        self("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def find(self, kind: str, name: str) -> Object | None:
        """An object, or None where there is none."""
        text = self("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def get(self, kind: str, name: str) -> Object:
        """An object that must be there."""
        found = self.find(kind, name)
        assert found is not None, f"no {kind} {name} in {self.name}"
        return found

    def items(self, kind: str, *words: str) -> list[Object]:
        """All objects of a kind; `words` may narrow them (`-l`, `pool=x`)."""
        found: list[Object] = json.loads(self("get", kind, *words, "-o", "json"))["items"]
        return found

    def pods(self, pool: str) -> list[Object]:
        """The pods of a pool that are not being deleted, oldest first."""
        found = self.items("pods", "-l", f"currant.dev/pool={pool}")
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def condition(self, kind: str, name: str, condition: str) -> Condition | None:
        """One condition of an object, or None while it has none."""
        found = self.find(kind, name) or {}
        for entry in found.get("status", {}).get("conditions", []):
            if entry["type"] == condition:
                return Condition(entry["status"], entry["reason"], entry.get("message", ""))
        return None

    def wait(
        self,
        kind: str,
        name: str,
        condition: str,
        status: str,
        reason: str = "",
        message: str = "",
        timeout: float = 90,
    ) -> Condition:
        """Wait until a condition has this status, and a reason and a message that these patterns are found in."""
        wanted = f"{kind} {self.name}/{name} {condition}={status} {reason} {message!r}"
        seen: list[Condition | None] = []

        def probe() -> Condition | None:
            found = self.condition(kind, name, condition)
            seen[:] = [found]
            fits = found and found.status == status and re.search(reason, found.reason)
            return found if found and fits and re.search(message, found.message) else None

        try:
            return eventually(wanted, probe, timeout)
        except AssertionError as error:
            say(cluster()("-n", self.name, "describe", kind, name))
            raise AssertionError(f"{error}; its condition: {seen[0]}") from None

    def ready(self, kind: str, name: str, timeout: float = 120) -> None:
        """Wait until an object is Ready for its present spec (`status.observedGeneration`)."""
        self.wait(kind, name, "Ready", "True", timeout=timeout)

        def seen() -> bool:
            found = self.get(kind, name)
            return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])

        eventually(f"{kind} {name} is observed", seen)
        self.wait(kind, name, "Ready", "True", timeout=timeout)

    def execute(self, pod: str, *command: str) -> str:
        """`kubectl exec POD -- COMMAND`; `pod` may be `deployment/NAME`."""
        return self("exec", pod, "--", *command)

    def raw(self, verb: str, path: str, body: Object | None = None) -> Any:
        """A request through the API server, such as its proxy to a Service; the answer decoded from JSON."""
        words = [verb, "--raw", path.format(namespace=self.name)]
        if body is not None:
            words += ["-f", "-"]
        answer = cluster()(*words, stdin=None if body is None else json.dumps(body))
        return json.loads(answer)

    def gone(self, kind: str, name: str, timeout: float = 90) -> None:
        """Wait until there is no such object."""
        eventually(f"{kind} {name} is gone", lambda: self.find(kind, name) is None, timeout)


@dataclass(frozen=True)
class Database:
    """One database of the release's demo Postgres."""

    system: Namespace
    """The namespace of the release."""
    pod: str
    name: str

    def sql(self, statement: str) -> str:
        """Run SQL as its owner; rows are lines, columns are separated by `|`."""
        psql = ["psql", "--no-psqlrc", "-U", "currant", "-d", self.name, "-v", "ON_ERROR_STOP=1", "-Atq", "-f", "-"]
        return self.system("exec", "-i", self.pod, "--", *psql, stdin=statement).strip()

    def number(self, statement: str) -> int:
        """The one number that a query gives."""
        return int(self.sql(statement))

    def enqueue(self, function: str, count: int = 1, queue: str | None = None, **arguments: object) -> list[str]:
        """Enqueue runs from SQL, which any program may do, and give their ids; each has its `number`, from 1 on."""
        options = json.dumps({"queue": queue} if queue else {})
        return self.sql(
            f"select currant.enqueue('{function}', jsonb_build_object('kwargs', '{json.dumps(arguments)}'::jsonb"
            f" || jsonb_build_object('number', n)), '{options}') from generate_series(1, {count}) n"
        ).splitlines()

    def states(self, function: str) -> dict[str, int]:
        """The number of runs of a function in each state."""
        rows = self.sql(
            f"select state, count(*) from currant.runs where function = '{function}' group by 1"
        ).splitlines()
        return {state: int(count) for state, count in (row.split("|") for row in rows)}

    def completed(self, function: str, count: int, timeout: float = 90) -> None:
        """Wait until all runs of a function have completed; fails at once when one failed."""

        def probe() -> bool:
            states = self.states(function)
            if states.get("failed"):
                errors = self.sql(
                    f"select error from currant.runs where function = '{function}' and state = 'failed' limit 3"
                )
                raise RuntimeError(f"{function}: {states}: {errors}")
            return states == {"completed": count}

        eventually(f"{count} runs of {function} completed", probe, timeout)
