"""The live part of `make demo-k8s`: order from the shop in the cluster, watch pods and orders, delete a pod half way.

    examples/kubernetes/demo.sh

The shop, the pool and its workers are there already. Exit code 0: every order came to what it must come to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

PATIENCE_SECONDS = 240
ANSWER_SECONDS = 60
CLIENTS = 20
STATES = ("pending", "running", "suspended", "completed", "failed", "cancelled")
COLOURS = {"Ready": "green", "Terminating": "red"}
OUT_OF_STOCK = 25  # one order in this many is for something that is not in stock


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


@dataclass
class Demo:
    """The cluster and the orders, as the demo sees them."""

    namespace: str
    orders: int
    states: dict[str, str] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    half: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=time.monotonic)

    async def kubectl(self, *words: str) -> str:
        """Run kubectl in the demo's namespace; gives what it prints. Raises `DemoFailed`."""
        process = await asyncio.create_subprocess_exec(
            "kubectl", "--namespace", self.namespace, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            raise DemoFailed(f"kubectl {' '.join(words)}: {errors.decode().strip()}")
        return output.decode()

    def end(self, id: str, said: dict[str, Any]) -> None:
        """Note that an order has ended, and the shop's answer about it."""
        self.ended[id] = said
        if len(self.ended) * 2 >= self.orders:
            self.half.set()

    async def look(self) -> None:
        """Fetch the pods of the pool."""
        found = json.loads(await self.kubectl("get", "pods", "-l", "currant.dev/pool=shop", "-o", "json"))
        self.pods = sorted(found["items"], key=lambda pod: pod["metadata"]["creationTimestamp"])

    def line(self) -> str:
        """The live view, as one line."""
        counts = Counter(self.states.values())
        orders = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        pods = Counter(state_of(pod) for pod in self.pods)
        return f"orders: {orders}; pods: {', '.join(f'{number} {state}' for state, number in pods.items())}"

    def panel(self) -> Group:
        """The live view."""
        pods = Table(title="pods of the pool", title_justify="left", show_header=False)
        for pod in self.pods:
            state = state_of(pod)
            pods.add_row(pod["metadata"]["name"], f"[{COLOURS.get(state, 'default')}]{state}[/]")
        counts = Counter(self.states.values())
        orders = Table(title=f"orders, after {time.monotonic() - self.began:.0f} s", title_justify="left")
        for state in STATES:
            orders.add_column(state, justify="right")
        orders.add_row(*(str(counts[state]) for state in STATES))
        return Group(pods, orders)


def state_of(pod: dict[str, Any]) -> str:
    """A pod's state in a word, as `kubectl get pods` has it."""
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", []))
    return "Ready" if ready else str(pod["status"].get("phase"))


@asynccontextmanager
async def shop_client(demo: Demo) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shop's Service, by way of kubectl port-forward."""
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        "--namespace",
        demo.namespace,
        "port-forward",
        "service/shop-web",
        ":8000",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise DemoFailed(f"kubectl port-forward: {line.strip()}")
        drain = asyncio.create_task(process.stdout.read())  # otherwise its pipe would fill up
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{found[1]}", limits=limits, timeout=30) as client:
            yield client
        drain.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def ask(shop: httpx.AsyncClient, method: str, path: str, **content: Any) -> dict[str, Any]:
    """Call the shop until it answers: its database may be busy, the connection may break. An order may be repeated."""
    limit = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer = await shop.request(method, path, **content)
            if answer.status_code != 503:
                found: dict[str, Any] = answer.raise_for_status().json()
                return found
            why = answer.json()["detail"]
        except httpx.TransportError as error:
            why = f"{type(error).__name__}: {error}"
        if time.monotonic() > limit:
            raise DemoFailed(f"the shop does not take {method} {path} for {ANSWER_SECONDS} s: {why}")
        await asyncio.sleep(0.5)


async def order(demo: Demo, shop: httpx.AsyncClient, number: int, run: str) -> None:
    """Order something, and follow the order to its end."""
    item = "quince" if number % OUT_OF_STOCK == 0 else "apple"
    new = {"order_id": f"{run}-{number}", "item": item, "quantity": 1, "cents": 240}
    id = (await ask(shop, "POST", "/orders", json=new))["id"]
    demo.states[id] = "pending"
    while True:
        said = await ask(shop, "GET", f"/orders/{id}")
        demo.states[id] = said["state"]
        if said["state"] in ("completed", "failed", "cancelled"):
            demo.end(id, {**said, "item": item, "order_id": new["order_id"]})
            return
        await asyncio.sleep(1)


async def delete_half_way(demo: Demo, console: Console) -> None:
    """Delete a ready pod without a grace period once half of the orders have ended."""
    await demo.half.wait()
    await demo.look()
    ready = [pod["metadata"]["name"] for pod in demo.pods if state_of(pod) == "Ready"]
    if not ready:
        raise DemoFailed("no pod of the pool is ready")
    await demo.kubectl("delete", "pod", ready[0], "--grace-period=0", "--force", "--wait=false")
    console.print(
        f"{len(demo.ended)} orders have ended: killed the pod {ready[0]}. What it had begun is taken over within "
        "half a minute, when its heartbeat has been missing."
    )


async def show(demo: Demo, console: Console, live: Live | None) -> None:
    """Keep the picture up to date; if the output is not a terminal, print a line whenever something has changed."""
    last_line = ""
    while True:
        await demo.look()
        if live is not None:
            live.update(demo.panel())
        elif (line := demo.line()) != last_line:
            console.print(line, markup=False)
            last_line = line
        await asyncio.sleep(1)


async def run(demo: Demo, console: Console) -> None:
    """Order, watch, delete a pod, until every order has ended."""
    run = f"o{int(time.time())}"
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    async with asyncio.timeout(PATIENCE_SECONDS), shop_client(demo) as shop, asyncio.TaskGroup() as group:
        if live is not None:
            live.start()
        try:
            watch = group.create_task(show(demo, console, live))
            work = [group.create_task(order(demo, shop, number, run)) for number in range(1, demo.orders + 1)]
            work.append(group.create_task(delete_half_way(demo, console)))
            await asyncio.wait(work)
            await demo.look()
            watch.cancel()
        finally:
            if live is not None:
                live.update(demo.panel())
                live.stop()


def problems_of(demo: Demo) -> list[str]:
    """A line for everything that went wrong."""
    found = []
    if len(demo.ended) != demo.orders:
        found.append(f"{len(demo.ended)} orders have ended, not {demo.orders}")
    for said in demo.ended.values():
        wanted = "failed" if said["item"] == "quince" else "completed"
        if said["state"] != wanted:
            found.append(f"order {said['order_id']} is {said['state']}, not {wanted}: {said['error']}")
        elif wanted == "completed" and said["receipt"]["payment"] != f"payment-{said['order_id']}":
            found.append(f"order {said['order_id']} has the receipt {said['receipt']}")
    return found


def print_result(demo: Demo, console: Console) -> int:
    """Print the result, and whether everything went well; returns the exit code."""
    if not console.is_terminal:
        console.print(demo.panel())
    completed = [said for said in demo.ended.values() if said["state"] == "completed"]
    if completed:
        console.print(f"a receipt: {json.dumps(completed[-1]['receipt'])}")
    problems = problems_of(demo)
    if not problems:
        failed = len(demo.ended) - len(completed)
        console.print(
            f"{len(completed)} orders are paid and shipped, {failed} failed as they must (no quinces in stock). "
            "Nothing was lost with the pod.",
            style="green",
        )
        return 0
    for problem in problems[:20]:
        console.print(f"wrong: {problem}", style="red", markup=False)
    return 1


def main() -> int:
    """Parse the arguments, run the demo; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", default="shop", help="where the shop and its pool are")
    parser.add_argument("--orders", type=int, default=400)
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    demo = Demo(arguments.namespace, arguments.orders)
    try:
        asyncio.run(run(demo, console))
    except* (DemoFailed, httpx.HTTPError) as failures:
        for failure in failures.exceptions:
            console.print(f"error: {failure}", style="red", markup=False)
    except* TimeoutError:
        console.print(f"error: not every order has ended after {PATIENCE_SECONDS} s", style="red")
    return print_result(demo, console)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
