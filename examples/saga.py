"""Compensation: a trip books a flight, a hotel and a car, and undoes what is booked when a later one fails.

python -m currant worker -q trips -m examples.saga
currant queue examples.saga.book_trip '{"args": ["trip-1", "Atlantis"]}' --wait
"""

from currant import ExecutionFailed, Retry, task, workflow


class NotBookable(Exception):
    """There is nothing to book, now or on another try."""


ONCE_IF_NOT_BOOKABLE = Retry(max_attempts=4, initial=0.5, non_retryable=(NotBookable,))


@task(queue="trips", retry=ONCE_IF_NOT_BOOKABLE)
async def book(trip_id: str, what: str, city: str) -> str:
    """Pretend to book. The trip's id would be the idempotency key at the agency: a step may run more than once."""
    if what == "car" and city == "Atlantis":
        raise NotBookable(f"no {what} in {city}")
    return f"{what}-{trip_id}"


@task(queue="trips", retries=20)
async def cancel_booking(booking: str) -> None:
    """Pretend to cancel. A compensation is retried for long: giving up would leave the booking behind."""


@workflow(queue="trips")
async def book_trip(trip_id: str, city: str) -> list[str]:
    """Book all three or none. The trip fails, as it should, after everything booked is cancelled in reverse order."""
    booked: list[str] = []
    try:
        for what in ("flight", "hotel", "car"):
            booking = await book.run(trip_id, what, city)
            booked.append(booking)
    except ExecutionFailed:
        for booking in reversed(booked):
            await cancel_booking.run(booking)
        raise
    return booked
