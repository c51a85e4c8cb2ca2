"""The demo finds what would be wrong: each kind of damage to a good outcome is told."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest

from examples.demo import ORDERS
from examples.demo_check import MODULE, Expected, check, expect
from examples.order_flow import Order, read_orders

START = "2026-01-02T03:04:05+00:00"
END = "2026-01-02T03:04:15+00:00"
IN_BETWEEN_MICROS = 1_767_323_050_000_000
AFTER_END_MICROS = IN_BETWEEN_MICROS + 60_000_000

ORDER = Order("o-1", "ann-1", "mug", 1, 1_190, "card-ok", "DE")
DECLINED = Order("o-2", "bob-1", "mug", 1, 1_190, "card-declined", "DE")


def outcome_of(orders: list[Order]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The executions and the ledger of a shop where all went as it must."""
    executions, ledger = [], []
    for order in orders:
        expected = expect(order)
        executions.append(make_execution(order, order.order_id, None, "fulfil_order", expected.state, expected.text))
        for step, state in expected.steps.items():
            id = f"{order.order_id}/{step}"
            executions.append(make_execution(order, id, order.order_id, step, state, None))
            line = {
                "order": order.order_id,
                "step": step,
                "execution": id,
                "attempt": 1,
                "pid": 7,
                "at": IN_BETWEEN_MICROS,
            }
            ledger.append(line)
    return executions, ledger


def make_execution(
    order: Order, id: str, parent: str | None, name: str, state: str, text: str | None
) -> dict[str, Any]:
    """An execution as `currant list --json` prints it."""
    return {
        "id": id,
        "parent_id": parent,
        "function": f"{MODULE}.{name}",
        "state": state,
        "attempt": 1,
        "created_at": START,
        "finished_at": END,
        "args": {"args": [{"order_id": order.order_id}], "kwargs": {}},
        "result": text if state == "completed" else None,
        "error": {"type": "OrderFailed", "message": text, "traceback": ""} if state == "failed" else None,
    }


@pytest.fixture
def shop() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A good outcome of two orders, to be damaged."""
    return copy.deepcopy(outcome_of([ORDER, DECLINED]))


def problems(executions: list[dict[str, Any]], ledger: list[dict[str, Any]]) -> list[str]:
    return check([ORDER, DECLINED], executions, ledger).problems


def test_a_good_outcome_of_all_2000_orders_has_nothing_wrong() -> None:
    orders = read_orders(ORDERS)
    executions, ledger = outcome_of(orders)
    verdict = check(orders, executions, ledger)
    assert verdict.problems == []
    assert (len(orders), verdict.completed + verdict.failed) == (2_000, 2_000)
    assert verdict.seconds == 10


def test_the_orders_hold_every_kind_of_end() -> None:
    ends = Counter(expect(order).text.split(": ")[-1].split(" ")[0] for order in read_orders(ORDERS))
    assert ends["ann"] >= 10  # refused
    assert ends["no"] >= 50  # out of stock, or no carrier
    assert sum(count for word, count in ends.items() if word.startswith("parcel-")) >= 1_700


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sku": "typewriter"}, {"reserve_stock": "failed", "send_mail": "completed"}),
        (
            {"amount_cents": 300_000},
            {"reserve_stock": "completed", "release_stock": "completed", "send_mail": "completed"},
        ),
        (
            {"country": "AQ"},
            {
                "reserve_stock": "completed",
                "charge": "completed",
                "ship": "failed",
                "refund": "completed",
                "release_stock": "completed",
                "send_mail": "completed",
            },
        ),
    ],
)
def test_an_order_that_cannot_be_fulfilled_is_undone(change: dict[str, Any], expected: dict[str, str]) -> None:
    order = Order(**{**ORDER.__dict__, **change})
    assert (expect(order).state, expect(order).steps) == ("failed", expected)


def test_a_large_order_that_is_approved_goes_through() -> None:
    assert expect(Order(**{**ORDER.__dict__, "amount_cents": 200_000})) == Expected(
        "completed", "parcel-o-1", expect(ORDER).steps
    )


def test_a_lost_order_is_told(shop: Any) -> None:
    executions, ledger = shop
    assert any("0 runs" in line for line in problems([e for e in executions if e["id"] != "o-1"], ledger))


def test_an_order_that_ran_twice_is_told(shop: Any) -> None:
    executions, ledger = shop
    assert "o-1: 2 runs, not 1" in problems([*executions, {**executions[0], "id": "twin"}], ledger)


def test_a_wrong_end_is_told(shop: Any) -> None:
    executions, ledger = shop
    executions[0]["result"] = "parcel-of-somebody-else"
    assert any("must be completed (parcel-o-1)" in line for line in problems(executions, ledger))


def test_a_missing_step_is_told(shop: Any) -> None:
    executions, ledger = shop
    left = [e for e in executions if e["id"] != "o-1/ship"]
    assert any("ship must be recorded completed, 1 missing" in line for line in problems(left, ledger))


def test_a_step_made_twice_is_told(shop: Any) -> None:
    executions, ledger = shop
    twin = {**next(e for e in executions if e["id"] == "o-1/charge"), "id": "twin"}
    found = problems([*executions, twin], [*ledger, {**ledger[0], "step": "charge", "execution": "twin"}])
    assert any("charge is recorded completed, 1 more" in line for line in found)


def test_a_recorded_step_without_its_side_effect_is_told(shop: Any) -> None:
    executions, ledger = shop
    found = problems(executions, [line for line in ledger if line["execution"] != "o-1/charge"])
    assert found == ["o-1: charge is recorded completed, but never ran"]


def test_a_side_effect_without_a_record_is_told(shop: Any) -> None:
    executions, ledger = shop
    found = problems(executions, [*ledger, {**ledger[0], "execution": "unknown", "step": "charge"}])
    assert found == ["o-1: charge ran, but no such step is recorded"]


def test_a_recorded_step_that_ran_again_is_told(shop: Any) -> None:
    executions, ledger = shop
    again = {**ledger[0], "at": AFTER_END_MICROS, "attempt": 2, "pid": 8}
    executions[1]["attempt"] = 2
    assert problems(executions, [*ledger, again]) == [
        "o-1: reserve_stock ran again after its outcome was recorded (attempt 2)"
    ]


def test_more_runs_than_attempts_are_told(shop: Any) -> None:
    executions, ledger = shop
    assert problems(executions, [*ledger, dict(ledger[0])]) == ["o-1: reserve_stock ran 2 times in 1 attempts"]


def test_a_step_that_moved_to_another_worker_counts_as_taken_over_and_not_as_retried(shop: Any) -> None:
    executions, ledger = shop
    executions[1]["attempt"] = 2
    verdict = check([ORDER, DECLINED], executions, [*ledger, {**ledger[0], "pid": 8, "at": IN_BETWEEN_MICROS + 1}])
    assert (verdict.problems, verdict.taken_over, verdict.retried) == ([], 1, 0)
