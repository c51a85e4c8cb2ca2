"""The shop's web application: it queues orders and shows how far they are. It runs no workflow itself.

    uvicorn shop.app:app
    curl -d '{"order_id": "o-1", "item": "apple", "quantity": 2, "cents": 480}' \\
        -H 'content-type: application/json' localhost:8000/orders
    curl localhost:8000/orders/ID
"""

import asyncio

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from currant import DatabaseUnavailable, ExecutionFailed, Handle, NotFound, SchemaMismatch, get_handle

from .orders import Order, Receipt, process_order

DATABASE_SECONDS = 5.0

app = FastAPI(title="shop")


class NewOrder(BaseModel):
    order_id: str = Field(min_length=1, max_length=100)
    item: str
    quantity: int = Field(gt=0)
    cents: int = Field(gt=0)


class Accepted(BaseModel):
    order_id: str
    id: str


class Progress(BaseModel):
    id: str
    state: str
    receipt: Receipt | None = None
    error: str | None = None


@app.exception_handler(DatabaseUnavailable)
@app.exception_handler(SchemaMismatch)
@app.exception_handler(TimeoutError)
async def not_now(_: Request, error: Exception) -> JSONResponse:
    """The database does not answer, or has no schema before its first WorkerPool: the client should try again."""
    detail = str(error) or f"the database has not answered within {DATABASE_SECONDS:g} s"
    return JSONResponse({"detail": detail}, status_code=503, headers={"Retry-After": "5"})


@app.post("/orders", status_code=202)
async def accept(new: NewOrder) -> Accepted:
    """Queue the order; it is committed when this answers. The same order sent twice is one, whatever happens to it."""
    order = Order(**new.model_dump())
    async with asyncio.timeout(DATABASE_SECONDS):
        handle = await process_order.options(idempotency_key=order.order_id).queue(order)
    return Accepted(order_id=order.order_id, id=str(handle))


@app.get("/orders/{id}")
async def progress(id: str) -> Progress:
    """The state of an order, and its result."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            return await look_at(get_handle(id, process_order))
    except NotFound as error:
        raise HTTPException(404, str(error)) from error


async def look_at(handle: Handle[Receipt]) -> Progress:
    """The state, with the receipt or the error when it has ended."""
    state = await handle.status()
    if state == "completed":
        return Progress(id=handle.id, state=state, receipt=await handle.result())
    if state == "failed":
        try:
            await handle.result()
        except ExecutionFailed as error:
            return Progress(id=handle.id, state=state, error=error.message)
    return Progress(id=handle.id, state=state)


@app.get("/healthz")
async def alive() -> str:
    """Answer the probes of `shop.yaml`, whether or not the database answers."""
    return "ok"
