"""What the schedules of test_schedules.py start."""

from __future__ import annotations

from currant import sleep, task, workflow


@task
async def tick(**_: str) -> str:
    """A run that ends at once."""
    return "tick"


@workflow
async def long_run() -> str:
    """A run that is still there at the next fire time."""
    await sleep(3600)
    return "done"
