"""Functions that the workers of the dashboard's test run: something of every kind, quickly."""

from __future__ import annotations

from currant import task, workflow


@task(queue="orders", retries=0)
async def add(left: int, right: int) -> int:
    return left + right


@task(queue="orders", retries=0)
async def fail() -> None:
    raise ValueError("as it should")


@workflow(queue="orders")
async def order(number: int) -> int:
    return await add.run(number, 1)
