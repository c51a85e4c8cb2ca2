"""The expected ends of the demo's orders, computed from their data alone; whether database and ledger agree.

Nothing here asks Currant anything: `check` takes what the database holds (as `currant list --json` prints it) and the
lines that the tasks wrote to the ledger while they ran, and gives every difference in words.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from examples.order_flow import APPROVAL_LIMIT_CENTS, NEVER_IN_STOCK, NO_CARRIER, Decision, Order

REFUSAL_LIMIT_CENTS = 250_000
APPROVER = "ann"
MODULE = "examples.order_flow"
WORKFLOW = f"{MODULE}.fulfil_order"

Execution = dict[str, Any]
LedgerLine = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """The expected end of an order: its state, the parcel's number or the reason, and each step with its end."""

    state: str
    text: str
    steps: dict[str, str]


@dataclass
class Verdict:
    """The findings: every difference in words, and the counts for the demo's table."""

    problems: list[str] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    steps: int = 0
    retried: int = 0
    taken_over: int = 0
    attempts: int = 0
    seconds: float = 0.0


def needs_approval(order: Order) -> bool:
    """Whether the order will come to wait for its approval."""
    return order.amount_cents > APPROVAL_LIMIT_CENTS and order.sku != NEVER_IN_STOCK


def decide(order: Order) -> Decision:
    """The answer of the demo's approver."""
    return {"approved": order.amount_cents <= REFUSAL_LIMIT_CENTS, "by": APPROVER}


def expect(order: Order) -> Expected:
    """The rules of the shop, once more and without a workflow."""
    if order.sku == NEVER_IN_STOCK:
        return _undone(order, f"no {order.sku} in stock", {"reserve_stock": "failed"})
    steps = {"reserve_stock": "completed"}
    if needs_approval(order) and not decide(order)["approved"]:
        return _undone(order, f"{APPROVER} refused it", {**steps, "release_stock": "completed"})
    if order.card == "card-declined":
        reason = f"{order.customer}'s card was declined"
        return _undone(order, reason, {**steps, "charge": "failed", "release_stock": "completed"})
    steps["charge"] = "completed"
    if order.country == NO_CARRIER:
        steps |= {"ship": "failed", "refund": "completed", "release_stock": "completed"}
        return _undone(order, f"no carrier delivers to {order.country}", steps)
    steps |= dict.fromkeys(("ship", "book_revenue", "send_mail"), "completed")
    return Expected("completed", f"parcel-{order.order_id}", steps)


def _undone(order: Order, reason: str, steps: dict[str, str]) -> Expected:
    return Expected("failed", f"{order.order_id}: {reason}", {**steps, "send_mail": "completed"})


def check(orders: Iterable[Order], executions: list[Execution], ledger: list[LedgerLine]) -> Verdict:
    """Compare what must be with what the database and the ledger say."""
    verdict = Verdict()
    roots: dict[str, list[Execution]] = defaultdict(list)
    children: dict[str, list[Execution]] = defaultdict(list)
    for execution in executions:
        if execution["parent_id"] is None:
            roots[_order_id(execution)].append(execution)
        else:
            children[execution["parent_id"]].append(execution)
    lines: dict[str, list[LedgerLine]] = defaultdict(list)
    for line in ledger:
        lines[line["execution"]].append(line)
    known = {order.order_id for order in orders}
    verdict.problems += [f"{stranger}: nobody ordered that" for stranger in roots.keys() - known]
    for order in orders:
        runs = roots[order.order_id]
        if len(runs) != 1:
            verdict.problems.append(f"{order.order_id}: {len(runs)} runs, not 1")
            continue
        _check_order(expect(order), runs[0], children[runs[0]["id"]], verdict)
        for step in children[runs[0]["id"]]:
            _check_step(order.order_id, step, lines.pop(step["id"], []), verdict)
    verdict.problems += [
        f"{some[0]['order']}: {some[0]['step']} ran, but no such step is recorded" for some in lines.values()
    ]
    verdict.seconds = _span([run for some in roots.values() for run in some])
    return verdict


def _check_order(expected: Expected, run: Execution, steps: list[Execution], verdict: Verdict) -> None:
    name = _order_id(run)
    if run["state"] == "completed":
        verdict.completed += 1
        text = run["result"]
    else:
        verdict.failed += run["state"] == "failed"
        text = run["error"]["message"] if run["error"] else None
    if (run["state"], text) != (expected.state, expected.text):
        verdict.problems.append(f"{name}: must be {expected.state} ({expected.text}), is {run['state']} ({text})")
    recorded = Counter((step["function"].removeprefix(f"{MODULE}."), step["state"]) for step in steps)
    for step, count in (recorded - Counter(expected.steps.items())).items():
        verdict.problems.append(f"{name}: {step[0]} is recorded {step[1]}, {count} more than it must be")
    for step, count in (Counter(expected.steps.items()) - recorded).items():
        verdict.problems.append(f"{name}: {step[0]} must be recorded {step[1]}, {count} missing")


def _check_step(order_id: str, step: Execution, lines: list[LedgerLine], verdict: Verdict) -> None:
    name = f"{order_id}: {step['function'].removeprefix(f'{MODULE}.')}"
    verdict.steps += 1
    verdict.attempts += len(lines)
    if not lines:
        verdict.problems.append(f"{name} is recorded {step['state']}, but never ran")
        return
    if len(lines) > step["attempt"]:
        verdict.problems.append(f"{name} ran {len(lines)} times in {step['attempt']} attempts")
    recorded = _micros(step["finished_at"])
    # One machine, so one clock: a start later than the record of the outcome is a recorded step that ran again.
    late = [line for line in lines if recorded is not None and line["at"] > recorded]
    verdict.problems += [
        f"{name} ran again after its outcome was recorded (attempt {line['attempt']})" for line in late
    ]
    pids = [line["pid"] for line in sorted(lines, key=lambda line: int(line["at"]))]
    moved = sum(before != after for before, after in itertools.pairwise(pids))
    verdict.taken_over += moved > 0
    verdict.retried += len(lines) > 1 + moved


def _order_id(run: Execution) -> str:
    return str(run["args"]["args"][0]["order_id"])


def _micros(time: str | None) -> int | None:
    return None if time is None else round(datetime.fromisoformat(time).timestamp() * 1_000_000)


def _span(runs: list[Execution]) -> float:
    """Seconds from the first enqueue to the last end."""
    starts = [_micros(run["created_at"]) or 0 for run in runs]
    ends = [_micros(run["finished_at"]) or 0 for run in runs]
    return max(0, max(ends) - min(starts)) / 1_000_000 if runs else 0.0
