"""The shop of examples/kubernetes, without Kubernetes: its web application and a worker, as their pods run them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from currant.rust_bridge import RustBridge
from support import CHECKOUT, WorkerProcess, child_environment, eventually

DIRECTORY = CHECKOUT / "examples" / "kubernetes"
Start = Callable[..., WorkerProcess]
StartShop = Callable[[str], httpx.Client]


@pytest.fixture
def start_shop(tmp_path: Path) -> Iterator[StartShop]:
    """Start the web application on a database; gives a client of it."""
    started: list[tuple[subprocess.Popen[bytes], httpx.Client]] = []

    def start(database_url: str) -> httpx.Client:
        log = tmp_path / f"web-{len(started)}.log"
        with log.open("wb") as file:
            web = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "shop.app:app", "--port", "0"],
                cwd=DIRECTORY,
                env=child_environment(database_url),
                stdout=file,
                stderr=file,
            )

        def address() -> str | None:
            assert web.poll() is None, log.read_text()
            found = re.search(r"running on (http://\S+)", log.read_text())
            return found and found[1]

        client = httpx.Client(timeout=30)
        started.append((web, client))
        client.base_url = httpx.URL(eventually(address))
        return client

    yield start
    for web, client in started:
        client.close()
        web.kill()
        web.wait()


def order(id: str, **changed: Any) -> dict[str, Any]:
    return {"order_id": id, "item": "apple", "quantity": 2, "cents": 480, **changed}


def ended(shop: httpx.Client, id: str) -> dict[str, Any] | None:
    """What the shop says of an order that has ended."""
    said: dict[str, Any] = shop.get(f"/orders/{id}").raise_for_status().json()
    return said if said["state"] in ("completed", "failed") else None


def test_an_order_is_accepted_worked_on_and_its_receipt_shown(
    start_shop: StartShop, database: str, worker_process: Start
) -> None:
    shop = start_shop(database)
    answer = shop.post("/orders", json=order("o-1"))
    assert answer.status_code == 202
    id = answer.json()["id"]
    assert shop.get(f"/orders/{id}").json() == {"id": id, "state": "pending", "receipt": None, "error": None}
    worker_process(["orders", "payments"], "shop.orders", cwd=DIRECTORY)
    assert eventually(lambda: ended(shop, id)) == {
        "id": id,
        "state": "completed",
        "receipt": {"order_id": "o-1", "payment": "payment-o-1", "parcel": "parcel-o-1"},
        "error": None,
    }


def test_the_same_order_sent_twice_is_one(start_shop: StartShop, database: str, bridge: RustBridge) -> None:
    shop = start_shop(database)
    ids = {shop.post("/orders", json=order("o-1")).json()["id"] for _ in range(3)}
    assert len(ids) == 1
    assert [row["id"] for row in bridge.list_executions()] == list(ids)


def test_an_order_of_what_is_not_in_stock_fails_and_says_so(
    start_shop: StartShop, database: str, worker_process: Start
) -> None:
    shop = start_shop(database)
    worker_process(["orders", "payments"], "shop.orders", cwd=DIRECTORY)
    id = shop.post("/orders", json=order("o-1", item="quince")).json()["id"]
    said = eventually(lambda: ended(shop, id))
    assert (said["state"], said["receipt"]) == ("failed", None)
    assert "there are not 2 of 'quince'" in said["error"]


def test_bad_orders_and_unknown_ids_are_refused(start_shop: StartShop, database: str) -> None:
    shop = start_shop(database)
    assert shop.post("/orders", json=order("o-1", quantity=0)).status_code == 422
    assert shop.get("/orders/not-an-id").status_code == 404
    assert shop.get("/orders/00000000-0000-0000-0000-000000000000").status_code == 404


def test_without_a_schema_or_a_database_the_shop_asks_to_be_called_again(
    start_shop: StartShop, empty_database: str
) -> None:
    for url in (empty_database, "postgresql://nobody:x@127.0.0.1:1/none"):
        shop = start_shop(url)
        assert shop.get("/healthz").status_code == 200
        answer = shop.post("/orders", json=order("o-1"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["detail"]


def test_the_stock_report_names_what_is_running_out(worker_process: Start, run_currant: Callable[..., Any]) -> None:
    worker_process(["orders", "payments"], "shop.orders", cwd=DIRECTORY)
    done = run_currant("queue", "shop.orders.report_stock", '{"below": 100}', "--wait", cwd=DIRECTORY)
    assert done.returncode == 0, done.stderr
    assert "running out of pear, quince" in done.stdout
