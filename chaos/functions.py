"""The functions that the workers run. Every result follows from the arguments alone, so that it can be judged.

The first argument of every function is its tag: by it the judge finds in the tables what a customer asked for.
"""

from __future__ import annotations

import asyncio
import random
import select

import currant
from chaos.ledger import entry
from currant import ExecutionFailed, Retry, SignalTimeout, sleep, task, wait_for_signal, workflow

QUEUE = "chaos"
OTHER_QUEUE = "chaos-2"
# Workers are killed whatever they run: here nothing may be taken for what kills them, however often they are.
MANY = 1_000
PATIENT = Retry(max_attempts=60, initial=0.05, multiplier=1.2, max_delay=0.5)


@task(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def double(tag: str, number: int) -> int:
    """Twice the number, after a moment."""
    with entry("double", tag):
        await asyncio.sleep(random.uniform(0, 0.03))
        return 2 * number


@task(queue=OTHER_QUEUE, retry=PATIENT, max_worker_losses=MANY, priority=7)
def double_in_thread(tag: str, number: int) -> int:
    """Twice the number, in a thread."""
    with entry("double_in_thread", tag):
        select.select([], [], [], random.uniform(0, 0.03))  # libfaketime breaks time.sleep in a thread
        return 2 * number


@task(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def slow(tag: str, number: int) -> int:
    """Takes long enough to be hit in mid-flight."""
    with entry("slow", tag):
        await asyncio.sleep(random.uniform(0.5, 3))
        return 2 * number


@task(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def fickle(tag: str, number: int) -> int:
    """Fails twice."""
    with entry("fickle", tag):
        if currant.current().attempt <= 2:
            raise RuntimeError("not yet")
        return 2 * number


@task(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY, timeout=0.5)
async def overdue(tag: str, number: int) -> int:
    """Outlasts its time-out at the first try."""
    with entry("overdue", tag):
        if currant.current().attempt == 1:
            await asyncio.sleep(60)
        return 2 * number


@task(queue=QUEUE, retries=0, max_worker_losses=MANY)
async def final(tag: str, number: int) -> int:
    """Its own failure would be final; the loss of its worker is not."""
    with entry("final", tag):
        await asyncio.sleep(random.uniform(0.2, 1.5))
        return 2 * number


@task(queue=QUEUE, retries=0, max_worker_losses=0)
async def at_most_once(tag: str, number: int) -> int:
    """Never started twice."""
    with entry("at_most_once", tag):
        await asyncio.sleep(random.uniform(0.2, 1.5))
        return 2 * number


@task(queue=QUEUE, retry=Retry(max_attempts=60, non_retryable=(ValueError,)), max_worker_losses=MANY)
async def hopeless(tag: str) -> None:
    """Fails for good."""
    with entry("hopeless", tag):
        raise ValueError("never")


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def five_steps(tag: str, number: int) -> int:
    """Thirty-two times the number."""
    for step in range(5):
        number = await double.run(f"{tag}/{step}", number)
    return number


@workflow(queue=QUEUE, max_worker_losses=MANY)
async def without_retries(tag: str, number: int) -> list[int]:
    """Steps without retries, one after the other; of those that run at most once, how many were lost is no fault."""
    results = []
    for step in range(3):
        results.append(await final.run(f"{tag}/{step}", number))
        try:
            await at_most_once.run(f"{tag}/{step}-once", number)
        except ExecutionFailed as error:
            if error.type != "WorkerLost":
                raise
    return results


@workflow(queue=OTHER_QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def fan_out(tag: str, width: int) -> list[int]:
    """Many steps at once, of two kinds."""
    kinds = (double, double_in_thread)
    return list(await asyncio.gather(*(kinds[n % 2].run(f"{tag}/{n}", n) for n in range(width))))


@workflow(queue=OTHER_QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def crew(tag: str, width: int) -> list[int]:
    """Slow steps at once, so that somebody always has something in mid-flight."""
    return list(await asyncio.gather(*(slow.run(f"{tag}/{n}", n) for n in range(width))))


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def race(tag: str, runners: int) -> list[int]:
    """The winner decides the next step: a replay in another order would make other steps, and be incompatible."""
    running = {asyncio.create_task(double.run(f"{tag}/{n}", n)): n for n in range(runners)}
    order: list[int] = []
    while running:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for winner in done:
            order.append(running.pop(winner))
            await double.run(f"{tag}/after-{'-'.join(map(str, order))}", order[-1])
    return order


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def signalled(tag: str, waits: int) -> list[int | None]:
    """The payloads of signals; None where a wait timed out."""
    heard: list[int | None] = []
    for number in range(waits):
        try:
            heard.append(await wait_for_signal("go", timeout=2.5))
        except SignalTimeout:
            heard.append(None)
        await double.run(f"{tag}/{number}", number)
    return heard


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def solo(tag: str) -> str:
    """Waits for one signal: if its wake-up is lost, for ever."""
    return str(await wait_for_signal("sing", timeout=600))


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def listener(tag: str) -> list[str]:
    """Hears what one `pinger` sends, and waits whether it comes twice."""
    heard = []
    try:
        heard.append(await wait_for_signal("ping", timeout=600))
        heard.append(await wait_for_signal("ping", timeout=1))
    except SignalTimeout:
        pass
    return heard


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def pinger(tag: str, listener_id: str) -> str:
    """Sends one signal, from within a workflow."""
    await double.run(f"{tag}/before", 1)
    await currant.send_signal(listener_id, "ping", tag)
    await double.run(f"{tag}/after", 1)
    return tag


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def patient(tag: str, seconds: float) -> str:
    """A durable timer between two steps."""
    await double.run(f"{tag}/before", 1)
    await sleep(seconds)
    await double.run(f"{tag}/after", 1)
    return tag


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def parent(tag: str, number: int) -> list[int]:
    """A child workflow, a retried step, one that times out, one that fails for good, and a detached start."""
    await double.queue(f"{tag}/detached", number)
    try:
        await hopeless.run(f"{tag}/hopeless")
    except ExecutionFailed:
        number += 1
    return [
        await five_steps.run(f"{tag}/child", number),
        await fickle.run(f"{tag}/fickle", number),
        await overdue.run(f"{tag}/overdue", number),
    ]


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def chance(tag: str) -> list[int]:
    """Random values, which must be the same after every replay."""
    drawn = [currant.side_effect(lambda: random.randrange(10**9)), int(currant.random() * 10**9)]
    return [number for n, value in enumerate(drawn) for number in (value, await double.run(f"{tag}/{n}", value))]


@workflow(queue=QUEUE, retry=PATIENT, max_worker_losses=MANY)
async def lengthy(tag: str) -> str:
    """Lasts until it is cancelled, and then cleans up."""
    try:
        for number in range(200):
            await asyncio.gather(slow.run(f"{tag}/{number}", 1), sleep(0.5))
    except asyncio.CancelledError:
        await double.run(f"{tag}/clean-up", 1)
        raise
    return tag
