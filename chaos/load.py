"""The customers: what they ask for, and what they were promised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

import currant
from chaos import functions
from chaos.postgres import url_at
from currant import CurrantError, DatabaseUnavailable, ExecutionCancelled, ExecutionFailed, Handle, NotRunning

# The result of an enqueue, as its caller knows it.
PROMISED = "promised"  # a handle was returned, or the caller's transaction is committed
UNKNOWN = "unknown"  # the database went away in the middle
WITHDRAWN = "withdrawn"  # the caller's transaction was rolled back

CUSTOMERS = 6
PAUSE = (0.05, 0.5)
VOICES = 12
RESULT_TIMEOUT = 45.0


@dataclass
class Order:
    """One thing asked for. `expected` is the result it must have, `UNSAID` where another rule judges it."""

    tag: str
    kind: str
    expected: Any
    fate: str = UNKNOWN
    id: str = ""
    transactional: bool = False
    cancelled: bool = False  # somebody tried to
    seconds: float = 0.0  # its timer
    sent: list[int] = field(default_factory=list)  # signals that were promised to have been sent


UNSAID = object()


@dataclass
class Book:
    """All orders, and whatever went wrong in front of a customer's eyes."""

    orders: list[Order] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seen: int = 0  # results that customers waited for and got

    def order(self, kind: str, expected: Any) -> Order:
        """A new one, with a tag of its own."""
        order = Order(f"{kind}-{len(self.orders)}", kind, expected)
        self.orders.append(order)
        return order


