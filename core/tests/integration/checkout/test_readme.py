"""The README's first program does what it says, and the page of settings has what there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from currant.rust_bridge import RustBridge
from support import CHECKOUT, WorkerProcess, eventually

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FIRST_PROGRAM = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_first_program_runs(worker_process: Callable[..., WorkerProcess], run_currant: Run, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FIRST_PROGRAM)
    worker_process(["orders", "mail"], "shop", cwd=tmp_path)
    done = run_currant("queue", "shop.process_order", '["o-1", 4200]', "--wait", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"order": "o-1", "payment": "payment-o-1"}
    tree = run_currant("show", done.stderr.strip()).stdout
    for step in ("shop.charge  completed", "shop.send_mail  completed", "timer  fired"):
        assert step in tree


def test_a_large_order_of_it_waits_for_its_signal(
    worker_process: Callable[..., WorkerProcess], run_currant: Run, tmp_path: Path, bridge: RustBridge
) -> None:
    (tmp_path / "shop.py").write_text(FIRST_PROGRAM.replace("sleep(5)", "sleep(0.1)"))
    worker_process(["orders", "mail"], "shop", cwd=tmp_path)
    id = run_currant(
        "queue", "shop.process_order", '{"order_id": "o-2", "amount": 200000}', cwd=tmp_path
    ).stdout.strip()
    waits = ("signal", "approved", "waiting")
    eventually(lambda: waits in [(step["kind"], step["name"], step["state"]) for step in bridge.show(id)["steps"]])
    assert bridge.get_execution(id)["state"] in ("running", "suspended")
    assert run_currant("signal", id, "approved").returncode == 0
    eventually(lambda: bridge.get_execution(id)["state"] == "completed")
