"""The peers of the benchmark suite: which can take part, and that what they need is told."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import peers
from bench.__main__ import parse
from bench.board import Boards
from bench.peers import PEERS, Peer, available

ROOT = Path(__file__).parents[4]
REQUIREMENTS = (ROOT / "bench/peers/requirements.txt").read_text()


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str, programs: bool = True) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in packages else None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if programs else None)


def test_one_that_is_not_installed_is_skipped_with_a_line_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "NODE_MODULES", tmp_path)
    installed(monkeypatch, "dbos", "celery")
    present, lines = available()
    assert present == ["dbos"]
    assert len(lines) == len(PEERS) - 1
    assert "celery is skipped: redis is not installed: pip install -r bench/peers/requirements.txt" in lines


def test_one_on_node_is_skipped_without_node_and_without_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "NODE_MODULES", tmp_path)
    installed(monkeypatch, programs=False)
    line = "graphile-worker is skipped: node is not installed: apt-get install nodejs npm"
    assert available(["graphile-worker"]) == ([], [line])
    installed(monkeypatch)
    line = f"graphile-worker is skipped: graphile-worker is not installed: {peers.INSTALL_NODE}"
    assert available(["graphile-worker"]) == ([], [line])
    (tmp_path / "graphile-worker").mkdir()
    (tmp_path / "graphile-worker/package.json").touch()
    assert available(["graphile-worker"]) == (["graphile-worker"], [])


def test_one_whose_program_is_not_there_is_skipped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "celery", "redis", programs=False)
    line = "celery is skipped: redis-server is not installed: apt-get install redis-server"
    assert available(["celery"]) == ([], [line])


def test_only_those_that_are_named_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, *(package for peer in PEERS.values() for package in peer.packages))
    assert available(["absurd", "pgqueuer"]) == (["absurd", "pgqueuer"], [])
    assert parse(["--peers", "absurd,pgqueuer"]).peers == ["absurd", "pgqueuer"]
    assert parse(["--peers"]).peers == list(PEERS)
    assert parse([]).peers == []


def test_a_name_that_is_no_peer_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--peers", "absurd,airflow"])
    assert f"no such peer: airflow; there are {', '.join(PEERS)}" in capsys.readouterr().err


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_the_requirements_pin_what_a_peer_imports(peer: Peer) -> None:
    pinned = {re.split(r"[=\[]", line)[0].replace("-", "_") for line in REQUIREMENTS.splitlines() if "==" in line}
    assert "celery[redis]==" in REQUIREMENTS, "which brings redis"
    assert set(peer.packages) <= pinned | {"redis"}
    outside = {"bench", "asyncpg", "psycopg", "uvloop", *sys.stdlib_module_names}  # the suite has these for itself
    paths = [ROOT / f"{name.replace('.', '/')}.py" for name in (peer.module, peer.module.replace("_peer", "_worker"))]
    for tree in (ast.parse(path.read_text()) for path in paths if path.exists()):
        modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
        foreign = {str(module).partition(".")[0] for module in modules} - outside
        assert foreign <= set(peer.packages)


def test_the_package_for_node_is_pinned() -> None:
    package = json.loads((ROOT / "bench/peers/package.json").read_text())
    wanted = {peer.node_package for peer in PEERS.values() if peer.node_package}
    assert set(package["dependencies"]) == wanted
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_a_worker_on_node_marks_a_board_that_python_reads(tmp_path: Path) -> None:
    boards = Boards(tmp_path, 3, 1)
    script = f"""
        import {{ join }} from "{ROOT}/bench/peers/board.mjs";
        const board = await join();
        board.mark(2); board.markTime(0); board.markTime(0);
        try {{ board.mark(3) }} catch (error) {{ console.log(error.name) }}
    """
    command = ["node", "--input-type=module", "--eval", script]
    environment = {**os.environ, **boards.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (board,) = boards.open()
    assert done.stdout == "RangeError\n"
    assert (board.count, board.marks) == (3, b"\2\0\1")
    assert board.times[0] >= board.started > 0
    assert board.times[1:] == [0, 0]
