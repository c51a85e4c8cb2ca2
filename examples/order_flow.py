"""The demo's shop: every order is reserved, paid, shipped and booked, or undone. `examples/demo.py` runs it.

    python -m currant worker -q orders -q stock -q payments -q shipping -q mail -m examples.order_flow

Whatever goes wrong here is decided by the order's data, so that what must come out can be computed beforehand.
"""

import asyncio
import csv
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import currant
from currant import ExecutionFailed, Retry, task, wait_for_signal, workflow

APPROVAL_LIMIT_CENTS = 100_000
LEDGER_VARIABLE = "DEMO_LEDGER"
QUEUES = ("orders", "stock", "payments", "shipping", "mail")
NEVER_IN_STOCK = "typewriter"
NO_CARRIER = "AQ"


@dataclass
class Order:
    order_id: str
    customer: str
    sku: str
    quantity: int
    amount_cents: int
    card: str
    country: str


class Decision(TypedDict):
    approved: bool
    by: str


class OutOfStock(Exception):
    """There is none left, now or on another try."""


class CardDeclined(Exception):
    """The bank said no, and will say so again."""


class GatewayTimeout(Exception):
    """The payment gateway did not answer in time; it may on another try."""


class NoCarrier(Exception):
    """Nobody delivers there."""


class OrderFailed(Exception):
    """The order was undone; the message says why."""


def read_orders(path: Path) -> list[Order]:
    """The orders of a CSV file, in its order."""
    with path.open(newline="", encoding="ascii") as file:
        return [_read_order(row) for row in csv.DictReader(file)]


def _read_order(row: dict[str, str]) -> Order:
    return Order(
        order_id=row["order_id"],
        customer=row["customer"],
        sku=row["sku"],
        quantity=int(row["quantity"]),
        amount_cents=int(row["amount_cents"]),
        card=row["card"],
        country=row["country"],
    )


async def perform(order: Order, step: str, seconds: float) -> None:
    """Stand for a call to another system: append one line to the demo's ledger, then take some time.

    The ledger is how the demo checks Currant without asking it. A line is one write to a file opened for
    appending: it is whole, and it outlives a worker that is killed.
    """
    path = os.environ.get(LEDGER_VARIABLE)
    if path is not None:
        attempt = currant.current()
        line = {
            "order": order.order_id,
            "step": step,
            "execution": attempt.id,
            "attempt": attempt.attempt,
            "pid": os.getpid(),
            "at": time.time_ns() // 1_000,
        }
        ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(ledger, json.dumps(line).encode() + b"\n")
        finally:
            os.close(ledger)
    await asyncio.sleep(seconds)


@task(queue="stock", retry=Retry(max_attempts=4, non_retryable=(OutOfStock,)))
async def reserve_stock(order: Order) -> None:
    await perform(order, "reserve_stock", 0.02)
    if order.sku == NEVER_IN_STOCK:
        raise OutOfStock(f"no {order.sku} in stock")


@task(queue="stock", retries=20)
async def release_stock(order: Order) -> None:
    await perform(order, "release_stock", 0.02)


@task(queue="payments", timeout=30, retry=Retry(max_attempts=5, initial=0.3, non_retryable=(CardDeclined,)))
async def charge(order: Order) -> str:
    """Charge the card. A card `card-timeout-N` fails its first N attempts, `card-declined` fails for good."""
    await perform(order, "charge", 0.15)
    if order.card == "card-declined":
        raise CardDeclined(f"{order.customer}'s card was declined")
    if order.card.startswith("card-timeout-") and currant.current().attempt <= int(order.card[-1]):
        raise GatewayTimeout("no answer from the gateway")
    return f"payment-{order.order_id}"


@task(queue="payments", retries=20)
async def refund(order: Order) -> None:
    await perform(order, "refund", 0.1)


@task(queue="shipping", retry=Retry(max_attempts=4, non_retryable=(NoCarrier,)))
async def ship(order: Order) -> str:
    await perform(order, "ship", 0.1)
    if order.country == NO_CARRIER:
        raise NoCarrier(f"no carrier delivers to {order.country}")
    return f"parcel-{order.order_id}"


@task(queue="mail")
async def send_mail(order: Order, subject: str) -> None:
    await perform(order, "send_mail", 0.02)


@task
async def book_revenue(order: Order, payment: str) -> None:
    await perform(order, "book_revenue", 0.01)


@workflow(queue="orders")
async def fulfil_order(order: Order) -> str:
    """Give the parcel's number, or fail with `OrderFailed` after everything done for the order is undone."""
    undo = []
    try:
        await reserve_stock.run(order)
        undo.append(release_stock)
        if order.amount_cents > APPROVAL_LIMIT_CENTS:
            decision: Decision = await wait_for_signal("approval", timeout=3_600)
            if not decision["approved"]:
                raise OrderFailed(f"{decision['by']} refused it")
        payment = await charge.run(order)
        undo.append(refund)
        parcel = await ship.run(order)
        await asyncio.gather(book_revenue.run(order, payment), send_mail.run(order, f"{parcel} is on its way"))
    except (ExecutionFailed, OrderFailed) as error:
        for compensation in reversed(undo):
            await compensation.run(order)
        await send_mail.run(order, "your order is cancelled")
        reason = error.message if isinstance(error, ExecutionFailed) else str(error)
        raise OrderFailed(f"{order.order_id}: {reason}") from error
    return parcel
