"""Many steps at once: a map over pages, at most ten in flight, and a reduce.

python -m currant worker -q reports -m examples.fan_out
currant queue examples.fan_out.build_report '{"args": [100]}' --wait
"""

import asyncio
from dataclasses import dataclass

from currant import ExecutionFailed, task, workflow


@dataclass
class PageTotal:
    page: int
    lines: int
    cents: int


@dataclass
class Report:
    pages: int
    lines: int
    cents: int
    unreadable: list[int]


@task(queue="reports", retries=0)
async def total_page(page: int) -> PageTotal:
    """Pretend to add up one page. Every 40th cannot be read, and trying again would not help."""
    if page % 40 == 39:
        raise ValueError(f"page {page} is unreadable")
    return PageTotal(page=page, lines=10, cents=page * 100)


@workflow(queue="reports")
async def build_report(pages: int, at_once: int = 10) -> Report:
    """Total every page. Dataclasses travel as JSON and come back as themselves; a page that fails is reported."""
    slots = asyncio.Semaphore(at_once)

    async def one(page: int) -> PageTotal | int:
        async with slots:
            try:
                return await total_page.run(page)
            except ExecutionFailed:
                return page

    results = await asyncio.gather(*(one(page) for page in range(pages)))
    totals = [result for result in results if isinstance(result, PageTotal)]
    return Report(
        pages=len(totals),
        lines=sum(total.lines for total in totals),
        cents=sum(total.cents for total in totals),
        unreadable=[result for result in results if isinstance(result, int)],
    )
