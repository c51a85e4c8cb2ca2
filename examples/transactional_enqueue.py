"""An order row and its workflow commit together, or neither does. FastAPI and SQLAlchemy, one database.

    export WORKFLOWS_DATABASE_URL=postgresql://...
    python -m currant worker -q shop -m examples.transactional_enqueue
    uvicorn examples.transactional_enqueue:app
    curl -d '{"order_id": "o-1", "cents": 4200}' -H 'content-type: application/json' localhost:8000/orders

No outbox, no "enqueued but the row is missing", no "row saved but nobody told": it is one transaction.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import currant
from currant import task, workflow


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    __tablename__ = "shop_orders"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]
    execution_id: Mapped[str]


class NewOrder(BaseModel):
    order_id: str
    cents: int = Field(gt=0)


class Accepted(BaseModel):
    order_id: str
    execution_id: str


class Progress(BaseModel):
    order_id: str
    state: str


@task(queue="shop")
async def pack(order_id: str) -> str:
    return f"parcel-{order_id}"


@workflow(queue="shop")
async def fulfil(order_id: str) -> str:
    return await pack.run(order_id)


def make_engine() -> AsyncEngine:
    """The application's own engine, by psycopg, on the database that Currant uses too."""
    url = make_url(os.environ["WORKFLOWS_DATABASE_URL"]).set(drivername="postgresql+psycopg")
    return create_async_engine(url)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = make_engine()
    async with app.state.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await app.state.engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
async def accept(order: NewOrder) -> Accepted:
    """Save the order and start its workflow in one transaction. A second order of that id rolls both back."""
    async with AsyncSession(app.state.engine) as session:
        connection = await session.connection()
        handle = await fulfil.options(connection=connection).queue(order.order_id)
        session.add(OrderRow(order_id=order.order_id, cents=order.cents, execution_id=str(handle)))
        try:
            await session.commit()
        except IntegrityError as error:
            raise HTTPException(409, f"order {order.order_id} exists") from error
    return Accepted(order_id=order.order_id, execution_id=str(handle))


@app.get("/orders/{order_id}")
async def progress(order_id: str) -> Progress:
    """The state of the order's workflow."""
    async with AsyncSession(app.state.engine) as session:
        row = await session.get(OrderRow, order_id)
    if row is None:
        raise HTTPException(404, f"no order {order_id}")
    return Progress(order_id=order_id, state=await currant.get_handle(row.execution_id).status())
