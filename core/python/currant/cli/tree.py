"""`currant show`: a run as a tree, made from the answer of the bridge's `show`."""

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
    """The tree below `root_id`, which is one of `data["executions"]`; `data` is the answer of the bridge's `show`."""
    tree = _Tree(data)
    root = tree.executions[root_id]
    node = tree.execution_node(root, None)
    head = f"id {root['id']}  queue {root['queue']}  created {format_time(root['created_at'])}"
    node.children.insert(0, Node(head))
    return node


class _Tree:
    """The answer of `show`, by parent."""

    def __init__(self, data: dict[str, list[Row]]) -> None:
        self.executions = {execution["id"]: execution for execution in data["executions"]}
        self.steps: dict[str, list[Row]] = defaultdict(list)
        self.signals: dict[str, list[Row]] = defaultdict(list)
        for execution in self.executions.values():
            if execution["parent_id"] in self.executions:
                self.steps[execution["parent_id"]].append(execution)
        for step in data["steps"]:
            self.steps[step["execution_id"]].append(step)
        for signal in data["signals"]:
            self.signals[signal["execution_id"]].append(signal)

    def execution_node(self, execution: Row, parent: Row | None) -> Node:
        """An execution with its details, its steps, and the signals that no wait has taken."""
        node = Node(_execution_line(execution, parent), execution["state"])
        node.children += [Node(text) for text in _details(execution)]
        for step in sorted(self.steps[execution["id"]], key=_order):
            child = self.execution_node(step, execution) if "function" in step else _step_node(step)
            node.children.append(child)
        # Consumed signals show as the outcome of their wait.
        waiting = [signal for signal in self.signals[execution["id"]] if signal["consumed_by"] is None]
        node.children += [Node(_signal_line(signal)) for signal in waiting]
        return node


def _order(item: Row) -> tuple[Any, ...]:
    """Steps in the order they were made: by epoch, then time, then key (counters as numbers)."""
    epoch = item.get("parent_epoch", item.get("epoch")) or 0
    key = item.get("step_key", item.get("key")) or ""
    numbers = [int(part) if part.isdigit() else -1 for part in key.replace("/", ".").split(".")]
    return (epoch, item["created_at"] or "", numbers, key)


def _execution_line(execution: Row, parent: Row | None) -> str:
    parts = [execution["function"], state_of(execution)]
    if execution["started_at"]:
        parts.append(_timing(execution))
    if execution["kind"] == "task" and execution["attempt"] > 1:
        parts.append(_attempt(execution))
    elif execution["kind"] == "workflow" and execution["epoch"] > 0:
        parts.append(f"epoch {execution['epoch']}")
    if parent is not None:
        parts.insert(0, f"[{execution['step_key']}]")
        if execution["queue"] != parent["queue"]:
            parts.append(f"queue {execution['queue']}")
        parts.append(execution["id"])
    return "  ".join(parts)


def _attempt(execution: Row) -> str:
    """The number of the attempt. An attempt that was lost with its worker costs no retry, so each allows one more."""
    lost = execution["worker_losses"]
    text = f"attempt {execution['attempt']} of {execution['max_attempts'] + lost}"
    if lost:
        text += f" ({lost} lost with {'its worker' if lost == 1 else 'their workers'})"
    return text


def _timing(execution: Row) -> str:
    took = seconds_between(execution["started_at"], execution["finished_at"])
    text = format_duration(took) if took is not None else f"since {format_time(execution['started_at'])}"
    waited = seconds_between(execution["created_at"], execution["started_at"]) or 0.0
    return f"{text} after {format_duration(waited)} in the queue" if waited >= 1 else text


def _details(execution: Row) -> Iterable[str]:
    if execution["state"] == "running" and execution["worker"]:
        yield f"worker {execution['worker']}"
    if execution["run_at"] and execution["state"] in ("pending", "suspended"):
        yield f"due {format_time(execution['run_at'])}"
    if execution["error"]:
        error = execution["error"]
        yield f"error {error['type']}: {shorten(error['message'], 300)}"
    if execution["result"] is not None:
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


def _signal_line(signal: Row) -> str:
    sent = format_time(signal["created_at"])
    return f"signal  {signal['name']}  not consumed  sent {sent}  {shorten(signal['payload'])}"
