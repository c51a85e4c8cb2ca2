"""The worker of the limit: `python -m bench.candidates.limit_worker tasks|workflows`. Bare SQL on one connection."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvloop

from bench.board import STEPS, Board, join
from bench.candidates.limit import NOOP, PICKUP, index_of
from bench.sql import connect

BATCH = 100
LOOK_INTERVAL = 5.0  # seconds, for what a lost notification left behind
RESULT = b"null"

COMPLETE = """done as (
    update items set state = 'completed', result = $5, finished_at = clock_timestamp() where id = any ($1)
)"""
CLAIM = f"""next as (
    select id from items where queue = 'bench' and state = 'pending' and priority = 5 and id > $2
    order by priority desc, id limit {BATCH} for update skip locked
), taken as (
    update items i set state = 'running', worker = $3, attempt = i.attempt + 1, started_at = clock_timestamp()
    from next where i.id = next.id and i.kind = $4 returning i.id, i.function, i.args
)
select id, function, args from taken order by id"""
COMPLETE_AND_CLAIM = f"with {COMPLETE}, {CLAIM}"
STEP = """
    update steps set state = 'completed', result = $%s, finished_at = clock_timestamp()
    where item = any ($1) and step = %s"""
NEXT_STEP = f"""with last as ({STEP % (4, "$2::smallint - 1")})
insert into steps (item, step, function, args, state)
select u.item, $2::smallint, '{NOOP}', u.args, 'running' from unnest($1::bigint[], $3::bytea[]) u(item, args)"""
COMPLETE_WORKFLOWS_AND_CLAIM = f"with last as ({STEP % (5, STEPS - 1)}), {COMPLETE}, {CLAIM}"


class LimitWorker:
    """Claims 100, runs them, completes them and claims the next 100 in one statement."""

    def __init__(self, connection: Any, board: Board, kind: str) -> None:
        self._connection = connection
        self._board = board
        self._kind = kind
        self._news = asyncio.Event()
        self._functions = {NOOP: board.mark, PICKUP: board.mark_time}

    async def run(self) -> None:
        """Until it is killed."""
        await self._connection.add_listener("bench", lambda *_: self._news.set())
        workflows = self._kind == "workflow"
        claim = await self._connection.prepare(COMPLETE_WORKFLOWS_AND_CLAIM if workflows else COMPLETE_AND_CLAIM)
        done: list[int] = []
        mark = 0
        while True:
            self._news.clear()
            rows = await claim.fetch(done, mark, os.getpid(), self._kind, RESULT)
            done = [row[0] for row in rows]
            if rows:
                mark = done[-1]
                await (self._run_workflows(rows) if workflows else self._run_tasks(rows))
            elif mark:
                mark = 0  # whatever committed late is below the mark: look once more without it
            else:
                await self._sleep()

    async def _sleep(self) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), LOOK_INTERVAL)
        except TimeoutError:
            pass

    async def _run_tasks(self, rows: list[Any]) -> None:
        for _, function, args in rows:
            self._functions[function](index_of(args))

    async def _run_workflows(self, rows: list[Any]) -> None:
        items = [row[0] for row in rows]
        indices = [index_of(row[2]) for row in rows]
        for step in range(STEPS):
            args = [b'{"args":[%d],"kwargs":{}}' % (index * STEPS + step) for index in indices]
            await self._connection.execute(NEXT_STEP, items, step, args, RESULT)
            for one in args:
                self._board.mark(index_of(one))


async def main(mode: str, board: Board) -> None:
    """Connect and work."""
    async with connect(os.environ["BENCH_URL"]) as connection:
        await LimitWorker(connection, board, mode.removesuffix("s")).run()


if __name__ == "__main__":
    shared = join()
    if shared is None:
        sys.exit("error: this is started by the benchmark suite only")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], shared))
