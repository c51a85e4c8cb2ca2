"""The candidates. Each is one module here with a class `Candidate`; the peers are in bench/peers."""

from __future__ import annotations

import importlib

from bench import peers
from bench.candidates.base import Candidate

LIMIT, OWN = "limit", "currant"
MODULES = {LIMIT: "bench.candidates.limit", OWN: "bench.candidates.currant_sdk"}


def load(name: str) -> Candidate:
    """The candidate of that name, or the peer. Raises `KeyError` when there is none."""
    if name not in MODULES:
        return peers.load(name)
    candidate: Candidate = importlib.import_module(MODULES[name]).candidate
    return candidate
