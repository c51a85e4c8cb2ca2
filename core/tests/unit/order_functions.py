"""A task with a dataclass, a `def` task of numbers, a workflow: functions for the tests of decorators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from currant import task, workflow


@dataclass
class Order:
    id: UUID
    due: date


@task(queue="orders")
async def book(order: Order, amount: int = 1, *, note: str | None = None) -> Order:
    return order


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow(version=3)
async def flow(order: Order) -> list[Order]:
    return [order]


ORDER = Order(UUID(int=7), date(2020, 1, 2))
