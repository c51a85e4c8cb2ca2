"""What the schedules of test_schedules.py start."""

from __future__ import annotations

from currant import sleep, task, workflow


@task
async def tick(**_: str) -> str:
    """A run that ends at once."""
    return "tick"


@task(queue="main", priority=8, retries=0, timeout=7, max_worker_losses=1)
async def described(**_: str) -> str:
    """A run whose decorator says where and how it runs."""
    return "described"


@workflow
async def long_run() -> str:
    """A run that is still there at the next fire time."""
    await sleep(3600)
    return "done"
