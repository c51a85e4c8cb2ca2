"""`currant show`: a run as a tree, made from what the bridge's `show` gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from currant.cli.output import Node, Row, format_duration, format_time, seconds_between, shorten, state_of

STEP_WORDS = {
    "signal": "signal wait",
    "version": "version of",
    "side_effect": "side effect",
    "verb": "asked for",
    "cancel": "cancel asked for",
    "timeout": "time-out",
    "detach": "detached",
}


def build(data: dict[str, list[Row]], root_id: str) -> Node:
    """The tree below `root_id`, which is one of `data["executions"]`; `data` is what the bridge's `show` gives."""
    executions = {execution["id"]: execution for execution in data["executions"]}
    children: dict[str, list[Row]] = defaultdict(list)
    for execution in executions.values():
        if execution["parent_id"] in executions and execution["id"] != root_id:
            children[execution["parent_id"]].append(execution)
    for step in data["steps"]:
        children[step["execution_id"]].append(step)
    signals: dict[str, list[Row]] = defaultdict(list)
    for signal in data["signals"]:
        signals[signal["execution_id"]].append(signal)
    return _execution_node(executions[root_id], children, signals)


def _execution_node(execution: Row, children: dict[str, list[Row]], signals: dict[str, list[Row]]) -> Node:
    node = Node(_execution_line(execution), execution["state"])
    node.children += [Node(text) for text in _details(execution)]
    for item in sorted(children[execution["id"]], key=_order):
        node.children.append(_execution_node(item, children, signals) if "function" in item else _step_node(item))
    node.children += _signal_nodes(signals[execution["id"]])
    return node


def _order(item: Row) -> tuple[Any, ...]:
    """Steps in the order they were made: by epoch, then time, then key (counters as numbers)."""
    epoch = item.get("parent_epoch", item.get("epoch")) or 0
    key = item.get("step_key", item.get("key")) or ""
    numbers = [int(part) if part.isdigit() else -1 for part in key.replace("/", ".").split(".")]
    return (epoch, item["created_at"] or "", numbers, key)


def _execution_line(execution: Row) -> str:
    parts = [execution["function"], state_of(execution)]
    if execution.get("step_key") is not None:
        parts.insert(0, f"[{execution['step_key']}]")
    if execution["started_at"]:
        parts.append(_timing(execution))
    if execution["kind"] == "task" and execution["attempt"] > 1:
        parts.append(f"attempt {execution['attempt']} of {execution['max_attempts']}")
    elif execution["kind"] == "workflow" and execution["epoch"] > 0:
        parts.append(f"epoch {execution['epoch']}")
    return "  ".join(parts)


def _timing(execution: Row) -> str:
    took = seconds_between(execution["started_at"], execution["finished_at"])
    return format_duration(took) if took is not None else f"since {format_time(execution['started_at'])}"


def _details(execution: Row) -> Iterable[str]:
    yield f"id {execution['id']}  queue {execution['queue']}  created {format_time(execution['created_at'])}"
    if execution["state"] == "running" and execution["worker"]:
        yield f"worker {execution['worker']}"
    if execution["run_at"] and execution["state"] in ("pending", "suspended"):
        yield f"due {format_time(execution['run_at'])}"
    if execution["error"]:
        error = execution["error"]
        yield f"error {error['type']}: {shorten(error['message'], 300)}"
    if execution.get("result") is not None:
        yield f"result {shorten(execution['result'])}"


def _step_node(step: Row) -> Node:
    parts: list[str] = [f"[{step['key']}]"] if not step["key"].startswith("!") else []
    parts.append(STEP_WORDS.get(str(step["kind"]), str(step["kind"])))
    if step["name"]:
        parts.append(step["name"])
    if step["state"]:
        parts.append(step["state"])
    if step["finished_at"]:
        parts.append(format_duration(seconds_between(step["created_at"], step["finished_at"])))
    elif step["due_at"]:
        parts.append(f"due {format_time(step['due_at'])}")
    if step.get("payload") is not None:
        parts.append(shorten(step["payload"]))
    return Node("  ".join(parts), step["state"])


def _signal_nodes(signals: list[Row]) -> list[Node]:
    """Signals that no wait has taken yet; those taken show as the outcome of their wait."""
    waiting = [signal for signal in signals if signal["consumed_by"] is None]
    return [Node(_signal_line(signal)) for signal in waiting]


def _signal_line(signal: Row) -> str:
    sent = format_time(signal["created_at"])
    return f"signal  {signal['name']}  not consumed  sent {sent}  {shorten(signal['payload'])}"
