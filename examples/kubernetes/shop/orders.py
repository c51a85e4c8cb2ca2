"""The tasks and workflows of an order. The pool of `workerpool.yaml` runs this module; `workflow.yaml` sets its rules.

currant worker -q orders -q payments -m shop.orders
"""

import asyncio
from dataclasses import dataclass

from currant import Retry, now, task, workflow

STOCK = {"apple": 120, "pear": 80, "quince": 0}


@dataclass
class Order:
    order_id: str
    item: str
    quantity: int
    cents: int


@dataclass
class Receipt:
    order_id: str
    payment: str
    parcel: str


class OutOfStock(Exception):
    """The item is out of stock, also on another try."""


@task(queue="orders", retry=Retry(max_attempts=4, non_retryable=(OutOfStock,)))
async def reserve(order: Order) -> None:
    await asyncio.sleep(0.1)  # a call to the warehouse
    if STOCK.get(order.item, 0) < order.quantity:
        raise OutOfStock(f"there are not {order.quantity} of {order.item!r}")


@task(queue="payments", retries=5, timeout=30)
async def charge(order: Order) -> str:
    await asyncio.sleep(0.3)  # a call to the bank; the order's id makes a second one harmless
    return f"payment-{order.order_id}"


@task(queue="orders", retries=5)
async def ship(order: Order) -> str:
    await asyncio.sleep(0.2)
    return f"parcel-{order.order_id}"


@workflow(queue="orders")
async def process_order(order: Order) -> Receipt:
    """Reserve, charge, ship. When its pod is deleted, another pod continues after the last completed step."""
    await reserve.run(order)
    payment = await charge.run(order)
    parcel = await ship.run(order)
    return Receipt(order.order_id, payment, parcel)


@task(queue="orders")
async def count_stock(item: str) -> int:
    await asyncio.sleep(0.05)
    return STOCK[item]


@workflow(queue="orders")
async def report_stock(below: int) -> str:
    """Name what is running out: fewer than `below`. A schedule in `workflow.yaml` starts it."""
    counts = await asyncio.gather(*(count_stock.run(item) for item in STOCK))
    low = [item for item, count in zip(STOCK, counts, strict=True) if count < below]
    return f"{now():%Y-%m-%d %H:%M}: running out of {', '.join(low) or 'nothing'}"