class Customer:
    """Asks for one thing after the other until told to stop."""

    def __init__(self, book: Book, rng: random.Random, port: int) -> None:
        self._book = book
        self._rng = rng
        self._url = url_at(port)
        self._waits: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then waits for what it is still waiting for."""
        wants: list[Callable[[], Awaitable[None]]] = [
            *[self._task] * 4,
            *[self._steps] * 3,
            self._fan_out,
            *[self._crew] * 2,
            self._race,
            self._signals,
            self._ping,
            *[self._choir] * 2,
            self._timer,
            self._family,
            self._chance,
            self._cancel,
            self._once,
            *[self._at_most_once] * 2,
            *[self._without_retries] * 2,
            *[self._transaction] * 2,
            self._many,
        ]
        while not stop.is_set():
            await self._try(self._rng.choice(wants))
            await asyncio.sleep(self._rng.uniform(*PAUSE))
        await asyncio.gather(*self._waits)

    async def _try(self, want: Callable[[], Awaitable[None]]) -> None:
        try:
            await want()
        except (DatabaseUnavailable, psycopg.OperationalError):
            pass  # the order stays of unknown fate
        except (CurrantError, psycopg.Error) as error:
            self._book.complaints.append(f"{want.__name__}: {type(error).__name__}: {error}")

    async def _enqueue(self, order: Order, enqueue: Awaitable[Handle[Any]], look: float = 0.3) -> Handle[Any]:
        handle = await enqueue
        order.id, order.fate = str(handle), PROMISED
        if self._rng.random() < look:
            wait = asyncio.create_task(self._look(order, handle))
            self._waits.add(wait)
            wait.add_done_callback(self._waits.discard)
        return handle

    async def _insist(self, order: Order, function: Any, *args: Any) -> Handle[Any]:
        """Ask until the answer arrives; with a key: one order. For what is nothing without its other half."""
        while True:
            try:
                return await self._enqueue(order, function.options(idempotency_key=order.tag).queue(order.tag, *args))
            except DatabaseUnavailable:
                continue

    async def _look(self, order: Order, handle: Handle[Any]) -> None:
        try:
            result = await handle.result(timeout=RESULT_TIMEOUT)
        except (DatabaseUnavailable, TimeoutError):
            return  # judged by the tables
        except ExecutionCancelled:
            if not order.cancelled:
                self._book.complaints.append(f"{order.tag} was cancelled, and nobody had asked for that")
            return
        except CurrantError as error:
            lost = isinstance(error, ExecutionFailed) and error.type == "WorkerLost"
            if not (order.kind == "at_most_once" and lost):
                self._book.complaints.append(f"{order.tag}: {type(error).__name__}: {error}")
            return
        self._book.seen += 1
        if order.expected is not UNSAID and result != order.expected:
            self._book.complaints.append(f"{order.tag} gave {result!r} instead of {order.expected!r}")

    async def _task(self) -> None:
        number = self._rng.randrange(1000)
        kinds = (functions.double, functions.double_in_thread, functions.slow, functions.fickle, functions.overdue)
        function: Any = self._rng.choice(kinds)
        order = self._book.order(function.__name__, 2 * number)
        await self._enqueue(order, function.queue(order.tag, number))

    async def _steps(self) -> None:
        number = self._rng.randrange(1000)
        order = self._book.order("five_steps", 32 * number)
        await self._enqueue(order, functions.five_steps.queue(order.tag, number))

    async def _fan_out(self) -> None:
        width = self._rng.randrange(5, 25)
        order = self._book.order("fan_out", [2 * n for n in range(width)])
        await self._enqueue(order, functions.fan_out.queue(order.tag, width))

    async def _crew(self) -> None:
        order = self._book.order("crew", [2 * n for n in range(6)])
        await self._enqueue(order, functions.crew.queue(order.tag, 6))

    async def _race(self) -> None:
        order = self._book.order("race", UNSAID)
        await self._enqueue(order, functions.race.queue(order.tag, 4))

    async def _signals(self) -> None:
        order = self._book.order("signalled", UNSAID)
        handle = await self._enqueue(order, functions.signalled.queue(order.tag, 3))
        for number in range(3):
            await asyncio.sleep(self._rng.choice([0, 0.1, 1.0, 2.5]))
            try:
                await currant.send_signal(handle, "go", number)
            except NotRunning:
                return
            order.sent.append(number)

    async def _ping(self) -> None:
        order = self._book.order("listener", UNSAID)
        ping = self._book.order("pinger", UNSAID)
        ping.expected, order.expected = ping.tag, [ping.tag]
        handle = await self._insist(order, functions.listener)
        await self._insist(ping, functions.pinger, str(handle))

    async def _choir(self) -> None:
        """Signals to many at once, when workers are about to put them out of memory, or drain."""
        orders = [self._book.order("solo", "now") for _ in range(VOICES)]
        handles = await asyncio.gather(*(self._insist(order, functions.solo) for order in orders))
        await asyncio.sleep(self._rng.uniform(0.4, 1.2))
        await asyncio.gather(*map(self._tell, handles))

    async def _tell(self, handle: Handle[Any]) -> None:
        while True:
            try:
                await currant.send_signal(handle, "sing", "now")
            except DatabaseUnavailable:
                continue
            except NotRunning:  # an earlier try was committed, and its reply lost
                pass
            return

    async def _timer(self) -> None:
        order = self._book.order("patient", UNSAID)
        order.expected, order.seconds = order.tag, self._rng.choice([0.3, 1.0, 2.0, 4.0])
        await self._enqueue(order, functions.patient.queue(order.tag, order.seconds))

    async def _family(self) -> None:
        number = self._rng.randrange(1000)
        order = self._book.order("parent", [32 * (number + 1), 2 * (number + 1), 2 * (number + 1)])
        await self._enqueue(order, functions.parent.queue(order.tag, number))

    async def _chance(self) -> None:
        order = self._book.order("chance", UNSAID)
        await self._enqueue(order, functions.chance.queue(order.tag))

    async def _cancel(self) -> None:
        order = self._book.order("lengthy", UNSAID)
        order.cancelled = True
        handle = await self._insist(order, functions.lengthy)
        await asyncio.sleep(self._rng.uniform(0, 3))
        while True:  # it would last too long otherwise
            try:
                await handle.cancel()
            except DatabaseUnavailable:
                continue
            except NotRunning:  # an earlier try was committed, and its reply lost
                pass
            return

    async def _once(self) -> None:
        """The same order from several places at once, each as often as it takes, with one key."""
        number = self._rng.randrange(1000)
        order = self._book.order("double", 2 * number)
        one = functions.double.options(idempotency_key=order.tag)

        async def ask() -> str:
            while True:
                try:
                    return str(await one.queue(order.tag, number))
                except DatabaseUnavailable:
                    continue

        ids = set(await asyncio.gather(ask(), ask(), ask()))
        order.id, order.fate = min(ids), PROMISED
        if len(ids) > 1:
            self._book.complaints.append(f"{order.tag}: one idempotency key gave {len(ids)} executions")

    async def _at_most_once(self) -> None:
        number = self._rng.randrange(1000)
        order = self._book.order("at_most_once", 2 * number)
        await self._enqueue(order, functions.at_most_once.queue(order.tag, number))

    async def _without_retries(self) -> None:
        number = self._rng.randrange(1000)
        order = self._book.order("without_retries", [2 * number] * 3)
        await self._enqueue(order, functions.without_retries.queue(order.tag, number))

    async def _transaction(self) -> None:
        number = self._rng.randrange(1000)
        order = self._book.order("five_steps", 32 * number)
        order.transactional = True
        async with await psycopg.AsyncConnection.connect(self._url, connect_timeout=5) as connection:
            await connection.execute("insert into chaos.orders values (%s)", [order.tag])
            await functions.five_steps.options(connection=connection).queue(order.tag, number)
            if self._rng.random() < 0.3:
                await connection.rollback()
                order.fate = WITHDRAWN
            else:
                await connection.commit()
                order.fate = PROMISED

    async def _many(self) -> None:
        orders = [self._book.order("double", 2 * n) for n in range(20)]
        handles = await functions.double.queue_many([(order.tag, n) for n, order in enumerate(orders)])
        for order, handle in zip(orders, handles, strict=True):
            order.id, order.fate = str(handle), PROMISED


def customers(book: Book, seed: int, port: int) -> list[Customer]:
    """As many as there are. Each has dice of its own."""
    return [Customer(book, random.Random(seed * 1000 + number), port) for number in range(CUSTOMERS)]
