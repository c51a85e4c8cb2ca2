"""The peers: other task queues and workflow libraries, each a module here with a `Candidate`.

They are an optional extra, `pip install -r bench/peers/requirements.txt`, and one of them is a package for Node.js
(`INSTALL_NODE`); one that is not installed is skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.candidates.base import Candidate

INSTALL = "pip install -r bench/peers/requirements.txt"
INSTALL_NODE = "npm install --no-package-lock --prefix bench/peers"
NODE_MODULES = Path(__file__).parent / "node_modules"


@dataclass(frozen=True)
class Peer:
    """One peer: its candidate's module, and what it needs.

    That is packages of Python, a program with its Debian package, and a package of Node.js.
    """

    module: str
    packages: tuple[str, ...] = ()
    program: str = ""
    debian: str = ""
    node_package: str = ""

    def lacks(self) -> str:
        """The peers that are not installed, and how to install them; empty when all are."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed: {INSTALL}"
        if self.program and shutil.which(self.program) is None:
            return f"{self.program} is not installed: apt-get install {self.debian}"
        if self.node_package and not (NODE_MODULES / self.node_package / "package.json").exists():
            return f"{self.node_package} is not installed: {INSTALL_NODE}"
        return ""


PEERS = {
    "pgqueuer": Peer("bench.peers.pgqueuer_peer", ("pgqueuer",)),
    "procrastinate": Peer("bench.peers.procrastinate_peer", ("procrastinate",)),
    "dbos": Peer("bench.peers.dbos_peer", ("dbos",)),
    "absurd": Peer("bench.peers.absurd_peer", ("absurd_sdk", "absurdctl"), "psql", "postgresql-client"),
    "celery": Peer("bench.peers.celery_peer", ("celery", "redis"), "redis-server", "redis-server"),
    "graphile-worker": Peer(
        "bench.peers.graphile_peer", program="node", debian="nodejs npm", node_package="graphile-worker"
    ),
}


def available(names: Iterable[str] = PEERS) -> tuple[list[str], list[str]]:
    """Which of these peers can take part here, and a line for each that cannot: why, and how to install it.

    Raises `KeyError` when there is no peer of a name.
    """
    lacking = {name: PEERS[name].lacks() for name in names}
    present = [name for name, lack in lacking.items() if not lack]
    return present, [f"{name} is skipped: {lack}" for name, lack in lacking.items() if lack]


def load(name: str) -> Candidate:
    """The peer's candidate. Raises `KeyError` when there is no peer of that name."""
    candidate: Candidate = importlib.import_module(PEERS[name].module).candidate
    return candidate
