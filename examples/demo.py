"""The demo: 2,000 orders through the order workflow, with a worker killed half way, and every order accounted for.

    make demo

It starts an embedded Postgres in `.currant/demo` and two workers, enqueues the orders of `data/orders.csv`, sends the
approvals, kills one worker with SIGKILL when half of the orders have ended, starts another in its place, and then
compares the database and the ledger of side effects with what the orders must come to. Exit code 0: nothing is wrong.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import currant
from currant import ExecutionCancelled, ExecutionFailed, Handle
from currant.embedded import EmbeddedPostgres, EmbeddedPostgresError, stop_left_behind
from currant.rust_bridge import RustBridge
from examples.demo_check import MODULE, Verdict, check, decide, needs_approval
from examples.order_flow import LEDGER_VARIABLE, QUEUES, Order, fulfil_order, read_orders

CHECKOUT = Path(__file__).resolve().parent.parent
ORDERS = Path(__file__).with_name("data") / "orders.csv"
BATCH = 100
PATIENCE_SECONDS = 240
SECONDS_TO_DECIDE = 0.5
# A killed worker is given up after three seconds here, half a minute by default.
WORKER_VARIABLES = {
    "WORKFLOWS_WORKER_HEARTBEAT_INTERVAL": "0.5",
    "WORKFLOWS_WORKER_HEARTBEAT_TIMEOUT": "3",
    "WORKFLOWS_WORKER_POLL_INTERVAL": "1",
    "WORKFLOWS_LOG_LEVEL": "WARNING",
}


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


@dataclass
class Fleet:
    """The worker processes of the demo."""

    directory: Path
    url: str
    bridge: RustBridge
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)

    @property
    def ledger(self) -> Path:
        """The file to which every task appends a line."""
        return self.directory / "ledger.jsonl"

    def start(self) -> None:
        """Start one more worker; it takes part as soon as it is ready."""
        number = len(self.workers) + 1
        command = [sys.executable, "-m", "currant", "worker", "-m", MODULE, "--name", f"demo-{number}"]
        command += [argument for queue in QUEUES for argument in ("-q", queue)]
        environment = {
            **os.environ,
            **WORKER_VARIABLES,
            "WORKFLOWS_DATABASE_URL": self.url,
            LEDGER_VARIABLE: str(self.ledger),
        }
        with self.log(number).open("wb") as log:
            worker = subprocess.Popen(command, env=environment, cwd=CHECKOUT, stdout=log, stderr=log)
        self.workers.append(worker)

    def log(self, number: int) -> Path:
        """Where worker `number` writes."""
        return self.directory / f"worker-{number}.log"

    def check(self) -> None:
        """Raise `DemoFailed` if a worker has ended that was not killed."""
        for number, worker in enumerate(self.workers, 1):
            if worker.pid not in self.killed and worker.poll() is not None:
                tail = self.log(number).read_text(errors="replace").strip().splitlines()[-5:]
                raise DemoFailed("\n".join([f"worker demo-{number} ended with {worker.returncode}; its log:", *tail]))

    def wait_ready(self, count: int) -> None:
        """Wait until `count` workers serve the queues."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while sum(row["state"] == "alive" for row in self.bridge.workers()) < count:
            self.check()
            if time.monotonic() > limit:
                raise DemoFailed(
                    f"the workers are not ready after {PATIENCE_SECONDS} s; their logs are in {self.directory}"
                )
            time.sleep(0.05)

    def kill_one(self) -> int:
        """SIGKILL the first worker; give its process id."""
        worker = self.workers[0]
        self.killed.add(worker.pid)
        worker.kill()
        worker.wait()
        return worker.pid

    def stop(self) -> None:
        """SIGTERM to those that still run, and wait for their end."""
        running = [worker for worker in self.workers if worker.poll() is None]
        for worker in running:
            worker.terminate()
        for worker in running:
            try:
                worker.wait(45)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


