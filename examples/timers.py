"""Time: durable sleeps, a deadline on a step, a reminder that runs beside the work.

python -m currant worker -q timers -m examples.timers
currant queue examples.timers.trial_period '{"args": ["ann"], "kwargs": {"days": 0.00002}}' --wait
"""

import asyncio

import currant
from currant import task, workflow

DAY = 86_400.0


@task(queue="timers")
async def mail(user: str, subject: str) -> str:
    return f"{subject} -> {user}"


@task(queue="timers", timeout=3_600)
async def import_data(user: str, seconds: float) -> int:
    """Pretend to import for a while; inside a task `asyncio.sleep` is the ordinary one."""
    await asyncio.sleep(seconds)
    return 42


@workflow(queue="timers")
async def trial_period(user: str, days: float = 30) -> list[str]:
    """Mail at the start, three days before the end, and at the end. The run costs nothing but rows in between."""
    sent = [await mail.run(user, "welcome")]
    end = currant.now().timestamp() + days * DAY
    await currant.sleep(max(0.0, days - 3) * DAY)
    sent.append(await mail.run(user, "your trial ends soon"))
    # `now()` is the recorded clock: it reads the same when the workflow is replayed.
    await currant.sleep(max(0.0, end - currant.now().timestamp()))
    sent.append(await mail.run(user, "your trial has ended"))
    return sent


@workflow(queue="timers")
async def import_or_apologise(user: str, seconds: float, patience: float) -> str:
    """Give a step a deadline. `asyncio.timeout` is durable here: the step is cancelled when it fires."""
    try:
        async with asyncio.timeout(patience):
            return f"imported {await import_data.run(user, seconds)} rows"
    except TimeoutError:
        return await mail.run(user, "sorry, the import takes too long")


@workflow(queue="timers")
async def remind_until_done(user: str, seconds: float, every: float) -> int:
    """Do the work with a reminder beside it; gives the number of reminders sent."""
    work = asyncio.create_task(import_data.run(user, seconds))
    reminders = 0
    while True:
        done, _ = await asyncio.wait({work}, timeout=every)
        if done:
            return reminders
        reminders += 1
        await mail.run(user, f"still working ({reminders})")
