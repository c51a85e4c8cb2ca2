"""Processes that are found again by their file."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster_tool import layout, processes
from e2e.cluster_tool.errors import ClusterError
from e2e.cluster_tool.ports import CANDIDATES, Reservation


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[layout.Cluster]:
    made = layout.create(tmp_path / "cluster")
    yield made
    for file in made.pids.iterdir():
        processes.stop(made, file.name)


def test_a_process_that_ended_is_not_taken_for_alive(cluster: layout.Cluster) -> None:
    pid = processes.start(cluster, "sleeper", ["sleep", "600"])
    assert processes.pid_of(cluster, "sleeper") == pid
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_until(lambda: processes.pid_of(cluster, "sleeper") is None, 10)


def test_a_stranger_with_the_same_id_is_left_alone(cluster: layout.Cluster) -> None:
    stranger = processes.start(cluster, "stranger", ["sleep", "600"])
    (cluster.pids / "ours").write_text(f"{stranger} 1\n")
    processes.stop(cluster, "ours")
    assert processes.alive(stranger)


def test_what_does_not_listen_to_a_request_is_killed(cluster: layout.Cluster) -> None:
    deaf = "trap '' TERM; echo deaf; while :; do sleep 600; done"
    pid = processes.start(cluster, "deaf", ["bash", "-c", deaf])
    processes.wait_for(cluster, "deaf", lambda: "deaf" in (cluster.logs / "deaf.log").read_text())
    processes.stop(cluster, "deaf", signal.SIGTERM, patience=0.2)
    assert not processes.alive(pid)


def test_the_last_log_lines_of_a_process_that_did_not_start_are_shown(cluster: layout.Cluster) -> None:
    processes.start(cluster, "broken", ["bash", "-c", "echo something; echo the port is taken >&2; exit 1"])
    with pytest.raises(ClusterError, match=r"broken: ended at once; its last line: the port is taken$"):
        processes.wait_for(cluster, "broken", lambda: False)


def test_of_a_command_that_forks_it_is_the_child_that_counts(cluster: layout.Cluster) -> None:
    processes.start_forking(cluster, "forks", ["bash", "-c", "sleep 600; true"])
    pid = processes.pid_of(cluster, "forks")
    assert processes.wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", 10)


def test_a_command_that_ends_instead_of_forking_says_why(cluster: layout.Cluster) -> None:
    with pytest.raises(ClusterError, match="forks: ended at once; its last line: not permitted"):
        processes.start_forking(cluster, "forks", ["bash", "-c", "echo not permitted; exit 1"])


def test_a_port_is_nobody_elses_until_it_is_released() -> None:
    reserved = Reservation()
    assert reserved.port in CANDIDATES
    with socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", reserved.port))
        reserved.release()
        other.bind(("127.0.0.1", reserved.port))
