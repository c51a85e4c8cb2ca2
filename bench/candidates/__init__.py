"""Who takes part. A candidate is one module here with a class `Candidate`; its name is the module's."""

from __future__ import annotations

import importlib

from bench.candidates.base import Candidate

LIMIT = "limit"
MODULES = {LIMIT: "bench.candidates.limit", "currant": "bench.candidates.currant_sdk"}


def load(name: str) -> Candidate:
    """The candidate of that name. Raises `KeyError` when there is none."""
    candidate: Candidate = importlib.import_module(MODULES[name]).candidate
    return candidate
