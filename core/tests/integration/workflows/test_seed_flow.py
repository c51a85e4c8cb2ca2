"""The worker in one terminal and the enqueue in another, word for word, from the root of the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from currant.rust_bridge import RustBridge
from support import CHECKOUT, eventually

WORKER = "python -m currant worker -q orders -q notifications -m examples.simple_example"
ENQUEUE = "python examples/enqueue_example.py"


@pytest.fixture
def terminal(database: str) -> dict[str, object]:
    """What a terminal has: the repository's root, the environment's `python` and the database's URL; nothing else."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "WORKFLOWS_DATABASE_URL": database}
    return {"cwd": CHECKOUT, "env": environment, "text": True, "stderr": subprocess.STDOUT}


@pytest.fixture
def first_terminal(terminal: dict[str, object], bridge: RustBridge) -> Iterator[subprocess.Popen[str]]:
    """The worker of the first terminal."""
    with subprocess.Popen(WORKER.split(), stdout=subprocess.PIPE, **terminal) as process:  # type: ignore[call-overload]
        try:
            eventually(lambda: bridge.workers() or process.poll() is not None, 30)
            assert process.poll() is None, process.communicate()[0]
            yield process
        finally:
            process.kill()


def test_a_worker_in_one_terminal_and_an_enqueue_in_the_other(
    first_terminal: subprocess.Popen[str], terminal: dict[str, object], bridge: RustBridge
) -> None:
    done = subprocess.run(ENQUEUE.split(), stdout=subprocess.PIPE, timeout=60, **terminal)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout
    found = re.fullmatch(r"enqueued (\S+)\nresult   (\{.*\})\n", done.stdout)
    assert found, done.stdout
    assert found[2] == "{'order_id': 'order-1', 'payment_id': 'pay-order-1', 'notified': True}"
    tree = bridge.show(found[1])
    steps = {(row["function"], row["queue"], row["state"]) for row in tree["executions"]}
    assert steps == {
        ("examples.simple_example.process_order", "orders", "completed"),
        ("examples.simple_example.charge_card", "orders", "completed"),
        ("examples.simple_example.send_notification", "notifications", "completed"),
    }
    first_terminal.terminate()
    assert first_terminal.wait(30) == 0


def test_it_does_not_matter_which_terminal_is_first(terminal: dict[str, object], bridge: RustBridge) -> None:
    with subprocess.Popen(ENQUEUE.split(), stdout=subprocess.PIPE, **terminal) as second:  # type: ignore[call-overload]
        eventually(lambda: bridge.list_executions())
        with subprocess.Popen(WORKER.split(), stdout=subprocess.PIPE, **terminal) as first:  # type: ignore[call-overload]
            output, _ = second.communicate(timeout=60)
            first.kill()
    assert second.returncode == 0, output
    assert "'notified': True" in output
