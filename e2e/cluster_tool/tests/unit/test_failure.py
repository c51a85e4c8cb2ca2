"""A cluster that does not come up leaves its logs and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from e2e.cluster_tool import __main__ as tool
from e2e.cluster_tool import native, processes
from e2e.cluster_tool.layout import Cluster


def test_a_cluster_that_does_not_come_up_keeps_its_logs_and_prints_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(cluster: Cluster) -> None:
        processes.start(cluster, "sleeper", ["sleep", "600"])
        running.append(processes.pid_of(cluster, "sleeper"))
        processes.start(cluster, "etcd", ["bash", "-c", "echo starting; echo the disk is full; exit 1"])
        processes.wait_for(cluster, "etcd", lambda: False)

    def down(cluster: Cluster) -> None:
        processes.stop(cluster, "sleeper")

    running: list[int | None] = []
    place, kept = tmp_path / "cluster", tmp_path / "last-failure"
    monkeypatch.setattr(sys, "argv", ["cluster", "up", "--backend", "native", "--dir", str(place)])
    monkeypatch.setattr(tool, "FAILURE", kept)
    monkeypatch.setattr(native, "check", lambda *, with_node: None)
    monkeypatch.setattr(native, "prepare", lambda: None)
    monkeypatch.setattr(native, "up", breaks)
    monkeypatch.setattr(native, "down", down)

    assert tool.main() == 1
    assert capsys.readouterr().err.splitlines() == [
        f"e2e/cluster: the logs are in {kept}",
        "e2e/cluster: etcd: ended at once; its last line: the disk is full",
    ]
    assert (kept / "etcd.log").read_text() == "starting\nthe disk is full\n"
    assert not place.exists()
    assert running[0]
    assert not processes.alive(running[0])
