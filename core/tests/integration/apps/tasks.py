"""Functions for test_tasks.py."""

from __future__ import annotations

import asyncio

import currant
from apps.board import note, passed
from currant import ExecutionFailed, task, workflow


@task(queue="tasks")
async def echo(value: object) -> object:
    """Give the argument back."""
    return value


@task
async def first(board: str) -> int:
    """Wait for the gate of this attempt, and give its number."""
    attempt = currant.current().attempt
    note(board, f"first {attempt}")
    await passed(board, f"first {attempt}")
    return attempt


@task
async def second(board: str, value: int) -> int:
    """Note what it was given."""
    note(board, f"second {value}")
    return value


@workflow(queue="orders")
async def two_steps(board: str) -> int:
    """The second step is given the result of the first."""
    return await second.run(board, await first.run(board))


@task(retries=0)
async def broken(message: str) -> None:
    """Fail for good."""
    raise ValueError(message)


@task(retries=0)
async def unspeakable() -> object:
    """Give what JSON cannot carry."""
    return object()


@workflow(queue="orders")
async def careless(message: str) -> None:
    """Does not catch what its step raises."""
    await broken.run(message)


@workflow(queue="orders")
async def parent(message: str) -> None:
    """Does not catch what its child workflow raises."""
    await careless.run(message)


@workflow(queue="orders")
async def careful(message: str) -> list[str]:
    """Catches what its step raises, and goes on."""
    try:
        await broken.run(message)
    except ExecutionFailed as error:
        return [error.type, error.message, error.id]
    return ["it did not fail"]


@workflow(queue="orders")
async def gathering(board: str) -> list[str]:
    """One branch of three fails; the others end."""
    outcomes = await asyncio.gather(
        second.run(board, 1), broken.run("in the middle"), second.run(board, 3), return_exceptions=True
    )
    return [str(outcome) if isinstance(outcome, int) else type(outcome).__name__ for outcome in outcomes]


@workflow(queue="orders")
async def tongue_tied() -> None:
    """Its step gives what JSON cannot carry."""
    await unspeakable.run()


@task(queue="elsewhere")
async def elsewhere(board: str) -> str:
    """A task with a queue of its own."""
    note(board, currant.current().queue)
    return currant.current().queue


@task
async def at_home(board: str) -> str:
    """A task without one."""
    note(board, currant.current().queue)
    return currant.current().queue


@workflow(queue="third")
async def child_workflow(board: str) -> str:
    """A child workflow with a queue of its own, whose step has none."""
    return await at_home.run(board)


@workflow(queue="orders")
async def lanes(board: str) -> list[str]:
    """Steps in three queues."""
    return await asyncio.gather(at_home.run(board), elsewhere.run(board), child_workflow.run(board))
