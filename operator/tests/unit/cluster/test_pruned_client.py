"""The images have no model and no typed call of the official client (`prune-client.sh`): the operator needs none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OPERATOR = Path(__file__).parents[3]
PROGRAM = """
import importlib.abc
import re
import sys

class Pruned(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if re.fullmatch(r"kubernetes\\.(aio\\.)?client\\.(api\\.\\w+_api|models\\.v\\d\\w+)", name):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Pruned())
import asyncio
from currant_operator import app
from currant_operator.cluster.api import Api
from currant_operator.cluster.errors import ApiError
from currant_operator.plan import kinds
from kubernetes.aio.client import Configuration

async def call():
    api = Api(Configuration(host="http://127.0.0.1:1", client_session_kwargs={"trust_env": False}))
    try:
        await api.get(kinds.SECRET, "shop", "db")
    except ApiError as error:
        print(error)
    finally:
        await api.close()

asyncio.run(call())
"""


def test_the_operator_calls_the_api_server_without_the_clients_models_and_typed_calls() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, cwd=OPERATOR, capture_output=True, text=True, check=True)
    assert "the API server cannot be reached: Cannot connect to host 127.0.0.1:1" in ended.stdout


def test_pruning_takes_models_and_typed_calls_and_nothing_else(tmp_path: Path) -> None:
    goes = [
        f"{half}/{name}" for half in ("client", "aio/client") for name in ("api/core_v1_api.py", "models/v1_pod.py")
    ]
    goes += ["client/models/__pycache__/v1_pod.cpython-311.pyc", "client/api/__pycache__/core_v1_api.cpython-311.pyc"]
    stays = ["client/api/__init__.py", "aio/client/models/__init__.py", "aio/client/api_client.py", "dynamic/client.py"]
    for name in (*goes, *stays):
        path = tmp_path / "site-packages" / "kubernetes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    elsewhere = tmp_path / "site-packages" / "other" / "client" / "api" / "some_api.py"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.touch()
    subprocess.run([OPERATOR / "prune-client.sh", tmp_path], check=True)
    left = {
        str(path.relative_to(tmp_path / "site-packages" / "kubernetes"))
        for path in tmp_path.rglob("kubernetes/**/*.py*")
    }
    assert left == set(stays)
    assert elsewhere.exists()
