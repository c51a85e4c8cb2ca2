"""What a type checker knows of user code. Not run: `mypy --strict` checks it, as part of `make lint`.

A wrong type fails `assert_type`; a mistake that is no longer seen fails as an unused `type: ignore`.
"""

from __future__ import annotations

from typing import assert_type

import currant
from currant import Handle, task, workflow


@task(queue="notifications", retries=3, timeout=30)
async def send(user_id: str, message: str = "") -> bool:
    return bool(user_id and message)


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow(queue="orders", version=1)
async def order(order_id: str, amount: int) -> dict[str, int]:
    assert_type(await send.run(order_id, message="hi"), bool)
    assert_type(await add.run(amount, 1), int)
    assert_type(await send.options(priority=9).run(order_id), bool)
    assert_type(await (await add.queue(1, b=2)).result(), int)
    await send.run(5)  # type: ignore[arg-type]
    await send.run()  # type: ignore[call-arg]
    await add.run(1, c=2)  # type: ignore[call-arg]
    await add.options(timeout="5 s").run(1, 2)  # type: ignore[arg-type]
    await add.options(retry=3).run(1, 2)  # type: ignore[arg-type]
    await add.options(colour="red").run(1, 2)  # type: ignore[call-arg]
    return {order_id: amount}


async def client() -> None:
    handle = await order.queue("o-1", amount=5)
    assert_type(handle, Handle[dict[str, int]])
    assert_type(await handle.result(timeout=30), dict[str, int])
    assert_type(order.queue_sync("o-1", 5).result_sync(), dict[str, int])
    assert_type(await handle.status(), str)
    assert_type(await send.queue_many([("u1", "hi"), {"user_id": "u2"}]), list[Handle[bool]])
    assert_type(await send("u1"), bool)
    assert_type(add(1, 2), int)
    await currant.send_signal(handle, "approved", {"by": "ann"})
    await order.queue("o-1", "five")  # type: ignore[arg-type]
    order.queue_sync("o-1")  # type: ignore[call-arg]
