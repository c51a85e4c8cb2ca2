"""Manifests that are as they should be, and ways to spoil them."""

from __future__ import annotations

import copy
import enum
from typing import Any

import yaml

Body = dict[str, Any]

# The two examples of the contract, in full.
POOL = """
apiVersion: currant.dev/v1alpha1
kind: WorkerPool
metadata: {name: orders}
spec:
  queues: [orders, notifications]
  modules: [examples.simple_example]
  image: registry.example/shop-worker:1.4
  concurrency: 50
  database: {secretRef: {name: currant-db, key: url}}
  scaling:
    mode: Native
    minReplicas: 0
    maxReplicas: 20
    latencyTarget: 30s
    targetUtilization: 0.8
    scaleDown: {window: 120s, maxStepPercent: 15}
    scaleToZeroAfter: 60s
    paused: false
  drain: {timeout: 5m}
  template: {}
"""
WORKFLOW = """
apiVersion: currant.dev/v1alpha1
kind: Workflow
metadata: {name: process-order}
spec:
  function: examples.simple_example.process_order_workflow
  poolRef: {name: orders}
  version: 1
  queue: orders
  defaults:
    priority: 5
    timeout: 10m
    retry: {maxAttempts: 4, initialInterval: 1s, multiplier: 2, maxInterval: 1m}
    maxWorkerLosses: 0
  schedules: [{name: nightly, cron: "0 3 * * *", timeZone: Europe/Berlin, args: {}, overlap: Forbid, startingDeadline: 1h}]
  concurrency: {limit: 10}
  retention: 7d
  inputSchema: {}
  suspended: false
"""
SMALLEST_POOL = """
apiVersion: currant.dev/v1alpha1
kind: WorkerPool
metadata: {name: orders}
spec:
  queues: [orders]
  modules: [shop.orders]
  image: registry.example/shop-worker:1.4
  database: {secretRef: {name: currant-db}}
"""
SMALLEST_WORKFLOW = """
apiVersion: currant.dev/v1alpha1
kind: Workflow
metadata: {name: process-order}
spec:
  function: shop.orders.process_order
  poolRef: {name: orders}
  schedules: [{name: nightly, cron: "0 3 * * *"}]
"""


class _Removed(enum.Enum):
    """A value with a name, so that the names of tests are the same in each of their processes."""

    REMOVED = enum.auto()


REMOVED = _Removed.REMOVED


def manifest(text: str, **changes: Any) -> Body:
    """The manifest with changes; `spec__scaling__mode="Fixed"` sets one field, REMOVED takes it out.

    A number in a path is the place in a list.
    """
    body: Body = yaml.safe_load(text)
    for path, value in changes.items():
        set_field(body, path.split("__"), value)
    return body


def set_field(body: Any, path: list[str], value: Any) -> None:
    """Set or remove one field, making the maps on the way to it."""
    *way, last = path
    for key in way:
        body = body[int(key)] if isinstance(body, list) else body.setdefault(key, {})
    if value is REMOVED:
        del body[last]
    elif isinstance(body, list):
        body[int(last)] = copy.deepcopy(value)
    else:
        body[last] = copy.deepcopy(value)


def pool(**changes: Any) -> Body:
    """The contract's WorkerPool with changes."""
    return manifest(POOL, **changes)


def workflow(**changes: Any) -> Body:
    """The contract's Workflow with changes."""
    return manifest(WORKFLOW, **changes)