class Reporter:
    """The progress: a bar for people, a line for every tenth in a pipe."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.ended = 0
        columns = (SpinnerColumn(), TextColumn("orders ended"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("orders", total=total)

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """One more order has ended."""
        self.ended += 1
        self._bar.advance(self._task)
        if not self.console.is_terminal and self.ended % max(1, self.total // 10) == 0:
            self.say(f"{self.ended} of {self.total} orders have ended")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False, soft_wrap=True)


async def run_orders(orders: list[Order], fleet: Fleet, reporter: Reporter) -> None:
    """Enqueue the orders, answer those that ask, kill a worker half way, and wait until every order has ended."""
    half = asyncio.Event()

    async def follow(handle: Handle[str]) -> None:
        try:
            await handle.result()
        except (ExecutionFailed, ExecutionCancelled):
            pass  # whether it had to fail is checked at the end
        reporter.advance()
        if reporter.ended * 2 >= len(orders):
            half.set()

    async def approve(order: Order, handle: Handle[str]) -> None:
        await asyncio.sleep(SECONDS_TO_DECIDE)
        await currant.send_signal(handle, "approval", decide(order))

    async def kill_half_way() -> None:
        await half.wait()
        pid = fleet.kill_one()
        reporter.say(
            f"{reporter.ended} orders have ended: killed worker demo-1 (process {pid}) with SIGKILL, started demo-3"
        )
        fleet.start()

    async def watch_fleet() -> None:
        while True:
            fleet.check()
            await asyncio.sleep(0.5)

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        watcher = group.create_task(watch_fleet())
        work = [group.create_task(kill_half_way())]
        for start in range(0, len(orders), BATCH):
            batch = orders[start : start + BATCH]
            handles = await fulfil_order.queue_many([(order,) for order in batch])
            for order, handle in zip(batch, handles, strict=True):
                work.append(group.create_task(follow(handle)))
                if needs_approval(order):
                    work.append(group.create_task(approve(order, handle)))
        await asyncio.wait(work)
        watcher.cancel()


@contextmanager
def demo_server(directory: Path) -> Iterator[str]:
    """A new database in `directory`; its server goes on running when the demo ends, so that one can look at it."""
    stop_left_behind(directory)
    shutil.rmtree(directory, ignore_errors=True)
    server = EmbeddedPostgres(directory)
    try:
        yield server.start()
    finally:
        server.detach()


def read_ledger(path: Path) -> list[dict[str, object]]:
    """The lines of the ledger."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_result(console: Console, verdict: Verdict, orders: int) -> None:
    """The table at the end, computed from the database."""
    table = Table(title="What the database says", show_header=False, title_justify="left")
    for name, value in (
        ("orders", f"{orders}"),
        ("completed", f"{verdict.completed}"),
        ("failed and undone, as they must", f"{verdict.failed}"),
        ("steps recorded", f"{verdict.steps}"),
        ("attempts in the ledger", f"{verdict.attempts}"),
        ("steps retried after an error", f"{verdict.retried}"),
        ("steps taken over from the killed worker", f"{verdict.taken_over}"),
        ("runs per second", f"{orders / verdict.seconds:.0f}" if verdict.seconds else "-"),
    ):
        table.add_row(name, value)
    console.print(table)


def print_next(console: Console, directory: Path, url: str, failed_id: str | None) -> None:
    """The commands to type next."""
    program = Path(sys.executable).with_name("currant")
    currant_command = os.path.relpath(program) if program.exists() else f"{sys.executable} -m currant"
    python = os.path.relpath(sys.executable)
    lines = [
        "The database is still there. Type next:",
        f"    export WORKFLOWS_DATABASE_URL={url}",
        *([f"    {currant_command} show {failed_id}"] if failed_id else []),
        f"    {currant_command} list --roots --state failed",
        f"    {currant_command} queues",
        f"    {currant_command} workers",
        f"    {python} -m currant.embedded stop {os.path.relpath(directory)}    # when you have seen enough",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def run_demo(console: Console, directory: Path, orders: list[Order]) -> int:
    """Run it all; give the exit code."""
    with demo_server(directory) as url:
        currant.configure(database_url=url)
        bridge = RustBridge(url)
        version = bridge.migrate()
        console.print(f"Postgres runs in {os.path.relpath(directory)}, schema version {version}", highlight=False)
        fleet = Fleet(directory, url, bridge)
        try:
            fleet.start()
            fleet.start()
            fleet.wait_ready(2)
            console.print(f"two workers are ready; enqueuing {len(orders)} orders", highlight=False)
            with Reporter(console, len(orders)) as reporter:
                asyncio.run(run_orders(orders, fleet, reporter))
        finally:
            fleet.stop()
        executions = bridge.list_executions(limit=len(orders) * 20)
        verdict = check(orders, executions, read_ledger(fleet.ledger))
        print_result(console, verdict, len(orders))
        code = report(console, verdict)
        failed = [row["id"] for row in executions if row["parent_id"] is None and row["state"] == "failed"]
        print_next(console, directory, url, failed[0] if failed else None)
    return code


def report(console: Console, verdict: Verdict) -> int:
    """Say whether anything is wrong; give the exit code."""
    if not verdict.problems:
        console.print(
            "Nothing lost, nothing done twice: the database and the ledger agree with the orders.", style="green"
        )
        return 0
    for problem in verdict.problems[:20]:
        console.print(f"wrong: {problem}", style="red", highlight=False, markup=False)
    console.print(f"{len(verdict.problems)} things are wrong", style="bold red")
    return 1


def main() -> int:
    """Parse the arguments, run the demo; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="Run the order workflow on real input."
    )
    parser.add_argument("--orders", type=int, help="only the first N orders")
    parser.add_argument(
        "--directory", type=Path, default=CHECKOUT / ".currant" / "demo", help="where its database goes"
    )
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        return run_demo(console, arguments.directory.resolve(), read_orders(ORDERS)[: arguments.orders])
    except* (DemoFailed, EmbeddedPostgresError, currant.CurrantError) as failures:
        for failure in failures.exceptions:
            console.print(f"error: {failure}", style="red", markup=False)
    except* TimeoutError:
        console.print(f"error: not every order has ended after {PATIENCE_SECONDS} s", style="red")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
