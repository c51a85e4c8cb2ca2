"""Two tasks and a workflow: the smallest useful program.

Run a worker, then enqueue work from a second terminal:

    python -m currant worker -q orders -q notifications -m examples.simple_example
    python examples/enqueue_example.py
"""

import asyncio
from typing import TypedDict

from currant import task, workflow


class Notification(TypedDict):
    user_id: str
    message: str
    sent: bool


class Payment(TypedDict):
    payment_id: str
    amount: int


class OrderResult(TypedDict):
    order_id: str
    payment_id: str
    notified: bool


@task(queue="notifications", retries=3, timeout=30)
async def send_notification(user_id: str, message: str) -> Notification:
    """Pretend to call a mail service. A task may do any I/O; a failed attempt is tried again up to three times."""
    await asyncio.sleep(0.05)
    return {"user_id": user_id, "message": message, "sent": True}


@task(retries=5, timeout=60)
async def charge_card(order_id: str, amount: int) -> Payment:
    """Pretend to charge a card. With no queue of its own it runs in the queue of the workflow that calls it."""
    if amount <= 0:
        raise ValueError(f"cannot charge {amount} for {order_id}")
    await asyncio.sleep(0.05)
    return {"payment_id": f"pay-{order_id}", "amount": amount}


@workflow(queue="orders")
async def process_order(order_id: str, user_id: str, amount: int) -> OrderResult:
    """Charge, then notify. Each `.run` is a durable step: after a crash the workflow goes on behind the last one."""
    payment = await charge_card.run(order_id, amount)
    mail = await send_notification.run(user_id, f"Order {order_id} is paid: {payment['amount'] / 100:.2f}")
    return {"order_id": order_id, "payment_id": payment["payment_id"], "notified": mail["sent"]}
