"""The peers: other task queues and workflow libraries, each a module here with a `Candidate`.

They are an optional extra, `pip install -r bench/peers/requirements.txt`; one that is not installed is skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from bench.candidates.base import Candidate

INSTALL = "pip install -r bench/peers/requirements.txt"


@dataclass(frozen=True)
class Peer:
    """One peer: its candidate's module, the packages that it needs, and a program with its Debian package."""

    module: str
    packages: tuple[str, ...]
    program: str = ""
    debian: str = ""

    def lacks(self) -> str:
        """The peers that are not installed, and how to install them; empty when all are."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed: {INSTALL}"
        if self.program and shutil.which(self.program) is None:
            return f"{self.program} is not installed: apt-get install {self.debian}"
        return ""


PEERS = {
    "pgqueuer": Peer("bench.peers.pgqueuer_peer", ("pgqueuer",)),
    "procrastinate": Peer("bench.peers.procrastinate_peer", ("procrastinate",)),
    "dbos": Peer("bench.peers.dbos_peer", ("dbos",)),
    "absurd": Peer("bench.peers.absurd_peer", ("absurd_sdk", "absurdctl"), "psql", "postgresql-client"),
    "celery": Peer("bench.peers.celery_peer", ("celery", "redis"), "redis-server", "redis-server"),
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
