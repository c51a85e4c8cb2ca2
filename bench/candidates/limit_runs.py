"""The worker of the limit for W5, W5r and W6: `python -m bench.candidates.limit_runs MODE`. One item at a time.

The rows are those of any workflow; what differs is how many of them share a commit: `chain` has one commit a step,
`batched` writes all children of a fan-out together, `single` gives each of them three commits of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvloop

from bench.board import Board, first_ever, join
from bench.candidates.limit import NOOP, PICKUP, arguments, index_of
from bench.sql import connect

LOOK_INTERVAL = 5.0  # seconds, for what a lost notification left behind
WATCH_INTERVAL = 0.005  # seconds between looks at whether the other worker still lives
RESULT = b"null"

CLAIM = """update items set state = 'running', worker = $1, attempt = attempt + 1, started_at = clock_timestamp()
where id = (select id from items where queue = 'bench' and state = 'pending'
            order by priority desc, id limit 1 for update skip locked)
returning id, kind, function, args"""
COMPLETE = "update items set state = 'completed', result = $2, finished_at = clock_timestamp() where id = $1"
COMPLETE_STEP = """update steps set state = 'completed', result = $2, finished_at = clock_timestamp()
where item = $1 and step = $3"""
FIRST_STEP = "insert into steps (item, step, function, args, state) values ($1, $2, $3, $4, 'running')"
NEXT_STEP = f"""with last as ({COMPLETE_STEP})
insert into steps (item, step, function, args, state) values ($1, $3 + 1, $4, $5, 'running')"""
END = f"with last as ({COMPLETE_STEP}) {COMPLETE}"
CHILDREN = """insert into steps (item, step, function, args, state)
select $1, row_number() over () - 1, $2, u, 'running' from unnest($3::bytea[]) u"""
END_ALL = f"""with children as (
    update steps set state = 'completed', result = $2, finished_at = clock_timestamp() where item = $1
) {COMPLETE}"""
PENDING_CHILD = "insert into steps (item, step, function, args, state) values ($1, $2, $3, $4, 'pending')"
CLAIM_CHILD = "update steps set state = 'running' where item = $1 and step = $2"
TAKE_OVER = """update items set worker = $1, attempt = attempt + 1 where state = 'running' and worker = $2
returning id, args"""
HISTORY = "select step, function, args, state, result from steps where item = $1 order by step"


class LimitRuns:
    """Claims one item, runs it to its end, claims the next."""

    def __init__(self, connection: Any, board: Board, mode: str) -> None:
        self._connection = connection
        self._board = board
        self._news = asyncio.Event()
        self._work = {"chain": self._chain, "killed": self._chain, "batched": self._batched, "single": self._single}[
            mode
        ]
        self._held = mode == "killed"

    async def run(self) -> None:
        """Until it is killed."""
        await self._connection.add_listener("bench", lambda *_: self._news.set())
        if self._held:
            await self._take_over_the_dead()
        claim = await self._connection.prepare(CLAIM)
        while True:
            self._news.clear()
            row = await claim.fetchrow(os.getpid())
            if row is None:
                await self._sleep()
            elif row["kind"] == "task":
                self._board.mark_time(index_of(row["args"]))
                await self._connection.execute(COMPLETE, row["id"], RESULT)
            else:
                await self._work(row["id"], index_of(row["args"]))

    async def _sleep(self) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), LOOK_INTERVAL)
        except TimeoutError:
            pass

    async def _chain(self, item: int, steps: int) -> None:
        await self._connection.execute(FIRST_STEP, item, 0, PICKUP, arguments(0))
        next_step = await self._connection.prepare(NEXT_STEP)
        for step in range(steps - 1):
            self._board.mark_time(step)
            await next_step.fetch(item, RESULT, step, PICKUP, arguments(step + 1))
        await self._last_step(item, steps - 1)

    async def _last_step(self, item: int, step: int) -> None:
        if self._held and first_ever():
            self._board.mark_time(step)
            await asyncio.Event().wait()
        self._board.mark_time(step + 1 if self._held else step)
        await self._connection.execute(END, item, RESULT, step)

    async def _take_over_the_dead(self) -> None:
        """The second worker finds a run under way: once its worker is dead it reads the history and does the rest."""
        other = await self._connection.fetchval("select worker from items where state = 'running'")
        if other is None:
            return
        while lives(other):  # noqa: ASYNC110  # another process: there is no event to wait for
            await asyncio.sleep(WATCH_INTERVAL)
        row = await self._connection.fetchrow(TAKE_OVER, os.getpid(), other)
        history = await self._connection.fetch(HISTORY, row["id"])
        for step in history[:-1]:
            json.loads(step["result"])
        await self._last_step(row["id"], history[-1]["step"])

    async def _batched(self, item: int, children: int) -> None:
        args = [arguments(child) for child in range(children)]
        await self._connection.execute(CHILDREN, item, NOOP, args)
        for one in args:
            self._board.mark(index_of(one))
        await self._connection.execute(END_ALL, item, RESULT)

    async def _single(self, item: int, children: int) -> None:
        pending, claim, complete = [
            await self._connection.prepare(sql) for sql in (PENDING_CHILD, CLAIM_CHILD, COMPLETE_STEP)
        ]
        for child in range(children):
            await pending.fetch(item, child, NOOP, arguments(child))
        for child in range(children):
            await claim.fetch(item, child)
            self._board.mark(child)
            await complete.fetch(item, RESULT, child)
        await self._connection.execute(COMPLETE, item, RESULT)


def lives(pid: int) -> bool:
    """Whether there is a process of that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def main(mode: str, board: Board) -> None:
    """Connect and work."""
    async with connect(os.environ["BENCH_URL"]) as connection:
        await LimitRuns(connection, board, mode).run()


if __name__ == "__main__":
    shared = join()
    if shared is None:
        sys.exit("error: this is started by the benchmark suite only")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], shared))
